"""Notebook 1 in a real JupyterLab: what a student sees who opens the course and runs all cells."""

from pathlib import Path

import pytest
from course_release import unpacked_release
from jupyter_page import Cell, LabPage, chromium, missing, served

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=f"looks at notebooks in a browser, and has no {missing()}")]
NAME = "1_data.ipynb"
# cells that show a picture, down to the first one that is still to be written
PICTURES = ("show-facades", "show-sizes", "show-classes")


def run(course: Path, own: Path, started_in: Path, **variables: str) -> tuple[dict[str, Cell], int]:
    """Run all cells of notebook 1 by the menu.

    Returns:
        The cells by their grade id, and how many red boxes the page draws.
    """
    path = (course / NAME).relative_to(started_in).as_posix()
    with served(started_in, own, **variables) as address, chromium() as page:
        lab = LabPage(page, address).open(path)
        print(f"\nthe first [ok] after {lab.run_all():.1f} s")
        cells, red = lab.cells(), lab.red_boxes()
    return {cell.grade_id or f"cell {cell.place}": cell for cell in cells}, red


def test_untouched_notebook_explains_itself_up_to_the_first_cell_to_write(tmp_path):
    """On a machine that has no screen: there ``MPLBACKEND`` is often set for scripts."""
    course = unpacked_release(tmp_path)
    cells, red = run(course, tmp_path / "jupyter", course.parent.parent, MPLBACKEND="Agg")
    assert not any(cell.written("stderr") for cell in cells.values())
    assert cells["show-environment"].written("stdout").count("[ok]") == 6
    assert str(course) in cells["show-environment"].written("stdout")
    assert all("image/png" in cells[name].kinds for name in PICTURES)
    check = cells["check-read_label"]
    assert "the cell above is still to be written" in check.written("stdout")
    failed = [cell for cell in cells.values() if cell.error]
    told = "NotImplementedError: read_label is still to be written: fill in its cell, run it, then run this cell."
    assert [cell.outputs[-1]["traceback"] for cell in failed] == [[told]] and failed[0].place > check.place
    assert red == 1, "a traceback stands in a red box, and nothing else does"
