"""Do the notebooks of ``satellite`` run top to bottom in quick mode, with all checks passed, and do networks really learn there?"""

import re
import shutil
from pathlib import Path

import pytest
from test_run import run

from autograder.course.assignment import open_assignment

REPO = Path(__file__).resolve().parents[2]
# lines that a notebook's checks print at the least; fewer would mean that a check cell printed nothing
LINES = {"1_classify.ipynb": 11, "2_masks.ipynb": 6, "3_fcn32s.ipynb": 6, "4_fcn8s.ipynb": 12, "5_report.ipynb": 0}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course as a release lays it out, with solutions in place and without ``segkit.reference``."""
    home = tmp_path_factory.mktemp("from above, part 1") / "satellite"
    shutil.copytree(REPO / "segkit", home / "segkit", ignore=shutil.ignore_patterns("reference", "__pycache__"))
    for part in ("splits", "sample"):
        shutil.copytree(REPO / "data" / "satellite" / part, home / "data" / "satellite" / part)
    for name in (*open_assignment("satellite").rubric.notebooks, "assignment.json"):
        shutil.copy(REPO / "notebooks" / "satellite" / name, home)
    return home


def said(found: dict[str, str], notebook: str, pattern: str) -> dict[str, float]:
    """Name -> number, of the lines of a notebook that fit."""
    return {name: float(value) for name, value in re.findall(pattern, found[notebook])}


@pytest.mark.slow
def test_notebooks_run_with_their_solutions_and_networks_learn(course: Path, monkeypatch: pytest.MonkeyPatch):
    found: dict[str, str] = {}
    for name, lines in LINES.items():
        stdout, stderr = run(course / name, monkeypatch, "sample")
        found[name] = stdout
        assert "[!!]" not in stdout and stderr == "", (name, stderr)
        assert stdout.count("[ok]") >= lines + 6, name  # six lines prove the environment
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
