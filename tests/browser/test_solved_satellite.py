"""The solved notebooks of ``satellite`` in a real JupyterLab: all checks passed, nothing red, and networks that really learn."""

import re

import pytest
from solved import MARKS, working_through

pytestmark = MARKS
# lines that a notebook's checks print at the least; fewer would mean that a check cell printed nothing
LINES = {"1_classify.ipynb": 11, "2_masks.ipynb": 6, "3_fcn32s.ipynb": 6, "4_fcn8s.ipynb": 12, "5_report.ipynb": 0}
PICTURES = {"2_masks.ipynb": {"show-tiles", "show-shares", "show-rules"}}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    with working_through("satellite", tmp_path_factory.mktemp("solved")) as opened:
        yield opened


def said(text, pattern):
    """Name -> number, of the lines that fit."""
    return {name: float(value) for name, value in re.findall(pattern, text)}


@pytest.mark.parametrize("name", LINES)
def test_solved_notebook_shows_nothing_but_ok_and_pictures(course, name):
    folder, run = course
    shown = run(name)
    shown.demand_ok(LINES[name])
    assert shown.pictures >= PICTURES.get(name, set())
    assert not list(folder.glob("checkpoints/*")), "a quick run must not leave a model to hand in"


def test_classifier_learns(course):
    assert said(course[1]("1_classify.ipynb").stdout, r"epoch (\d+): .*accuracy ([\d.]+)")["8"] > 0.85


def test_own_mean_iou_is_that_of_the_table(course):
    both = re.search(r"mean IoU ([\d.]+) by the table, ([\d.]+) by your function", course[1]("3_fcn32s.ipynb").stdout)
    assert both is not None and both[1] == both[2]


def test_finer_networks_are_ahead(course):
    iou = said(course[1]("4_fcn8s.ipynb").stdout, r"(FCN-\d+s): accuracy [\d.]+, mean IoU ([\d.]+)")
    assert iou["FCN-32s"] > 0.25 and min(iou["FCN-16s"], iou["FCN-8s"]) > iou["FCN-32s"] + 0.1, iou


def test_report_measures_what_the_formula_says_and_has_all_networks(course):
    text = course[1]("5_report.ipynb").stdout
    measured, formula = (re.search(rf"{word}:\s+\[(.*)\]", text)[1] for word in ("measured", "formula"))
    assert measured.split() == formula.split()
    assert "fcn32s, fcn16s, fcn8s" in text
