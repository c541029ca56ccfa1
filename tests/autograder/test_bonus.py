"""A bonus counts in a score and in no maximum: in results, on pages, and in every file that is made of them."""

import json
import re

import pytest
from fake_class import fake_result

from autograder.course.numbers import fill
from autograder.course.rubric import read_rubric
from autograder.export.classroom50 import FACTS, classroom50_result
from autograder.export.comments import comment_on
from autograder.export.gradescope import gradescope_results
from autograder.report.result_schema import ResultSchemaError, validate
from autograder.report.student_page import share, write_student_page
from autograder.report.summary import format_table

RUBRIC = """
assignment = "dots"
title = "Dots"
notebooks = ["1_dots.ipynb"]
[solution_cells]
double = { defines = "double", notebook = "1_dots.ipynb" }
[checks.double]
title = "Doubled"
points = 4
needs = ["double"]
[checks.question]
title = "A question"
points = 6
manual = true
[checks.derivation]
title = "A derivation"
points = 5
manual = true
bonus = true
"""


@pytest.fixture
def rubric(tmp_path):
    (tmp_path / "rubric.toml").write_text(RUBRIC)
    return read_rubric(tmp_path / "rubric.toml")


def result(points: float | None = 3.5):
    """A submission with every point, and a bonus of five points."""
    found = fake_result("ada")
    for check in found["checks"]:
        check |= {"points": check["max_points"], "status": "earned", "cause": None, "measured": None}
    status = "needs_manual" if points is None else "partial"
    found["checks"].append(found["checks"][0] | {"id": "derivation", "points": points, "max_points": 5, "status": status, "bonus": True})
    top = sum(check["max_points"] for check in found["checks"][:-1])
    return found | {"score": top + (points or 0), "max_score": top, "needs_manual": 0 if points else 5}


def test_a_rubrics_sum_leaves_it_out_and_students_are_told_which_it_is(rubric):
    assert rubric.max_score == 10 and rubric.facts["bonus"] == ["derivation"]
    assert rubric.facts["checks"] == {"double": 4, "question": 6, "derivation": 5}


def test_a_graded_cell_of_a_bonus_adds_nothing_to_the_maximum_of_nbgrader(rubric):
    cell = {"cell_type": "markdown", "source": "", "metadata": {"nbgrader": {"grade": True, "grade_id": "derivation", "points": 5}}}
    other = {"cell_type": "markdown", "source": "", "metadata": {"nbgrader": {"grade": True, "grade_id": "question", "points": 1}}}
    filled = fill({"cells": [cell, other]}, rubric, {})
    assert [one["metadata"]["nbgrader"]["points"] for one in filled["cells"]] == [0, 6]


def test_a_result_adds_up_without_it():
    validate(result())
    wrong = result()
    wrong["max_score"] += 5
    with pytest.raises(ResultSchemaError, match="max_score: expected 100, the sum over the checks, found 105"):
        validate(wrong)


def test_pages_show_it_on_top_of_all_points(tmp_path):
    write_student_page(result(), tmp_path / "ada")
    write_student_page(result(None), tmp_path / "bob")
    ada, bob = (re.sub(r"<[^>]+>|\s+", " ", (tmp_path / name / "report.html").read_text()) for name in ("ada", "bob"))
    assert "103.5 of 100" in re.sub(" +", " ", ada) and "3.5 of them are a bonus" in ada and "bonus: 3.5 of 5" in re.sub(" +", " ", ada)
    assert "A bonus of up to 5 points is still open" in bob and "bonus: 5 by hand" in re.sub(" +", " ", bob)
    assert share(result())["lost"] == share(result(None))["lost"] == 0 and share(result())["total"] == 100


def test_the_summary_has_points_over_the_maximum():
    assert "103.5 of 100" in format_table([result()], 200)


def test_files_for_other_systems_keep_the_maximum():
    scope = gradescope_results(result())
    assert sum(test["max_score"] for test in scope["tests"]) == 100 and sum(test["score"] for test in scope["tests"]) == 103.5
    assert "103.5 of 100 points." in scope["output"]
    assert "103.5 of 100 points" in comment_on(result(), result()["checks"])
    classroom = classroom50_result(result(), dict.fromkeys(FACTS, "x"), by_hand=True)
    assert classroom["score"] == 207 and classroom["max-score"] == 200, json.dumps(classroom)[:300]
