"""The honest submission before and after an attack: is every difference a surprise, and nothing else?"""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest

from autograder.course.assignment import open_assignment
from autograder.exam import control
from autograder.exam.control import compare_controls, compare_kept, write_and_read
from autograder.exam.entries import Entry
from autograder.exam.sitting import SECRET, sit
from autograder.judge.run import Settings

REPO = Path(__file__).resolve().parents[2]
RUN = SimpleNamespace(rubric=open_assignment("fcn").rubric)


def verdict(name: str, **more) -> dict:
    found = {"id": name, "points": 4.0, "max_points": 4.0, "status": "earned", "cause": None, "measured": None, "message": ""}
    return found | {"seconds": 0.1} | more


def result(*verdicts: dict, **more) -> dict:
    checks = list(verdicts or (verdict("read_label"), verdict("scores")))
    found = {
        "schema": "segkit-result/1", "assignment": "fcn", "submission": "exam", "score": sum(v["points"] for v in checks),
        "max_score": 8.0, "needs_manual": 0, "isolation": "bubblewrap", "kit_version": "1", "started": "2026-01-01T00:00:00+00:00",
        "seconds": 1.5, "seed": "abc", "device": "cpu", "data": None, "submission_sha256": 64 * "1", "notes": [], "checks": checks,
    }  # fmt: skip
    return found | more


BEFORE = control.without_times(result(submission="control"))


def test_only_times_may_differ():
    again = result(verdict("read_label", seconds=9.0), verdict("scores"), submission="control", started="later", seconds=7.0)
    assert compare_controls(BEFORE, control.without_times(again)) == []


@pytest.mark.parametrize(("change", "words"), [
    (lambda r: r["checks"][1].update(points=3.5), "checks"),
    (lambda r: r["checks"][1].update(message="evil"), "evil"),
    (lambda r: r["checks"].pop(), "checks"),
    (lambda r: r.update(seed="def"), "(seed)"),
    (lambda r: r["notes"].append("a note"), "(notes)"),
    (lambda r: r.update(more=1), "(more)"),
])  # fmt: skip
def test_every_other_difference_of_the_control_is_told(change, words):
    after = copy.deepcopy(BEFORE)
    change(after)
    found = compare_controls(BEFORE, after)
    assert len(found) == 1 and "graded otherwise after it" in found[0] and words in found[0]


def test_a_control_that_is_not_whole_compares_nothing():
    broken = control.without_times(result(verdict("read_label", points=0.0)))
    assert compare_controls(broken, broken) == ["the honest submission loses points without any attack: read_label"]


def test_checks_that_an_attack_keeps_have_the_honest_verdict():
    lost = result(verdict("read_label"), verdict("scores", points=0.0, message="lost"), notes=["n"], submission_sha256=64 * "2")
    assert compare_kept(lost, BEFORE, ["scores"]) == []
    assert "scores: its verdict is not that of the honest submission" in compare_kept(lost, BEFORE, [])[0]
    assert "message" in compare_kept(result(verdict("read_label", message="evil")), BEFORE, [])[0]
    assert compare_kept(result(isolation="process"), BEFORE, []) == ['the result\'s isolation is "process", not "bubblewrap"']


def test_a_result_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    assert write_and_read(result(), tmp_path / "good", RUN) == []
    assert "its result cannot be written: ResultSchemaError" in write_and_read(result(score="100"), tmp_path / "odd", RUN)[0]
    monkeypatch.setattr(control, "write_result", lambda result, folder, rubric: (folder / "result.json").write_text("\ud800"))
    assert "its result cannot be written: UnicodeEncodeError" in write_and_read(result(), tmp_path / "half", RUN)[0]
    monkeypatch.setattr(control, "write_result", lambda result, folder, rubric: (folder / "result.json").write_text('{"score": 100}'))
    assert write_and_read(result(), tmp_path / "forged", RUN) == ["the written result has 100 points, not 8.0"]


def spoil_the_judge(folder: Path, notebooks: dict) -> None:
    """The building function of an entry, called in the judge: from now on its draws are others."""
    from autograder.course.seeds import Seeds
    from autograder.exam import sitting

    for run in sitting._RUNS.values():
        run.seeds = Seeds("another secret than before")


@pytest.mark.slow
def test_a_judge_that_was_changed_is_found_by_the_control(tmp_path):
    """And is one that was not changed left in peace?"""
    checks = ("read_label", "scores")
    quiet = Entry("attacks", "quiet", checks=checks, control=checks)
    spoiling = Entry("attacks", "spoiling", build=f"{__name__}:spoil_the_judge", checks=checks, control=checks)
    settings = Settings("fcn", tmp_path, data="sample", secret=SECRET, device="cpu")
    found = sit([quiet, spoiling], settings, REPO / "notebooks" / "fcn")
    assert found[0].problem == "" and "an honest submission is graded otherwise after it (seed" in found[1].problem
