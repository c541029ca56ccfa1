"""The grader's own exam: does it fit the notebooks, tell a surprise, and find what an attack leaves behind?"""

import ast
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import segkit
from autograder.cli.selftest import selftest_command
from autograder.course.assignment import open_assignment
from autograder.course.rubric import CheckRubric
from autograder.exam import complete, sitting
from autograder.exam.building import solution_cell, solved_notebooks, write_submission
from autograder.exam.entries import CorpusError, Entry, read_corpus
from autograder.exam.generated import changes_of, generate
from autograder.exam.outcome import Outcome
from autograder.exam.seen import check_cells
from autograder.exam.sitting import SECRET, sit
from autograder.exam.table import format_table, to_json
from autograder.exam.traces import Traces, targets
from autograder.judge.run import Settings

REPO = Path(__file__).resolve().parents[2]
SOURCE = REPO / "notebooks" / "fcn"
FOLDER = open_assignment("fcn").folder
CORPUS = read_corpus(FOLDER)
TEXTS = [entry for entry in CORPUS.entries if not entry.build]


@pytest.fixture(scope="module")
def notebooks():
    return solved_notebooks(SOURCE)


# ------------------------------------------------------------------------------------------------------ the corpus
@pytest.mark.parametrize(("kind", "least"), [("mutants", 70), ("variants", 30), ("attacks", 50), ("damaged", 30), ("leaks", 25)])
def test_there_are_enough_entries(kind, least):
    assert len(CORPUS.of_kind(kind)) >= least


def test_there_are_enough_generated_mutants():
    assert len(generate(CORPUS, SOURCE)) >= 300


def test_entries_fit_the_notebooks(notebooks, tmp_path):
    """Does every text that an entry changes still stand in its solution cell?"""
    stale = []
    for number, entry in enumerate(TEXTS):
        try:
            write_submission(entry, notebooks, tmp_path / str(number))
        except CorpusError as error:
            stale.append(str(error))
    assert stale == []


@pytest.mark.parametrize("padding", [97, 103])
def test_entries_fit_the_notebooks_of_a_year_with_another_padding(padding, tmp_path):
    """A course changes the rubric alone: notebooks and corpus follow."""
    folder, source = tmp_path / "autograder" / "assignments" / "fcn", tmp_path / "notebooks" / "fcn"
    shutil.copytree(FOLDER, folder)
    shutil.copytree(SOURCE, source)
    rubric = (folder / "rubric.toml").read_text()
    (folder / "rubric.toml").write_text(rubric.replace("padding = 100", f"padding = {padding}"))
    entries, notebooks = read_corpus(folder).entries, solved_notebooks(source)
    for number, entry in enumerate(entry for entry in entries if not entry.build):
        write_submission(entry, notebooks, tmp_path / str(number))
    late = next(entry for entry in entries if entry.name == "32s-crop-one-row-late")
    assert f"begins at row {padding - 80}, column {padding - 81}" in late.says[0]


def test_expectations_fit_the_rubric():
    rubric = open_assignment("fcn").rubric
    for entry in CORPUS.entries:
        assert set(entry.checks) <= set(rubric.checks) and set(entry.lost) <= set(entry.checks), entry.name
        for check in entry.lost:
            lost = entry.lost_in(rubric.checks[check])
            assert lost is None or (lost and all(0 < share <= 1 for share in lost.values())), entry.name
        assert not entry.cause or entry.cause in rubric.causes, entry.name
        if entry.kind == "mutants":
            assert entry.lost and (entry.cause or entry.says), f"{entry.name}: a mistake must be lost and named"
        if entry.kind == "variants":
            assert not entry.lost, f"{entry.name}: honest work loses nothing"


def test_every_attack_is_followed_by_an_honest_submission():
    assert all(entry.control == ("read_label",) for entry in CORPUS.of_kind("attacks"))
    assert not any(entry.control for entry in CORPUS.entries if entry.kind != "attacks")


def test_words_that_an_attack_must_say_do_not_stand_in_its_own_code():
    """A traceback shows the line that raised: words that stand in it would be found whatever came of the attack."""
    for entry in CORPUS.of_kind("attacks"):
        code = "\n".join([*entry.sources.values(), *(new for pairs in entry.changes.values() for _, new in pairs)])
        if "raise RuntimeError(" in code:
            assert entry.says and not any(word in code for word in entry.says), entry.name


MISTAKES = (
    "prose class order", "ids not shifted", "0 wrapping to 255 by luck", 'convert("L")', "resized bilinearly", "all zeros",
    "no mask for ignored pixels", "IoU as recall", "absent class counted 0", "only the last batch", "micro for macro",
    "padding 100 missing", "ceil_mode missing", "missing crop", "wrong crop", "rows/columns mixed", "offsets exchanged",
    "bias left on in a transposed convolution", "on all channel pairs", "zero-initialised trunk", "softmax in forward",
    "argmax in forward", "wrong kernel in fc6", "dropout at test time", "aliasing", "wrong axis order", "without biases", "fc7 left out",
)  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_known_mistake_has_a_mutant(mistake):
    assert any(mistake in entry.about for entry in CORPUS.of_kind("mutants"))


def test_every_equivalent_change_is_still_made():
    made = generate(CORPUS, SOURCE)
    for known in CORPUS.equivalent:
        assert known["reason"]
        assert any(e.equivalent == known["reason"] and e.name.startswith(known["cell"]) for e in made), known


def test_misspelt_entry_is_refused(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.toml").write_text('[touches]\nscores = ["scores"]\n')
    (tmp_path / "corpus" / "a.toml").write_text('[[mutants]]\nname = "x"\ncell = "scores"\nchanges = []\n')
    with pytest.raises(CorpusError, match="entry 'x': unknown or missing keys changes"):
        read_corpus(tmp_path)


def test_entry_that_fits_no_more_is_refused(notebooks, tmp_path):
    entry = Entry("mutants", "gone", changes={"scores": [["no such text", "x"]]})
    with pytest.raises(CorpusError, match="gone: the cell scores does not hold 'no such text'"):
        write_submission(entry, notebooks, tmp_path)


def test_solutions_lose_their_markers_and_nothing_else(notebooks):
    notebook, position = solution_cell(notebooks, "scores")
    assert "SOLUTION" not in notebook["cells"][position]["source"]
    assert "np.nanmean" in notebook["cells"][position]["source"]


# ------------------------------------------------------------------------------------------------ generated mutants
def test_changes_are_those_of_the_first_order():
    source = textwrap.dedent('''
        def f(a, b):
            """Adds 7."""
            c = a + 2
            return g(a, c, deep=True) if a < b else c
    ''')
    words = [change.what.partition(": ")[2] for change in changes_of(source)]
    assert "2 -> 3" in words and "2 -> 1" in words and "a + 2 -> a - 2" in words and "True -> False" in words
    assert "deleted: c = a + 2" in words and "a < b -> a <= b" in words and "g: deep=True left out" in words
    assert "g(a, c, deep=True) -> g(c, a, deep=True)" in words
    assert not any("7" in word for word in words), "a docstring is no code"


def test_changes_differ_from_each_other_and_from_the_cell(notebooks):
    notebook, position = solution_cell(notebooks, "confusion_matrix")
    source = notebook["cells"][position]["source"]
    texts = [ast.unparse(ast.parse(change.source)) for change in changes_of(source)]
    assert len(set(texts)) == len(texts) > 20 and ast.unparse(ast.parse(source)) not in texts


# --------------------------------------------------------------------------------------------------- what is judged
def outcome_of(entry: Entry, **verdicts: dict) -> Outcome:
    checks = {"a": CheckRubric("a", "A", 4.0, {"x": 2.0, "y": 2.0}), "b": CheckRubric("b", "B", 6.0, {"all": 6.0})}
    run = SimpleNamespace(rubric=SimpleNamespace(checks=checks))
    found = [
        {"id": name, "cause": None, "message": "", "status": "", "measured": None, "lost": {}, "points": checks[name].points, **verdict}
        for name, verdict in verdicts.items()
    ]
    outcome = Outcome(entry, results=found, notes=["n was repaired"])
    sitting._judge(outcome, run, [])
    return outcome


MUTANT = Entry("mutants", "m", checks=("a", "b"), lost={"a": {"x": 1.0}}, cause="x.y", says=("row 20",))
LOST = {"points": 2, "lost": {"x": 1.0}, "cause": "x.y", "message": "begins at row 20"}


def test_expected_result_is_no_surprise():
    outcome = outcome_of(MUTANT, a=LOST, b={})
    assert outcome.exact and outcome.caught and outcome.named and not outcome.problem


@pytest.mark.parametrize(
    ("verdict", "other", "words"),
    [
        ({}, {}, "a: expected to lose x, but lost nothing and got 4 points"),
        (LOST | {"points": 0, "lost": {"x": 1.0, "y": 1.0}}, {}, "a: expected to lose x, but lost x, y and got 0 points"),
        (LOST | {"lost": {"y": 1.0}}, {}, "a: expected to lose x, but lost y and got 2 points"),
        (LOST | {"lost": {"x": 0.5}, "points": 3}, {}, "but lost 0.500 of x and got 3 points"),
        (LOST | {"points": 2.5}, {}, "but lost x and got 2.5 points"),
        (LOST, {"points": 5, "lost": {"all": 0.1}}, "b: expected to lose nothing, but lost 0.100 of all and got 5 points"),
        (LOST | {"cause": "x.z"}, {}, "expected the cause x.y, got x.z"),
        (LOST | {"message": "row 21"}, {}, "the message lacks ['row 20']"),
        (LOST | {"points": None, "lost": None, "cause": "grader.fault"}, {}, "but lost nothing and earn nothing (open) and got no"),
    ],
)
def test_every_deviation_is_a_surprise(verdict, other, words):
    assert words in outcome_of(MUTANT, a=verdict, b=other).problem


def test_a_part_that_the_rubric_lacks_is_a_fault_of_the_corpus():
    with pytest.raises(CorpusError, match="mutants, m: a has no part z; it has x, y"):
        outcome_of(dataclasses.replace(MUTANT, lost={"a": {"z": 1.0}}), a=LOST, b={})


def test_honest_work_that_loses_points_is_a_false_alarm():
    outcome = outcome_of(Entry("variants", "v", checks=("a",), note=("was dropped",)), a={"points": 3.5, "lost": {"x": 0.1}})
    assert outcome.false_alarm and "the notes lack ['was dropped']" in outcome.problem


def test_table_counts_by_kind():
    good = outcome_of(MUTANT, a=LOST, b={})
    bad = outcome_of(MUTANT, a={}, b={})
    table = format_table([good, bad, dataclasses.replace(good, parity=True)])
    row = table.splitlines()[2].split()
    assert row[:3] == ["mutants", "3", "2"] and "2/3" in row and "1/1" in row
    assert to_json([good], {})["table"][0]["caught"] == (1, 1)


def test_a_surprise_ends_the_command_with_1(monkeypatch):
    monkeypatch.setattr(complete, "sit", lambda entries, *more: [Outcome(entry, problem="odd") for entry in entries])
    done = CliRunner().invoke(selftest_command, ["fcn", "--kind", "mutants", "--only", "iou-recall"])
    assert done.exit_code == 1 and "2 surprises" in done.output
    monkeypatch.setattr(complete, "sit", lambda entries, *more: [Outcome(entry) for entry in entries])
    assert CliRunner().invoke(selftest_command, ["fcn", "--kind", "mutants", "--only", "iou-recall"]).exit_code == 0


@pytest.mark.parametrize("arguments", [["--kind", "mutant"], ["--only", "no such entry"], ["another"]])
def test_bad_usage_ends_with_2(arguments):
    assert CliRunner().invoke(selftest_command, arguments).exit_code == 2


# ------------------------------------------------------------------------------------------------------------ traces
@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.ipynb").write_text("{}")
    return tmp_path


@pytest.fixture
def outside(tmp_path_factory) -> Path:
    """What a run shares: a folder of code, a file, a cache."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "edition" / "segkit").mkdir(parents=True)
    (folder / "edition" / "segkit" / "layers.py").write_text("x = 1")
    (folder / "weights.bin").write_bytes(b"\0" * 64)
    (folder / "cache").mkdir()
    (folder / "cache" / "known.npz").write_bytes(b"1")
    return folder


def watch(place: Path, outside: Path) -> Traces:
    watched = [outside / name for name in ("edition", "weights.bin", "result.json")]
    return Traces(place, watched=watched, kept=[outside / "cache"])


def touch_secretly(path: Path) -> None:
    """Write, and set the time back."""
    status = path.stat()
    time.sleep(0.02)
    path.write_bytes(b"\1" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(("change", "name"), [
    (lambda folder: (folder / "result.json").write_text("{}"), "result.json"),
    (lambda folder: (folder / "edition" / "evil.py").write_text(""), "edition"),
    (lambda folder: (folder / "edition" / "segkit" / "layers.py").write_text("x = 2"), "edition"),
    (lambda folder: touch_secretly(folder / "weights.bin"), "weights.bin"),
    (lambda folder: touch_secretly(folder / "cache" / "known.npz"), "known.npz"),
    (lambda folder: (folder / "cache" / "known.npz").unlink(), "known.npz"),
])  # fmt: skip
def test_changes_outside_of_the_walls_are_found(place, outside, change, name):
    with watch(place, outside) as traces:
        change(outside)
    assert len(traces.found) == 1 and "changed outside of the walls" in traces.found[0] and name in traces.found[0]


def test_what_a_judge_keeps_for_others_is_no_trace(place, outside):
    with watch(place, outside) as traces:
        (outside / "cache" / "new.npz").write_bytes(b"1")
    assert traces.found == []


def test_files_that_attacks_name_are_looked_at(place, monkeypatch, tmp_path_factory):
    """Are they looked at where a worker, or a judge that was taken in, would write them?"""
    named = {str(path) for path in targets()}
    assert {"/tmp/result.json", "/srv/evil", "/etc/passwd", str(Path.home() / ".bashrc"), str(Path.cwd() / "conftest.py")} <= named
    assert str(Path(torch.__file__).with_name("evil.py")) in named and str(Path(segkit.__file__).with_name("evil.py")) in named
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    with Traces(place) as traces:
        (home / ".bashrc").write_text("evil")
    assert traces.found == [f"changed outside of the walls: {home / '.bashrc'}"]


def test_tidy_work_leaves_no_trace(place):
    with Traces(place) as traces, tempfile.TemporaryDirectory() as scratch:
        assert Path(scratch).parent == place / "scratch"
    assert traces.found == []


def test_traces_are_found(place):
    with Traces(place) as traces:
        (place / "scratch" / "left").mkdir()
        (place / "work" / "a.ipynb").write_text("{ }")
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ | {"HOME": str(place)})
    sleeper.kill()
    sleeper.wait()
    text = " ".join(traces.found)
    assert "left behind in the scratch folder: left" in text and "the submission, or what lies beside it, was changed" in text
    assert f"processes left behind: {sleeper.pid} " in text


# ---------------------------------------------------------------------------------------------------- visible checks
def test_visible_checks_of_a_solution_are_found_the_likeliest_first(notebooks):
    cells = check_cells(notebooks, "FCN8s", ["check_alignment"])
    assert "check_alignment" in cells[0] and len(cells) == 3 + 1
    assert not any(re.search(r"\bkit\b", cell) for cell in cells), "a check that needs the course's data cannot be run alone"


# ---------------------------------------------------------------------------------------------------- a fixed sample
def grade(entries, tmp_path, **more) -> list[Outcome]:
    settings = Settings("fcn", tmp_path, secret=SECRET, device="cpu")
    return sit(entries, settings, SOURCE, jobs=1, **more)


@pytest.mark.slow
def test_exam_tells_when_the_grader_is_not_as_the_corpus_says(tmp_path):
    """A corpus that expects too little, a survivor, and an honest entry that loses points: all three are surprises."""
    mutant = next(entry for entry in CORPUS.of_kind("mutants") if entry.name == "iou-recall")
    lenient = dataclasses.replace(mutant, lost={"scores": {"mean": 1.0}})
    honest = dataclasses.replace(mutant, kind="variants", lost={}, cause="", says=())
    survivor = Entry("generated", "same", "line 1: nothing", changes={"scores": [["iou", "iou_"]]}, checks=("scores",))
    problems = [outcome.problem for outcome in grade([lenient, honest, survivor], tmp_path)]
    assert "expected to lose mean, but lost iou and got 2.5 points" in problems[0]
    assert "expected to lose nothing, but lost iou and got 2.5 points" in problems[1]
    assert problems[2] == "survived: line 1: nothing"
