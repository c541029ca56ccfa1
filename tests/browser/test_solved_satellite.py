"""The solved notebooks of ``satellite`` in a real JupyterLab: all checks passed, nothing red, and networks that really learn."""

import re

from solved import MARKS, working_through

pytestmark = MARKS
# lines that a notebook's checks print at the least; fewer would mean that a check cell printed nothing
LINES = {"1_classify.ipynb": 11, "2_masks.ipynb": 6, "3_fcn32s.ipynb": 6, "4_fcn8s.ipynb": 12, "5_report.ipynb": 0}
PICTURES = {"2_masks.ipynb": {"show-tiles", "show-shares", "show-rules"}}


def said(found: dict[str, str], notebook: str, pattern: str) -> dict[str, float]:
    """Name -> number, of the lines of a notebook that fit."""
    return {name: float(value) for name, value in re.findall(pattern, found[notebook])}


def test_solved_notebooks_show_nothing_but_ok_and_networks_learn(tmp_path):
    found: dict[str, str] = {}
    with working_through("satellite", tmp_path) as (course, run):
        for name, lines in LINES.items():
            shown = run(name)
            shown.demand_ok(lines)
            assert shown.pictures >= PICTURES.get(name, set()), name
            found[name] = shown.stdout
    accuracy = said(found, "1_classify.ipynb", r"epoch (\d+): .*accuracy ([\d.]+)")
    assert accuracy["8"] > 0.85
    iou = said(found, "4_fcn8s.ipynb", r"(FCN-\d+s): accuracy [\d.]+, mean IoU ([\d.]+)")
    assert iou["FCN-32s"] > 0.25 and min(iou["FCN-16s"], iou["FCN-8s"]) > iou["FCN-32s"] + 0.1, iou
    both = re.search(r"mean IoU ([\d.]+) by the table, ([\d.]+) by your function", found["3_fcn32s.ipynb"])
    assert both is not None and both[1] == both[2]
    measured, formula = (re.search(rf"{word}:\s+\[(.*)\]", found["5_report.ipynb"])[1] for word in ("measured", "formula"))
    assert measured.split() == formula.split()
    assert "fcn32s, fcn16s, fcn8s" in found["5_report.ipynb"]
    assert not list(course.glob("checkpoints/*")), "a quick run must not leave a model to hand in"
