"""The solved notebooks of ``fcn`` in a real JupyterLab: top to bottom in quick mode, all visible checks passed, nothing red."""

import pytest
from solved import MARKS, working_through

pytestmark = MARKS
# lines that a notebook's checks print at the least; fewer would mean that a check cell printed nothing
LINES = {"1_data.ipynb": 25, "2_fcn32s.ipynb": 22, "3_pretraining.ipynb": 9, "4_fcn8s.ipynb": 25, "5_questions.ipynb": 0}
PICTURES = {
    "1_data.ipynb": {"show-facades", "show-sizes", "show-classes", "show-frequencies", "show-pairs", "show-confusion", "show-scores"},
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    with working_through("fcn", tmp_path_factory.mktemp("solved")) as opened:
        yield opened


@pytest.mark.parametrize("name", LINES)
def test_solved_notebook_shows_nothing_but_ok_and_pictures(course, name):
    folder, run = course
    shown = run(name)
    shown.demand_ok(LINES[name])
    assert shown.pictures >= PICTURES.get(name, set())
    assert str(folder) in shown.stdout, "the kit is the release's own"
    assert not list(folder.glob("checkpoints/*")), "a quick run must not leave a model to hand in"
