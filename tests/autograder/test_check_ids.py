"""Ids of checks: one test and one line of the rubric each, and what is amiss is said before anything is graded."""

import shutil

import pytest
from click.testing import CliRunner
from test_checking import GOOD, Answers, rubric, run
from tiny import TINY, open_run, write_submission

from autograder.__main__ import main
from autograder.course.rubric import RubricError, read_rubric
from autograder.judge.checking import inspect_checks


@pytest.fixture
def assignment(tmp_path):
    return shutil.copytree(TINY, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__"))


def add(assignment, text: str, name: str = "test_mine.py") -> None:
    (assignment / "checks" / name).write_text(f"import pytest\nfrom autograder.judge.checking import check\n{text}")


def refusal(assignment, tmp_path) -> str:
    with pytest.raises(RubricError) as caught:
        open_run(tmp_path / "out", assignment=str(assignment))
    return str(caught.value)


def test_two_checks_of_one_id_are_refused_with_both_places(assignment, tmp_path):
    add(assignment, "@check('double')\ndef test_again(student, grading):\n    pass\n")
    said = refusal(assignment, tmp_path)
    assert "'double' is there 2 times" in said
    assert "test_tiny.py: test_values_are_doubled" in said and "test_mine.py: test_again" in said


def test_a_parametrised_check_of_one_id_is_there_twice_too(assignment, tmp_path):
    add(assignment, "@pytest.mark.parametrize('n', [1, 2])\n@check('double')\ndef test_n(student, n):\n    pass\n")
    assert "'double' is there 3 times" in refusal(assignment, tmp_path)


def test_an_id_that_the_rubric_lacks_is_named(assignment, tmp_path):
    add(assignment, "@check('mine')\ndef test_mine(student):\n    pass\n")
    assert "test_mine.py: test_mine is the check 'mine', which the rubric does not have" in refusal(assignment, tmp_path)


def test_a_line_of_the_rubric_without_a_test_is_named(assignment, tmp_path):
    path = assignment / "rubric.toml"
    path.write_text(path.read_text() + '\n[checks.lonely]\ntitle = "Lonely"\npoints = 1\n')
    assert "the rubric's check 'lonely' has no test" in refusal(assignment, tmp_path)


def test_a_file_that_cannot_be_imported_is_not_taken_for_one_without_checks_the_next_time(assignment, tmp_path):
    """In one process a release looks at the checks more than once."""
    (assignment / "checks" / "__init__.py").write_text("")
    file = assignment / "checks" / "test_tiny.py"
    file.write_text("import a_library_that_is_not_here\n" + file.read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    checks = read_rubric(assignment / "rubric.toml").checks
    assert [inspect_checks(assignment / "checks", checks, tmp_path / "pytest.ini") for _ in range(2)] == [[], []]


def test_parametrised_ids_of_which_each_is_there_once_are_fine(assignment, tmp_path):
    path = assignment / "rubric.toml"
    path.write_text(path.read_text() + "".join(f'\n[checks.more{n}]\ntitle = "More"\npoints = 1\n' for n in (1, 2)))
    add(assignment, "@pytest.mark.parametrize('n', [pytest.param(1, marks=check('more1')), pytest.param(2, marks=check('more2'))])\n"
                    "def test_more(student, n):\n    pass\n")  # fmt: skip
    open_run(tmp_path / "out", assignment=str(assignment)).close()


def test_grade_says_it_as_a_usage_error_before_it_grades(assignment, tmp_path):
    add(assignment, "@check('double')\ndef test_again(student, grading):\n    pass\n")
    folder = write_submission(tmp_path / "alice")
    out = tmp_path / "out"
    found = CliRunner().invoke(main, ["grade", str(folder), "--out", str(out), "--assignment", str(assignment)])
    assert found.exit_code == 2 and "'double' is there 2 times" in found.output
    assert not (out / "alice").exists()


def test_a_doubled_check_gives_no_points_even_where_nobody_looked(tmp_path):
    found = run(tmp_path, rubric(one=1.0, two=1.0), Answers(f=1), a=GOOD.format("one"), b=GOOD.format("one") + GOOD.format("two"))
    assert found["two"].status == "earned"
    assert found["one"].status == "could_not_grade" and "is there 2 times" in found["one"].message
