"""Notebook 2 of ``satellite`` in a real JupyterLab: what a student sees who has written everything and runs all cells."""

import shutil
from pathlib import Path

import pytest
from course_release import release_zip, solve
from jupyter_page import LabPage, chromium, missing, served

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=f"looks at notebooks in a browser, and has no {missing()}")]
PICTURES = {"show-tiles", "show-shares", "show-rules"}


def test_solved_notebook_of_masks_shows_nothing_but_ok_and_pictures(tmp_path: Path) -> None:
    shutil.unpack_archive(release_zip(tmp_path / "release", "satellite"), tmp_path / "from above, part 1")
    course = tmp_path / "from above, part 1" / "satellite"
    solve(course)
    with served(course, tmp_path / "jupyter", SEGKIT_QUICK="1") as address, chromium() as page:
        lab = LabPage(page, address).open("2_masks.ipynb")
        lab.run_all()
        cells = lab.cells()
    assert not any(cell.written("stderr") or cell.error for cell in cells)
    assert {cell.grade_id for cell in cells if "image/png" in cell.kinds} >= PICTURES
    written = "".join(cell.written("stdout") for cell in cells)
    assert "[!!]" not in written and written.count("[ok]") >= 12  # six prove the environment
