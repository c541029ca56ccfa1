"""The stored verdict of the exam: what its hash depends on, and when it counts."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.exam.entries import Entry
from autograder.exam.fingerprint import PARTS, fingerprint, hashed_files, total
from autograder.exam.sitting import Outcome
from autograder.exam.verdict import make_verdict, read_standing, verdict_file, write_verdict

REPO = Path(__file__).resolve().parents[2]
FOLDERS = (REPO / "autograder" / "assignments" / "fcn", REPO / "notebooks" / "fcn", REPO / "segkit", REPO / "autograder")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The files that are hashed, and those beside them, in another place."""
    root = tmp_path_factory.mktemp("a clone") / "repository"
    leave = shutil.ignore_patterns("__pycache__", "*.pyc", ".ipynb_checkpoints")
    for name in ("autograder", "segkit", "notebooks"):
        shutil.copytree(REPO / name, root / name, ignore=leave)
    shutil.copyfile(REPO / "nbgrader_config.py", root / "nbgrader_config.py")
    return root


def parts_of(root: Path) -> dict[str, str]:
    return fingerprint(root / "autograder" / "assignments" / "fcn", root / "notebooks" / "fcn", root / "segkit", root / "autograder")


@pytest.fixture
def edited(clone):
    """Edits a file of the clone for the length of a test."""
    kept: dict[Path, bytes | None] = {}

    def edit(name: str, change=lambda content: content + b"\n# another line\n") -> dict[str, str]:
        path = clone / name
        kept[path] = path.read_bytes() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(change(kept[path] or b""))
        return parts_of(clone)

    yield edit
    for path, content in kept.items():
        path.unlink() if content is None else path.write_bytes(content)


@pytest.fixture(scope="module")
def before(clone) -> dict[str, str]:
    return parts_of(clone)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("autograder/assignments/fcn/checks/test_networks.py", "checks"),
        ("autograder/assignments/fcn/offsets.py", "checks"),
        ("autograder/assignments/fcn/rubric.toml", "rubric"),
        ("autograder/assignments/fcn/corpus/metrics.toml", "corpus"),
        ("autograder/assignments/fcn/corpus/damaged.py", "corpus"),
        ("segkit/reference/fcn/networks.py", "reference"),
        ("notebooks/fcn/4_fcn8s.ipynb", "notebooks"),
        ("autograder/judge/checking.py", "grader"),
        ("autograder/sandbox/worker.py", "grader"),
        ("autograder/a_new_module.py", "grader"),
        ("segkit/subject.py", "segkit"),
        ("segkit/checks/alignment.py", "segkit"),
        ("segkit/notebooks/names.py", "segkit"),
        ("autograder/exam/sitting.py", "exam"),
    ],
)
def test_a_changed_file_changes_its_part_and_no_other(edited, before, name, part):
    now = edited(name)
    assert [other for other in PARTS if now[other] != before[other]] == [part]
    assert total(now) != total(before)


@pytest.mark.parametrize(
    "name",
    ["autograder/report/student_page.py", "autograder/export/junit.py", "autograder/demo/students.py", "segkit/plots/style.py",
     "autograder/assignments/fcn/release/START_HERE.md", "autograder/assignments/fcn/corpus/verdict.json",
     "autograder/__pycache__/checking.cpython-311.pyc", "autograder/exam/table.py"],
)  # fmt: skip
def test_what_no_verdict_depends_on_is_left_out(edited, before, name):
    assert edited(name) == before


def test_line_endings_and_places_do_not_count(edited, before):
    assert edited("autograder/judge/checking.py", lambda content: content.replace(b"\n", b"\r\n")) == before


def test_a_renamed_file_counts(clone, before):
    path = clone / "autograder" / "assignments" / "fcn" / "offsets.py"
    other = path.rename(path.with_name("offsetz.py"))  # the same place in the order of names
    now = parts_of(clone)
    other.rename(path)
    assert now["checks"] != before["checks"]


@pytest.mark.slow
def test_every_module_that_a_graded_entry_loads_is_hashed():
    """Oracle: what Python really has imported in a judge after grading, by nbgrader and pytest too."""
    code = (
        "import sys, tempfile, json\nfrom pathlib import Path\n"
        "from autograder.exam.entries import read_corpus\nfrom autograder.exam import sitting\n"
        "from autograder.judge.run import Run, Settings\nfrom autograder.course.assignment import open_assignment\n"
        "import autograder.exam.leaks, autograder.exam.generated\n"
        "entry = next(e for e in read_corpus(open_assignment('fcn').folder).of_kind('mutants') if e.name == 'iou-recall')\n"
        "with tempfile.TemporaryDirectory() as out, Run.create(Settings('fcn', Path(out), secret='s', device='cpu')) as run:\n"
        "    sitting._BASES['{}'] = (run.settings, run.folder)\n"
        "    outcome = sitting.sit_entry(entry, Path('notebooks/fcn'), True, True)\n"
        "    sitting._RUNS['{}'].close()\n"
        "assert not outcome.problem, outcome.problem\n"
        "files = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)]\n"
        "print('FILES' + json.dumps(sorted(f for f in files if f.startswith(str(Path.cwd())) and '.venv' not in f)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = {Path(name) for name in json.loads(done.stdout.rpartition("FILES")[2])}
    hashed = {path for files in hashed_files(*FOLDERS).values() for path in files.values()}
    left_out = {path.relative_to(REPO).as_posix() for path in loaded - hashed}
    harmless = (  # command lines, pages and tables that packages import with them; no result goes through these
        "autograder/exam/__init__.py", "autograder/cli/selftest.py", "autograder/cli/release.py",
        "autograder/release/checkpoints.py", "autograder/exam/guard.py", "autograder/assignments/__init__.py",
        "autograder/report/", "autograder/batch/", "autograder/report/result_schema.py", "autograder/cli/predict.py",
    )  # fmt: skip
    assert sorted(name for name in left_out if not name.startswith(harmless)) == []


# ------------------------------------------------------------------------------------------------------------ the verdict
PARTS_NOW = dict.fromkeys(PARTS, "0" * 64)


@pytest.fixture
def material(tmp_path) -> Path:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.toml").write_text("")
    return tmp_path


def store(material: Path, *problems: str, parts=PARTS_NOW) -> dict:
    outcomes = [Outcome(Entry("mutants", f"m{number}"), problem=problem) for number, problem in enumerate(problems)]
    verdict = make_verdict(outcomes, "fcn", parts, 12.4, {"isolation": "landlock", "tried_again": []})
    write_verdict(verdict, verdict_file(material))
    return verdict


def test_an_exam_without_surprises_is_valid_for_the_same_files(material):
    verdict = store(material, "", "")
    standing = read_standing(material, "fcn", PARTS_NOW)
    assert standing.guarded and standing.valid and "2 entries, no surprise" in standing.text
    assert verdict["table"][0]["as expected"] == 2 and verdict["hash"] == total(PARTS_NOW) and verdict["seconds"] == 12


def test_the_parts_that_changed_since_are_named(material):
    store(material, "")
    standing = read_standing(material, "fcn", PARTS_NOW | {"rubric": "1" * 64, "checks": "2" * 64})
    assert not standing.valid and standing.changed == ("checks", "rubric")
    assert "have changed: checks, rubric." in standing.text and "run: python -m autograder selftest fcn --all" in standing.text


def test_a_verdict_with_surprises_is_stored_and_does_not_count(material):
    verdict = store(material, "", "expected 2 points, got 4")
    standing = read_standing(material, "fcn", PARTS_NOW)
    assert verdict["valid"] is False and verdict["surprises"] == ["mutants/m1"]
    assert not standing.valid and "had 1 surprises (mutants/m1)" in standing.text


def test_without_a_verdict_the_exam_is_asked_for(material):
    standing = read_standing(material, "fcn", PARTS_NOW)
    assert standing.guarded and not standing.valid and "There is no verdict" in standing.text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"date": 1, "valid": true, "surprises": [], "parts": 3, "schema": "x", "hash": ""}'])
def test_a_damaged_verdict_does_not_count(material, text):
    verdict_file(material).write_text(text)
    standing = read_standing(material, "fcn", PARTS_NOW)
    assert not standing.valid and "cannot be read as a verdict" in standing.text


def test_a_verdict_edited_by_hand_does_not_count(material):
    """New part hashes under the old exam are the likeliest way around it."""
    store(material, "")
    path = verdict_file(material)
    path.write_text(path.read_text().replace('"checks": "000', '"checks": "111'))
    standing = read_standing(material, "fcn", PARTS_NOW | {"checks": "111" + "0" * 61})
    assert not standing.valid and "was edited" in standing.text


def test_an_assignment_without_a_corpus_is_not_guarded_and_that_is_said(tmp_path):
    standing = read_standing(tmp_path, "tiny", PARTS_NOW)
    assert not standing.guarded and "tiny has no corpus" in standing.text
