"""Do the marked texts of a notebook become what the rubric says?"""

import copy

import pytest
from small_course import graded

from autograder.course.assignment import open_assignment
from autograder.course.numbers import fill
from autograder.course.rubric import RubricError


def book(source: str, *marks: list[str], grade_id: str = "", points: float = 1) -> dict:
    """A notebook of one cell."""
    own = graded(grade_id, grade=True, solution=False, locked=True, points=points) if grade_id else {}
    metadata = own | {"segkit": {"from_rubric": [list(mark) for mark in marks]}}
    return {"cells": [{"cell_type": "code", "metadata": metadata, "source": source}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}


@pytest.fixture
def rubric():
    return open_assignment("fcn").rubric


def filled(rubric, source: str, *marks: list[str], **values: float | str) -> str:
    return fill(book(source, *marks), rubric, values, "1.ipynb")["cells"][0]["source"]


@pytest.mark.parametrize(("source", "marks", "expected"), [
    ("f(pad=1) + g(pad=1)", [["pad=1", "pad={a}"]], "f(pad=7) + g(pad=7)"),
    ("f(pad=1, pad=10)", [["pad=1", "pad={a}"]], "f(pad=7, pad=10)"),
    ("17, 7.5, 7", [["7", "{b}"]], "17, 7.5, 2"),
    ("7 and 2", [["7", "{b}"], ["2", "{a}"]], "2 and 7"),
    ("from 0.4 on, 0.45 off", [["0.4", "{c:2}"]], "from 0.50 on, 0.45 off"),
    ("all (3 points)", [["3 points", "{a + b} points"]], "all (9 points)"),
    ("all (3 points)", [["3 points", "{one} points"]], "all (1 point)"),
    ("all (1 point)", [["1 point", "{a} point"]], "all (7 points)"),
    ("use SGD", [["SGD", "{name}"]], "use Adam"),
    ("d = {'a': 1}", [["'a': 1", "'a': {a}"]], "d = {'a': 7}"),
])  # fmt: skip
def test_marked_texts_become_what_their_templates_say(rubric, source, marks, expected):
    assert filled(rubric, source, *marks, a=7, b=2, c=0.5, one=1.0, name="Adam") == expected


def test_two_decimals_never_round_a_threshold_away(rubric):
    assert filled(rubric, "0.40", ["0.40", "{x:2}"], x=0.405) == "0.405"


@pytest.mark.parametrize(("source", "marks", "words"), [
    ("padding=99", [["padding=100", "padding={a}"]], "does not hold it. Correct the text"),
    ("padding=1000", [["padding=100", "padding={a}"]], "'padding=100' is marked"),
    ("x", [["x", "{paddign}"]], "names 'paddign', which is no value of the rubric"),
    ("x", [["x", "{a + nothing}"]], "names 'nothing'"),
    ("x", [["x", "{a + name}"]], "is no sum of numbers"),
    ("x", [["x"]], 'expected from_rubric = [["text of the cell", "template"]'),
    ("x", [["x", 3]], "expected from_rubric"), ("x", [["", "{a}"]], "expected from_rubric"),
])  # fmt: skip
def test_a_mark_that_cannot_be_used_names_notebook_cell_and_text(rubric, source, marks, words):
    with pytest.raises(RubricError) as caught:
        fill(book(source, *marks, grade_id="fcn32s-crop"), rubric, {"a": 7, "name": "Adam"}, "2.ipynb")
    assert str(caught.value).startswith("2.ipynb, cell 1 (fcn32s-crop): ") and words in str(caught.value)


@pytest.mark.parametrize(("grade_id", "expected"), [
    ("fcn32s-crop", 4), ("read_label-check", 4), ("question_1", 12), ("elsewhere", 1),
])  # fmt: skip
def test_a_graded_cell_gets_the_points_of_its_check(rubric, grade_id, expected):
    cell = fill(book("# x", grade_id=grade_id), rubric, {})["cells"][0]
    assert cell["metadata"]["nbgrader"]["points"] == expected


def test_the_source_is_left_alone_and_the_copy_holds_no_template(rubric):
    source = book("a = 1", ["a = 1", "a = {a}"])
    before = copy.deepcopy(source)
    assert fill(source, rubric, {"a": 5})["cells"][0]["metadata"] == {}
    assert source == before
