"""The solved notebooks of ``fcn`` in a real JupyterLab: top to bottom in quick mode, all visible checks passed, nothing red."""

import pytest
from solved import MARKS

pytestmark = MARKS
ASSIGNMENT = "fcn"
# lines that a notebook's checks print at the least; fewer would mean that a check cell printed nothing
LINES = {"1_data.ipynb": 25, "2_fcn32s.ipynb": 22, "3_pretraining.ipynb": 9, "4_fcn8s.ipynb": 25, "5_questions.ipynb": 0}
PICTURES = {
    "1_data.ipynb": {"show-facades", "show-sizes", "show-classes", "show-frequencies", "show-pairs", "show-confusion", "show-scores"},
}


@pytest.mark.parametrize("name", LINES)
def test_solved_notebook_shows_nothing_but_ok_and_pictures(desk, name):
    desk.demand_nothing_but_ok(name, LINES[name], PICTURES.get(name, set()), drawn=name == "1_data.ipynb")
