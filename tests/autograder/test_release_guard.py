"""A release is refused when the grader misjudges reference or stub, or when its exam is not valid for the present files."""

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_course import POINTS, SECRET_LINE, notebooks, write_course

from autograder.cli import release as command
from autograder.course.sources import ReleaseError
from autograder.demo import __main__ as demo
from autograder.exam import guard
from autograder.exam.entries import Entry
from autograder.exam.guard import Guard, GuardError, surprises_of
from autograder.exam.outcome import Outcome
from autograder.judge.run import Run
from autograder.release import build as building
from autograder.release.build import build_release


class FakeExam:
    """An exam of one entry."""

    def __init__(self, left: int = 1, problem: str = "") -> None:
        self.left, self.sat, self.problem = [Entry("mutants", "m")] * left, 0, problem

    def words(self, jobs: int) -> str:
        return "The grader's exam: 1 of 1 entries depend on what has changed" if self.left else "The grader's exam was passed."

    def sit(self, jobs, tell):
        self.sat, self.left = self.sat + 1, []
        return [Outcome(Entry("mutants", "m"), problem=self.problem)]


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "verify_edition", lambda folder, repositories: [])
    return write_course(tmp_path / "c")


@pytest.fixture
def solvable(tmp_path, monkeypatch):
    """The small course with solutions that run: its planted secret line does not."""
    monkeypatch.setattr(building, "verify_edition", lambda folder, repositories: [])
    books = notebooks()
    for cell in books["1_first.ipynb"].cells:
        cell.source = cell.source.replace(SECRET_LINE, "assert values is not None")
    return write_course(tmp_path / "solvable", books)


def result(points: dict[str, float | None], causes: dict[str, str] | None = None) -> dict:
    checks = [
        {"id": name, "points": value, "max_points": POINTS[name], "cause": (causes or {}).get(name), "message": f"why {name}\nmore",
         "status": "needs_manual" if name == "question_1" else "graded"}
        for name, value in points.items()
    ]  # fmt: skip
    return {"checks": checks, "isolation": "landlock"}


FULL = {"double": 4.0, "last.value": 6.0, "question_1": None}
NOTHING = {"double": 0.0, "last.value": 0.0, "question_1": None}


def fake(reference=FULL, stub=NOTHING):
    seen = []

    def grade(material: Path, tries: dict[str, Path]) -> dict[str, dict]:
        seen.extend((name, "NotImplementedError" in (folder / "1_first.ipynb").read_text()) for name, folder in tries.items())
        return {name: result({"reference": reference, "stub": stub}[name]) for name in tries}

    grade.seen = seen
    return grade


def release(course, tmp_path, *, grade=None, unexamined=False, exam=None):
    """Build with a guard; returns what it said."""
    said: list[str] = []
    own = Guard(course, unexamined, said.append, grade or fake())
    if exam:
        own.exam = exam
    build_release(course, tmp_path / "out", facts={}, checks=POINTS, guard=own)
    return said


def test_both_tries_are_told_in_a_line_each(course, tmp_path):
    grade = fake()
    said = release(course, tmp_path, grade=grade)
    assert said[0] == "reference solution: 10 of 10 points (landlock): as it must be"
    assert said[1] == "stub as released: 0 of 10 points (landlock): as it must be"
    assert grade.seen == [("reference", False), ("stub", True)]


def test_an_assignment_without_a_corpus_is_released_and_that_is_said(course, tmp_path):
    said = release(course, tmp_path)
    assert "tiny has no corpus" in said[-1] and (tmp_path / "out" / "tiny.zip").is_file()
    assert "unexamined" not in json.loads((tmp_path / "out" / "tiny" / "assignment.json").read_text())


@pytest.mark.parametrize(
    ("reference", "stub", "words"),
    [
        (FULL | {"double": 3.5}, NOTHING, "reference: double gave 3.5 of 4 points: why double"),
        (FULL | {"double": None}, NOTHING, "reference: double could not be graded: why double"),
        (FULL, NOTHING | {"last.value": 0.5}, "stub: last.value gave 0.5 points for nothing"),
        (FULL, NOTHING | {"last.value": None}, "stub: last.value could not be graded"),
        (NOTHING, NOTHING, "reference: no check at all was earned"),
    ],
)
def test_a_surprise_in_a_try_stops_the_release(course, tmp_path, reference, stub, words):
    with pytest.raises(GuardError, match="The grader does not grade as it must; nothing was released") as caught:
        release(course, tmp_path, grade=fake(reference, stub), unexamined=True)
    assert words in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_needs_a_checkpoint_is_no_loss_of_the_reference_and_is_counted():
    found = result({"double": 4.0, "last.value": 0.0}, {"last.value": "checkpoint.missing"})
    assert surprises_of(found, solved=True) == []
    line = guard._line("reference", found, [])
    assert line == "reference solution: 4 of 4 points (landlock; 1 checks need a trained model): as it must be"
    assert surprises_of(result({"double": 4.0, "last.value": 0.0}), solved=True) == ["last.value gave 0 of 6 points: why last.value"]


def test_what_is_left_of_the_exam_is_sat_after_the_tries_and_before_anything_is_published(course, tmp_path, monkeypatch):
    exam = FakeExam()
    monkeypatch.setattr(guard, "Exam", lambda *arguments: pytest.fail("the exam is opened twice"))
    said = release(course, tmp_path, exam=exam)
    assert exam.sat == 1 and "1 of 1 entries depend on what has changed" in said[2] and said[-1] == "The grader's exam was passed."
    assert "unexamined" not in json.loads((tmp_path / "out" / "tiny" / "assignment.json").read_text())


def test_a_surprise_in_the_exam_stops_the_release(course, tmp_path):
    with pytest.raises(GuardError, match="exam had 1 surprise") as caught:
        release(course, tmp_path, exam=FakeExam(problem="expected to lose iou"))
    assert "mutants/m: expected to lose iou" in str(caught.value) and "--unexamined releases without" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("fault", ["notebook", "reference"])
def test_what_is_found_in_seconds_is_said_before_an_exam_of_minutes(course, tmp_path, fault):
    exam = FakeExam()
    if fault == "notebook":
        (course.notebooks / "2_second.ipynb").write_text("{")
    with pytest.raises(ReleaseError, match="not a valid notebook" if fault == "notebook" else "gave 3.5 of 4"):
        release(course, tmp_path, exam=exam, grade=fake(FULL | {"double": 3.5}))
    assert exam.sat == 0


def test_a_corpus_that_names_a_dropped_exercise_is_refused_with_the_entries(course, tmp_path):
    (course.material / "corpus").mkdir()
    (course.material / "corpus" / "corpus.toml").write_text(
        'control = ["double", "triple"]\n[touches]\ndouble = ["double"]\ntriple = ["triple"]\n'
        '[[mutants]]\nname = "thrice"\ncell = "triple"\nchange = [["3", "2"]]\n'
    )
    with pytest.raises(GuardError, match="does not have. Take these out") as caught:
        release(course, tmp_path)
    assert all(f"\n  {words}" in str(caught.value) for words in ("[touches] triple", "control: triple", "mutants thrice: triple"))
    assert "double" not in str(caught.value)


def test_an_unexamined_release_is_tried_all_the_same(course, tmp_path):
    grade = fake()
    release(course, tmp_path, grade=grade, unexamined=True, exam=FakeExam())
    assert [name for name, _ in grade.seen] == ["reference", "stub"]


def test_an_unexamined_release_says_so_in_manifest_readme_and_zip(course, tmp_path):
    said = release(course, tmp_path, unexamined=True, exam=FakeExam())
    assert said[-1].startswith("UNEXAMINED, and stamped so: The grader's exam: 1 of 1")
    folder = tmp_path / "out" / "tiny"
    words = "released without a valid verdict of the grader's exam (--unexamined)"
    assert json.loads((folder / "assignment.json").read_text())["unexamined"] == words
    assert f"*This copy was {words}.*" in (folder / "START_HERE.md").read_text().splitlines()[:3]
    with zipfile.ZipFile(tmp_path / "out" / "tiny.zip") as bundle:
        assert words in bundle.read("tiny/START_HERE.md").decode() and words in bundle.read("tiny/assignment.json").decode()


def test_an_examined_release_carries_no_stamp_whatever_the_option(course, tmp_path):
    release(course, tmp_path, unexamined=True, exam=FakeExam(left=0))
    assert "unexamined" not in (tmp_path / "out" / "tiny" / "START_HERE.md").read_text()


def test_the_command_ends_with_1_when_the_guard_refuses(course, tmp_path, monkeypatch):
    (course.material / "corpus").mkdir(exist_ok=True)
    (course.material / "corpus" / "corpus.toml").write_text("")
    monkeypatch.setattr(guard, "Exam", lambda *arguments: FakeExam(problem="got 4"))
    monkeypatch.setattr(command, "find_sources", lambda assignment, root: course)
    monkeypatch.setattr(command, "Guard", lambda sources, unexamined, say, jobs: Guard(sources, unexamined, say, fake()))
    arguments = ["tiny", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(command.release_command, arguments)
    assert done.exit_code == 1 and "mutants/m: got 4" in done.output
    assert not (tmp_path / "out" / "tiny").exists()
    assert CliRunner().invoke(command.release_command, [*arguments, "--unexamined"]).exit_code == 0


@pytest.mark.slow
def test_tries_are_really_graded_in_one_run(solvable, tmp_path, monkeypatch):
    """No stand-in for the grader: workers, checks, points. What a run prepares is prepared once."""
    said: list[str] = []
    begun, create = [], Run.create
    monkeypatch.setattr(Run, "create", lambda settings: (begun.append(settings), create(settings))[1])
    build_release(solvable, tmp_path / "out", facts={}, checks=POINTS, guard=Guard(solvable, say=said.append))
    assert said[0].startswith("reference solution: 10 of 10 points") and said[1].startswith("stub as released: 0 of 10 points")
    assert len(begun) == 1


@pytest.mark.slow
def test_a_grader_that_gives_points_for_a_stub_is_caught_by_a_real_try(solvable, tmp_path):
    checks = solvable.material / "checks"
    file = next(checks.glob("*.py"))
    file.write_text(file.read_text().replace('answer = student.call("last_of_all", np.array([3, 9, 1]))', "answer = 9"))
    with pytest.raises(GuardError, match="stub: last.value gave 6 points for nothing"):
        build_release(solvable, tmp_path / "out", facts={}, checks=POINTS, guard=Guard(solvable))


def test_the_demo_never_refuses_and_tells_the_truth(course, tmp_path, monkeypatch, capsys):
    (course.material / "corpus").mkdir(exist_ok=True)
    (course.material / "corpus" / "corpus.toml").write_text("")
    monkeypatch.setattr(guard, "Exam", lambda *arguments: FakeExam(problem="got 4"))
    build_release(course, tmp_path / "out", facts={}, checks=POINTS, guard=demo._DemoGuard(course))
    assert "UNEXAMINED, and stamped so" in capsys.readouterr().out
    assert "unexamined" in json.loads((tmp_path / "out" / "tiny" / "assignment.json").read_text())
