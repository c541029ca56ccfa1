"""The solved notebooks of ``satellite`` in a real JupyterLab: all checks passed, nothing red, and networks that really learn."""

import re

import pytest
from solved import MARKS

pytestmark = MARKS
ASSIGNMENT = "satellite"
# lines that a notebook's checks print at the least; fewer would mean that a check cell printed nothing
LINES = {"1_classify.ipynb": 11, "2_masks.ipynb": 6, "3_fcn32s.ipynb": 6, "4_fcn8s.ipynb": 12, "5_report.ipynb": 0}
PICTURES = {"2_masks.ipynb": {"show-tiles", "show-shares", "show-rules"}}


def said(text, pattern):
    """Name -> number, of the lines that fit."""
    return {name: float(value) for name, value in re.findall(pattern, text)}


@pytest.mark.parametrize("name", LINES)
def test_solved_notebook_shows_nothing_but_ok_and_pictures(desk, name):
    desk.demand_nothing_but_ok(name, LINES[name], PICTURES.get(name, set()))


def test_classifier_learns(desk):
    assert said(desk.run("1_classify.ipynb").text, r"epoch (\d+): .*accuracy ([\d.]+)")["8"] > 0.85


def test_own_mean_iou_is_that_of_the_table(desk):
    both = re.search(r"mean IoU ([\d.]+) by the table, ([\d.]+) by your function", desk.run("3_fcn32s.ipynb").text)
    assert both is not None and both[1] == both[2]


def test_finer_networks_are_ahead(desk):
    iou = said(desk.run("4_fcn8s.ipynb").text, r"(FCN-\d+s): accuracy [\d.]+, mean IoU ([\d.]+)")
    assert iou["FCN-32s"] > 0.25 and min(iou["FCN-16s"], iou["FCN-8s"]) > iou["FCN-32s"] + 0.1, iou


def test_report_measures_what_the_formula_says_and_has_all_networks(desk):
    text = desk.run("5_report.ipynb").text
    measured, formula = (re.search(rf"{word}:\s+\[(.*)\]", text)[1] for word in ("measured", "formula"))
    assert measured.split() == formula.split()
    assert "fcn32s, fcn16s, fcn8s" in text
