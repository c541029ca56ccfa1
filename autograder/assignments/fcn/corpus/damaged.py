"""Damaged submissions: the forms that all assignments share, of the notebook of data, and one of this assignment's own."""

from pathlib import Path
from typing import Any

from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list
from autograder.exam.forms import shared

OWN, damaged = entry_list("damaged")


@damaged(("pretraining.copy", "read_label"))
def fcn32s_missing_but_copy_right(folder: Path, notebooks: dict[str, dict[str, Any]]) -> None:
    """The copy is tried on a carrier where FCN32s cannot be built."""
    notebook, position = solution_cell(notebooks, "fcn32s")
    notebook["cells"][position]["source"] = "class FCN32s:\n    pass"


ENTRIES = [*shared("1_data.ipynb", "read_label", "confusion_matrix", "scores"), *OWN]
