"""A rubric that is changed while a watch runs: its deadline, its points, a slip in it."""

import shutil
import zipfile

import pytest
from quick_class import QuickJudges, journal_of
from tiny import DOUBLE, TINY, write_submission

from autograder.batch.journal import entries_by_name
from autograder.batch.watching import STATE
from autograder.cli.watch import _watch

DUE = "due = 2026-03-14T23:59:00+00:00\n"


class Course:
    """A watch over one download of the exchange, with a rubric of its own."""

    def __init__(self, monkeypatch, root) -> None:
        self.root, self.out, self.rubric = root, root / "out", root / "own" / "rubric.toml"
        shutil.copytree(TINY, root / "own", ignore=shutil.ignore_patterns("__pycache__"))
        self.text = self.rubric.read_text()
        self.write(DUE + self.text)
        (root / "in").mkdir()
        with zipfile.ZipFile(root / "in" / "week.zip", "w") as bundle:
            bundle.writestr("ann+tiny+2026-03-16 10:00:00 UTC/double.py", DOUBLE)
            bundle.writestr("ben+tiny+2026-03-14 10:00:00 UTC/double.py", DOUBLE)
        self.judges = QuickJudges(monkeypatch, root)
        self.begin()

    def write(self, text: str) -> None:
        self.rubric.write_text(text)

    def begin(self) -> None:
        told = {"assignment": str(self.root / "own"), "out": self.out, "roster": None, "due": "", "zone": "UTC", "late": None}
        run = lambda paths: self.judges.run(paths, assignment=str(self.root / "own"))  # noqa: E731
        self.watch = _watch((self.root / "in",), 0.05, 0, run, **told, penalty="10% per day")

    def step(self) -> list[str]:
        self.judges.graded.clear()
        self.watch.run(once=True)
        return list(self.judges.graded)

    @property
    def summary(self) -> str:
        return (self.out / "summary.csv").read_text(encoding="utf-8-sig")


@pytest.fixture
def course(monkeypatch, tmp_path):
    return Course(monkeypatch, tmp_path)


def test_another_deadline_says_anew_who_was_late_and_grades_nothing_again(course):
    assert course.step() == ["ann", "ben"] and "late penalty" in course.summary
    course.write(DUE.replace("-14T", "-17T") + course.text)
    assert course.step() == [] and "late penalty" not in course.summary
    assert "Handed in late" not in (course.out / "ann" / "report.html").read_text()
    course.write(DUE.replace("-14T", "-13T") + course.text)
    assert course.step() == [] and "ann,4,4,0,,4,1.2,2.8" in course.summary and "ben,4,4,0,,4,0.4,3.6" in course.summary
    course.begin()
    assert course.step() == [] and len(journal_of(course.out)) == 2


def test_other_points_grade_all_again_and_say_so(course):
    course.step()
    course.write(DUE + course.text.replace("points = 4", "points = 6").replace("values = 3", "values = 5"))
    assert course.step() == ["ann", "ben"]
    assert (
        "for rubric changed" in (course.out / STATE).read_text()
        and entries_by_name(course.out / "journal.jsonl")["ann"][-1].result["score"] == 6
    )
    assert course.step() == []


def test_a_slip_is_said_once_keeps_results_and_is_over_when_it_is_mended(course, capsys):
    course.step()
    before = course.summary
    course.write(DUE + course.text.replace("points = 4", "points = four"))
    assert course.step() == course.step() == []
    assert (
        capsys.readouterr().out.count("is no TOML") == 1 and "is no TOML" in (course.out / STATE).read_text() and course.summary == before
    )
    write_submission(course.root / "in" / "cem", net=None)
    assert course.step() == course.step() == [] and "cem" in (course.out / STATE).read_text()
    assert capsys.readouterr().out.count("It is tried again") == 1
    course.write(DUE + course.text)
    assert course.step() == ["cem"] and "is no TOML" not in (course.out / STATE).read_text()
    assert all(line in course.summary for line in before.splitlines())


def test_what_says_the_same_is_not_written_again(course):
    course.step()
    handins = course.out / "handins.csv"
    before = handins.stat()
    course.step()
    assert handins.stat().st_ino == before.st_ino and handins.stat().st_mtime_ns == before.st_mtime_ns
    course.write(DUE.replace("-14T", "-17T") + course.text)
    course.step()
    assert handins.stat().st_ino != before.st_ino
