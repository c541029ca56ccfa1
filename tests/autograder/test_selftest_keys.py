"""An entry of the exam is sat again when something that its outcome depends on has changed, and only then."""

import ast
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.exam.building import solution_cell
from autograder.exam.entries import Entry, read_corpus
from autograder.exam.keys import Keys
from autograder.exam.leaks import CLEAN

REPO = Path(__file__).resolve().parents[2]
FCN = Path("autograder", "assignments", "fcn")
BUILT = "autograder.exam.forms:deleted_test_cells"

ENTRIES = {
    "labels": Entry("mutants", "labels", changes={"read_label": [["a", "b"]]}, checks=("read_label",)),
    "visible": Entry("visible", "scores", changes={"scores": [["a", "b"]]}, checks=("scores",)),
    "scores": Entry("mutants", "scores", changes={"scores": [["a", "b"]]}, checks=("scores",)),
    "layers": Entry("generated", "fcn32s-001", sources={"fcn32s": "x = 1"}, checks=("fcn32s.layers",)),
    "copy": Entry("mutants", "copy", checks=("pretraining.copy",)),
    "gate": Entry("attacks", "gate", checks=("pretraining.miou",), control=("scores",)),
    "built": Entry("damaged", "deleted-test-cells", build=BUILT, damages=("1_data.ipynb",), checks=("read_label",)),
    "leak": dataclasses.replace(CLEAN),
}
ALL = set(ENTRIES)
GRADED = ALL - {"leak", "visible"}  # what is run before hand-in is not graded


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The files that outcomes depend on, and those beside them, in another place."""
    root = tmp_path_factory.mktemp("a clone") / "repository"
    leave = shutil.ignore_patterns("__pycache__", "*.pyc", ".ipynb_checkpoints")
    for name in ("autograder", "segkit", "notebooks"):
        shutil.copytree(REPO / name, root / name, ignore=leave)
    shutil.copyfile(REPO / "nbgrader_config.py", root / "nbgrader_config.py")
    return root


def keys_of(root: Path) -> dict[str, str]:
    keys = Keys(root / FCN, root / "notebooks" / "fcn", root)
    return {name: keys.of(entry) for name, entry in ENTRIES.items()}


@pytest.fixture(scope="module")
def before(clone) -> dict[str, str]:
    return keys_of(clone)


@pytest.fixture
def changed_by(clone, before):
    """Edits a file of the clone for the length of a test; returns the entries whose keys it changes."""
    kept: dict[Path, bytes | None] = {}

    def edit(name: str, change) -> set[str]:
        path = clone / name
        kept.setdefault(path, path.read_bytes() if path.exists() else None)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = change(path.read_text(encoding="utf-8") if path.exists() else "")
        assert kept[path] is None or text != kept[path].decode(), "nothing was edited"
        path.write_text(text, encoding="utf-8")
        now = keys_of(clone)
        return {name for name in ENTRIES if now[name] != before[name]}

    yield edit
    for path, content in kept.items():
        path.unlink() if content is None else path.write_bytes(content)


def longer(text: str) -> str:
    return text + "\nANOTHER = 1\n"


@pytest.mark.parametrize(
    "name",
    ["autograder/judge/checking.py", "autograder/sandbox/door.py", "autograder/exam/sitting.py", "segkit/subject.py",
     "segkit/notebooks/names.py", "nbgrader_config.py"],
)  # fmt: skip
def test_everything_is_sat_again_when_what_all_outcomes_go_through_has_changed(changed_by, name):
    assert changed_by(name, longer) >= GRADED


@pytest.mark.parametrize(
    "name",
    ["autograder/report/student_page.py", "autograder/export/junit.py", "autograder/demo/students.py", "segkit/plots/style.py",
     "autograder/assignments/fcn/release/START_HERE.md", "autograder/assignments/fcn/corpus/verdict.jsonl", "autograder/exam/table.py",
     "autograder/assignments/another/checks/test_new.py", "segkit/reference/another/networks.py", "autograder/exam/guard.py"],
)  # fmt: skip
def test_nothing_is_sat_again_for_pages_texts_and_other_assignments(changed_by, name):
    assert changed_by(name, longer) - {"leak"} == set()


def test_a_check_that_changes_is_sat_again_in_its_entries_alone(changed_by):
    name = f"{FCN}/checks/test_labels_and_metrics.py"
    edit = lambda text: text.replace("def test_scores_are_accuracy_iou_and_mean(student, grading):",  # noqa: E731
                                     "def test_scores_are_accuracy_iou_and_mean(student, grading):\n    1 + 1")  # fmt: skip
    assert changed_by(name, edit) - {"leak"} == {"scores"}, "not the attack that has scores as its control: that is held against itself"


@pytest.mark.parametrize("name", ["segkit/checks/scoring.py", "segkit/checks/report.py", "autograder/exam/seen.py"])
def test_a_visible_check_is_run_again_on_what_it_looks_at_before_hand_in(changed_by, name):
    assert changed_by(name, longer) >= {"visible"}


@pytest.mark.parametrize("name", ["segkit/checks/labels.py", "segkit/checks/structure.py", "autograder/judge/checking.py"])
def test_what_no_cell_of_an_exercise_calls_runs_no_visible_check_again(changed_by, name):
    assert "visible" not in changed_by(name, longer)


def test_a_generated_mutant_that_one_check_caught_is_not_sat_again_for_the_others(clone, monkeypatch):
    keys = lambda: Keys(clone / FCN, clone / "notebooks" / "fcn", clone)  # noqa: E731
    entry = dataclasses.replace(ENTRIES["layers"], checks=("fcn32s.layers", "scores"))
    before, whole = keys().caught(entry), keys().of(entry)
    path = clone / FCN / "checks" / "test_labels_and_metrics.py"
    text = path.read_text()
    path.write_text(text.replace("def test_scores_are_accuracy_iou_and_mean(student, grading):",
                                 "def test_scores_are_accuracy_iou_and_mean(student, grading):\n    1 + 1"))  # fmt: skip
    try:
        now = keys().caught(entry)
        assert now["fcn32s.layers"] == before["fcn32s.layers"] and now["scores"] != before["scores"] and keys().of(entry) != whole
    finally:
        path.write_text(text)
    assert keys().caught(ENTRIES["scores"]) == {}, "what people wrote must lose and keep just what it says, in all its checks"


def test_code_that_a_check_imports_counts_in_its_entries_alone(changed_by):
    assert changed_by(f"{FCN}/labels.py", longer) - {"leak"} == {"labels", "built"}
    assert changed_by(f"{FCN}/copying.py", longer) - {"leak"} == {"labels", "built", "copy"}


def test_a_file_beside_the_checks_counts_in_all_of_them(changed_by):
    assert changed_by(f"{FCN}/checks/table.csv", lambda text: "1,2\n") >= GRADED


def test_a_new_check_in_a_file_of_its_own_touches_no_entry_of_the_others(changed_by):
    check = 'from autograder.judge.checking import check\n\n\n@check("scores.again")\ndef test_again(student, grading):\n    pass\n'
    assert changed_by(f"{FCN}/checks/test_again.py", lambda text: check) - {"leak"} == set()
    rubric = '\n[checks."scores.again"]\ntitle = "Again"\npoints = 2\nneeds = ["scores"]\n'
    assert changed_by(f"{FCN}/rubric.toml", lambda text: text + rubric) - {"leak"} == set()


# --------------------------------------------------------------------------------------------------------- the rubric
def rubric(old: str, new: str):
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            'points = 4\nneeds = ["scores"]\nvisible = "check_scores(scores)"\nparts = { accuracy = 1, iou = 1.5, absent = 0.5, mean = 1 }',
            'points = 6\nneeds = ["scores"]\nvisible = "check_scores(scores)"\nparts = { accuracy = 2, iou = 1.5, absent = 0.5, mean = 2 }',
        ),
        ('title = "Accuracy, IoU and mean IoU"', 'title = "Accuracy, IoU, mean IoU"'),
        ('"iou.recall" = "recall instead of IoU"', '"iou.recall" = "recall in place of IoU"'),
        ("[checks.question_2]", '[checks.question_3]\ntitle = "What next"\npoints = 5\nmanual = true\n\n[checks.question_2]'),
    ],
)
def test_points_titles_words_and_questions_cost_no_sitting(changed_by, old, new):
    assert changed_by(f"{FCN}/rubric.toml", rubric(old, new)) == set()


@pytest.mark.parametrize(
    ("old", "new", "touched"),
    [
        ("padding = 100", "padding = 103", GRADED | {"visible"}),
        ("base = { full = 0.40, zero = 0.30 }", "base = { full = 0.45, zero = 0.30 }", {"gate"}),
        ("absent = 0.5, mean = 1 }", "void = 0.5, mean = 1 }", {"scores"}),
        ('scores = { defines = "scores", ', 'scores = { defines = "score_all", ', {"scores", "visible", "built"}),
        ("[solution_cells]", '[solution_cells]\nshares = { defines = "shares", notebook = "1_data.ipynb" }', {"built"}),  # a new exercise
    ],
)
def test_what_outcomes_depend_on_in_the_rubric_counts_where_it_is_used(changed_by, old, new, touched):
    assert changed_by(f"{FCN}/rubric.toml", rubric(old, new)) - {"leak"} == touched


# ------------------------------------------------------------------------------------------------------ the notebooks
def notebook(edit):
    def change(text: str) -> str:
        content = json.loads(text)
        edit(content)
        return json.dumps(content)

    return change


def test_a_sentence_costs_no_sitting(changed_by):
    def edit(content):
        cell = next(cell for cell in content["cells"] if cell["cell_type"] == "markdown" and not cell["metadata"])
        cell["source"] = ["Another sentence."]

    assert changed_by("notebooks/fcn/1_data.ipynb", notebook(edit)) == set()


def test_a_solution_counts_in_the_checks_that_need_it(changed_by):
    def edit(content):
        notebook_, position = solution_cell({"1": content}, "scores")
        cell = notebook_["cells"][position]
        cell["source"] = "".join(cell["source"]).replace("np.nanmean", "np.mean")

    assert changed_by("notebooks/fcn/1_data.ipynb", notebook(edit)) - {"leak"} == {"scores", "visible", "built"}


def test_a_graded_cell_of_a_new_check_costs_no_sitting(changed_by):
    def edit(content):
        own = {"grade": True, "grade_id": "scores-again", "locked": True, "points": 1, "schema_version": 3, "solution": False}
        content["cells"].append({"cell_type": "code", "metadata": {"nbgrader": own}, "source": "# Graded check of the rows, 1 point."})

    assert changed_by("notebooks/fcn/1_data.ipynb", notebook(edit)) == set()


def test_a_picture_cell_counts_where_whole_notebooks_are_handed_in(changed_by):
    def edit(content):
        content["cells"].append({"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": "import this"})

    assert changed_by("notebooks/fcn/1_data.ipynb", notebook(edit)) - {"leak"} == {"built"}


# --------------------------------------------------------------------------------------------------------- the corpus
def test_what_is_handed_in_and_what_is_expected_count_and_the_words_about_it_do_not(clone, before):
    keys = Keys(clone / FCN, clone / "notebooks" / "fcn", clone)
    entry = ENTRIES["scores"]
    same = dataclasses.replace(entry, name="another", about="more words", origin="a/b")
    assert keys.of(same) == before["scores"]
    others = [{"changes": {"scores": [["a", "c"]]}}, {"lost": {"scores": "all"}}, {"cause": "x"}, {"files": {"a": "b"}}, {"seconds": 3.0}]
    assert len({before["scores"], *(keys.of(dataclasses.replace(entry, **more)) for more in others)}) == 6


def test_the_code_that_builds_an_entry_counts_and_its_neighbours_do_not(changed_by):
    corpus = "autograder/exam/forms.py"
    assert changed_by(corpus, rubric('"""Only the solution cells are left."""', '"""Nothing else is left."""')) - {"leak"} == set()
    assert changed_by(corpus, rubric("zip_of_a_mac", "zip_of_macs")) - {"leak"} == set()
    assert changed_by(corpus, rubric('.get("nbgrader", {})', '.get("nbgrader", None)')) - {"leak"} == {"built"}


@pytest.mark.parametrize("name", ["autograder/judge/checking.py", f"{FCN}/labels.py", f"{FCN}/checks/test_networks.py"])
def test_words_about_code_do_not_count(changed_by, name):
    def edit(text: str) -> str:
        tree = ast.parse(text)
        lines = text.split("\n")
        lines[0] = '"""Other words.' + lines[0][3:]
        function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
        lines[function.body[-1].lineno - 1] += "  # why it is so"
        return "\n".join([*lines, "", "# the end", ""])

    assert changed_by(name, edit) - {"leak"} == set()


@pytest.mark.parametrize("other", ["# one\n\n2", "# 1\n\ntwo", "# one\ntwo"])
def test_comments_and_blank_lines_within_a_string_count(clone, tmp_path, other):
    def key(text: str) -> str:
        path = tmp_path / "some.py"
        path.write_text(f'TEXT = """{text}"""\n', encoding="utf-8")
        return Keys(clone / FCN, clone / "notebooks" / "fcn", clone)._code_of(path)

    assert key("# one\n\ntwo") != key(other)


def test_line_endings_and_places_do_not_count(changed_by, clone, before):
    assert keys_of(REPO) == before
    path = clone / "autograder" / "judge" / "checking.py"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    try:
        assert keys_of(clone) == before
    finally:
        path.write_bytes(content)


def test_no_two_entries_of_the_corpus_share_a_key():
    """Else one of them would never be sat."""
    keys = Keys(REPO / FCN, REPO / "notebooks" / "fcn", REPO)
    entries = read_corpus(REPO / FCN).entries
    assert len({keys.of(entry) for entry in entries}) == len(entries)


@pytest.mark.slow
def test_every_module_that_a_graded_entry_loads_is_in_its_key():
    """Oracle: what Python really has imported in a judge after grading, by nbgrader and pytest too.

    A judge collects all checks, whichever it asks for: the key is that of an entry which asks for all of them.
    """
    code = (
        "import dataclasses, sys, tempfile, json\nfrom pathlib import Path\n"
        "from autograder.exam.entries import read_corpus\nfrom autograder.exam import sitting\nfrom autograder.exam.keys import Keys\n"
        "from autograder.judge.run import Run, Settings\nfrom autograder.course.assignment import open_assignment\n"
        "material = open_assignment('fcn').folder\n"
        "entry = next(e for e in read_corpus(material).of_kind('mutants') if e.name == 'iou-recall')\n"
        "with tempfile.TemporaryDirectory() as out, Run.create(Settings('fcn', Path(out), secret='s', device='cpu')) as run:\n"
        "    sitting._BASES['{}'] = (run.settings, run.folder)\n"
        "    outcome = sitting.sit_entry(entry, Path('notebooks/fcn'), True)\n"
        "    sitting._RUNS['{}'].close()\n"
        "assert not outcome.problem, outcome.problem\n"
        "files = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)]\n"
        "keys, read = Keys(material, Path('notebooks/fcn').resolve(), Path.cwd()), []\n"
        "Keys._content = lambda self, path: read.append(str(path)) or ''\n"
        "keys.of(dataclasses.replace(entry, checks=tuple(keys._places)))\n"
        "read += [str(path) for path, _ in keys._places.values()] + [str(material / 'prepare.py')]\n"
        "print('FILES' + json.dumps([sorted(f for f in files if f.startswith(str(Path.cwd())) and '.venv' not in f), read]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded, read = json.loads(done.stdout.rpartition("FILES")[2])
    left_out = sorted(Path(name).relative_to(REPO).as_posix() for name in set(loaded) - set(read))
    # what packages import beside the judge: pages, tables, marks by hand, like code, downloads and their people (an entry is one hand-in
    # without a class), the list of data sets; the keys themselves; what builds the other entries
    harmless = re.compile(
        r"autograder/(report|batch|marking|alike|handins/bulk)/|autograder/handins/roster(_lines)?\.py|segkit/datasets/registry\.py"
        r"|autograder/exam/(attacks|forms|keys|outcome)\.py|autograder/assignments/(fcn/)?(__init__|corpus/)"
    )
    assert [name for name in left_out if not harmless.match(name)] == []
