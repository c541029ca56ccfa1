"""Checks as an instructor writes them: pytest functions over ``student``, and a line in the rubric. No worker is needed here."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from autograder.course.rubric import CheckRubric
from autograder.course.seeds import Seeds
from autograder.judge.checking import CheckResult, run_checks
from autograder.sandbox.client import GraderFault
from segkit.subject import StudentError

HEAD = "import pytest\nfrom autograder.judge.checking import CannotGrade, check\nfrom segkit.subject import StudentError\n"


class Answers:
    """A student whose functions give fixed answers, or raise."""

    def __init__(self, **answers) -> None:
        self.answers = answers

    def call(self, name, *arguments):
        if isinstance(self.answers[name], BaseException):
            raise self.answers[name]
        return self.answers[name]


def rubric(**points) -> dict[str, CheckRubric]:
    return {name: CheckRubric(name, name, p, {"all": p}) if not isinstance(p, dict)
            else CheckRubric(name, name, sum(p.values()), p) for name, p in points.items()}  # fmt: skip


def run(folder: Path, checks: dict[str, CheckRubric], student: object = None, **files: str) -> dict[str, CheckResult]:
    """Run checks written as text; returns the verdicts by id, in their order."""
    place = folder / "checks"
    place.mkdir(exist_ok=True)
    for name, text in files.items():
        (place / f"test_{name}.py").write_text(HEAD + text)
    empty = folder / "empty.ini"
    empty.write_text("[pytest]\n")
    context = SimpleNamespace(seeds=Seeds("s"), empty_ini=empty, rubric=None)
    return {v.id: v for v in run_checks(student or Answers(), context, place, checks)}


def one(folder: Path, body: str, points=4.0, student: object = None) -> CheckResult:
    body = "\n".join(f"    {line}" for line in body.splitlines())
    return run(folder, rubric(one=points), student, one=f"@check('one')\ndef test_one(student, grading):\n{body}\n")["one"]


def test_a_check_that_comes_to_its_end_without_a_loss_is_earned(tmp_path):
    found = one(tmp_path, "grading.note('well done')")
    assert (found.points, found.status, found.cause, found.message) == (4, "earned", None, "well done")


def test_a_plain_assert_takes_the_points_and_its_text_is_the_message(tmp_path):
    found = one(tmp_path, "assert student.call('f') == 4, 'expected 4 windows'", student=Answers(f=3))
    assert (found.points, found.status, found.cause) == (0, "not_earned", "check.failed")
    assert "expected 4 windows" in found.message


def test_an_assert_without_text_still_says_something(tmp_path):
    found = one(tmp_path, "assert student.call('f') == 4", student=Answers(f=3))
    assert found.status == "not_earned" and "3 == 4" in found.message


@pytest.mark.parametrize("body", [
    "hidden = [0.125, 0.25]\nassert student.call('f') == max(hidden), 'expected the largest'",
    "hidden = [0.125, 0.25]\nassert student.call('f') == max(hidden)",
    "hidden = [0.125, 0.25]\nassert [student.call('f')] == hidden",
    "hidden = [0.125, 0.25]\nassert student.call('f') in hidden, 'expected\\none of them'",
])  # fmt: skip
def test_an_assert_does_not_tell_the_values_that_it_was_made_with(tmp_path, body):
    message = one(tmp_path, body, student=Answers(f=3)).message
    assert "0.125" not in message and "hidden" not in message
    assert message in ("expected the largest", "assert 3 == 0.25", "the check failed", "expected\n  one of them")


def test_a_students_error_takes_the_points_with_its_cause(tmp_path):
    found = one(tmp_path, "student.call('f')", student=Answers(f=StudentError("it died", "code.died")))
    assert (found.points, found.status, found.cause, found.message) == (0, "not_earned", "code.died", "it died")


PARTS = {"a": 2.5, "b": 1.0, "c": 0.5}


@pytest.mark.parametrize(("losses", "points"), [
    ("grading.lose('a', cause='x', message='m')", 1.5),
    ("grading.lose('c', cause='x', message='m')", 3.5),
    ("grading.lose('a', cause='x', message='m', share=0.1)", 3.5),  # 3.75 is rounded down
    ("grading.lose('b', cause='x', message='m', share=0.5)", 3.5),
    ("grading.lose('c', cause='x', message='m', share=0.01)", 3.5),
    ("grading.lose('c', cause='x', message='m', share=0)", 3.5),  # any fault at all: never earned
    ("for n in range(9): grading.lose('b', cause='x', message='m', share=0.3)", 3),  # a part is lost once
    ("for p in 'abc': grading.lose(p, cause='x', message='m')", 0),
])  # fmt: skip
def test_points_are_lost_by_parts_and_rounded_down(tmp_path, losses, points):
    found = one(tmp_path, losses, PARTS)
    assert found.points == points and found.status == ("partial" if points else "not_earned")


def test_the_first_fault_gives_the_cause_and_all_give_the_message(tmp_path):
    found = one(tmp_path, "grading.lose('b', cause='x.one', message='first', measured={'dy': 1})\n"
                          "grading.lose('c', cause='x.two', message='second')", PARTS)  # fmt: skip
    assert (found.cause, found.measured, found.message) == ("x.one", {"dy": 1}, "first\n\nsecond")


@pytest.mark.parametrize(("losses", "measured"), [
    ("grading.note('one', {'iou': 0.5})\ngrading.note('two', {'seen': 3})\ngrading.note('three')", {"iou": 0.5, "seen": 3}),
    ("grading.note('one', {'iou': 0.5})\ngrading.lose('c', cause='x', message='m', measured={'dy': 1})", {"dy": 1}),
    ("grading.note('one', {'iou': 0.5})\ngrading.lose('c', cause='x', message='m')", {}),
    ("grading.note('one', {'iou': float('nan')})", {"iou": "nan"}),
    ("for n in range(99): grading.note('one', {str(n): n})", {str(n): n for n in range(40)}),
])  # fmt: skip
def test_notes_of_a_check_that_loses_nothing_bring_what_was_measured_into_the_result(tmp_path, losses, measured):
    assert one(tmp_path, losses, PARTS).measured == measured


def test_a_fault_before_a_death_costs_all(tmp_path):
    found = one(tmp_path, "grading.lose('c', cause='x', message='m')\nraise StudentError('died', 'code.died')", PARTS)
    assert (found.points, found.cause) == (0, "code.died")


@pytest.mark.parametrize(("body", "cause", "words"), [
    ("raise CannotGrade('no pictures')", "grader.data", "no pictures"),
    ("raise CannotGrade('elsewhere', 'checkpoint.elsewhere')", "checkpoint.elsewhere", "elsewhere"),
    ("pytest.skip('not here')", "grader.data", "not here"),
    ("{}['key']", "grader.fault", "KeyError"),
    ("1 / 0", "grader.fault", "ZeroDivisionError"),
    ("grading.lose('no such part', cause='x', message='m')", "grader.fault", "the rubric has no part"),
    ("raise SystemExit(0)", "grader.fault", "SystemExit"),
    ("import no_such_module", "grader.fault", "no_such_module"),
])  # fmt: skip
def test_a_broken_check_is_never_a_students_zero(tmp_path, body, cause, words):
    found = one(tmp_path, body)
    assert (found.points, found.status, found.cause) == (None, "could_not_grade", cause)
    assert words in found.message


def test_a_fault_of_the_machine_is_never_a_students_zero(tmp_path):
    found = one(tmp_path, "student.call('f')", student=Answers(f=GraderFault("no space left")))
    assert (found.points, found.status) == (None, "could_not_grade") and "no space left" in found.message


GOOD = "@check('{0}')\ndef test_{0}(student):\n    assert student.call('f') == 1\n"


def test_a_check_file_that_cannot_be_imported_leaves_the_others_standing(tmp_path):
    found = run(tmp_path, rubric(one=1.0, two=1.0), Answers(f=1), a="import no_such_module\n" + GOOD.format("one"), b=GOOD.format("two"))
    assert found["two"].status == "earned"
    assert found["one"].status == "could_not_grade" and "no_such_module" in found["one"].message


def test_a_check_of_the_rubric_that_no_test_is_marked_with_could_not_be_graded(tmp_path):
    found = run(tmp_path, rubric(one=1.0, two=1.0), Answers(f=1), a=GOOD.format("one"))
    assert [v.status for v in found.values()] == ["earned", "could_not_grade"]


def test_verdicts_stand_in_the_order_of_the_rubric_and_checks_run_in_it(tmp_path):
    order = []
    student = SimpleNamespace(call=lambda name: order.append(name) or 1)
    text = "".join(GOOD.format(name).replace("'f'", f"'{name}'") for name in ("c", "a", "b"))
    found = run(tmp_path, rubric(b=1.0, c=1.0, a=1.0), student, a=text)
    assert list(found) == order == ["b", "c", "a"]


def test_an_instructor_adds_a_check_with_a_function_and_a_line_of_the_rubric(tmp_path):
    before = run(tmp_path, rubric(one=1.0), Answers(f=1), a=GOOD.format("one"))
    after = run(tmp_path, rubric(one=1.0, mine=2.0), Answers(f=1), mine=GOOD.format("mine"))
    assert list(before) == ["one"] and [v.status for v in after.values()] == ["earned", "earned"]


def test_tests_that_the_rubric_does_not_know_are_not_run(tmp_path):
    text = GOOD.format("one") + "@check('other')\ndef test_other():\n    raise SystemExit\ndef test_unmarked():\n    assert 0\n"
    assert {n: v.status for n, v in run(tmp_path, rubric(one=1.0), Answers(f=1), a=text).items()} == {"one": "earned"}


def test_checks_that_a_person_grades_wait_for_one(tmp_path):
    manual = {"essay": CheckRubric("essay", "Essay", 5.0, {"all": 5.0}, manual=True)}
    found = run(tmp_path, manual, a="")["essay"]
    assert (found.points, found.status, found.max_points) == (None, "needs_manual", 5.0)


@pytest.mark.parametrize(("name", "value"), [("PYTEST_ADDOPTS", "-x --co -q"), ("PYTEST_PLUGINS", "no_such_plugin")])
def test_settings_of_somebodys_own_pytest_do_not_reach_the_judge(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    found = run(tmp_path, rubric(one=1.0, two=1.0), Answers(f=1), a=GOOD.format("one"), b=GOOD.format("two"))
    assert [v.status for v in found.values()] == ["earned", "earned"]
    assert os.environ[name] == value


def test_an_interruption_is_passed_on_and_not_taken_for_a_verdict(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        one(tmp_path, "raise KeyboardInterrupt")


def test_what_a_check_prints_is_kept_from_the_terminal(tmp_path, capfd):
    one(tmp_path, "print('the expected value is 7')")
    assert "expected value" not in "".join(capfd.readouterr())
