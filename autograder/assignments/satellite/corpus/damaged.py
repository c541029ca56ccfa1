"""Damaged submissions: they keep their points."""

from pathlib import Path
from typing import Any

from autograder.exam.entries import entry_list

ENTRIES, damaged = entry_list("damaged")


@damaged(("read_mask",))
def deleted_test_cells(folder: Path, notebooks: dict[str, dict[str, Any]]) -> None:
    """Every graded test cell is deleted."""
    cells = notebooks["1_masks.ipynb"]["cells"]
    cells[:] = [cell for cell in cells if not cell["metadata"].get("nbgrader", {}).get("grade")]
