"""Damaged submissions: what tools and accidents do to honest work. It keeps its points."""

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list

Notebooks = dict[str, dict[str, Any]]

FILE, BOTH, ONE = "2_masks.ipynb", ("read_mask", "mean_iou"), ("read_mask",)
ENTRIES, damaged = entry_list("damaged")


def _cells(notebooks: Notebooks) -> list[dict[str, Any]]:
    return notebooks[FILE]["cells"]


def _nbgrader(cell: dict[str, Any]) -> dict[str, Any]:
    return cell["metadata"].get("nbgrader", {})


def _write(folder: Path, notebooks: Notebooks, encoding: str = "utf-8", name: str = FILE, newline: str = "\n") -> None:
    """Write the notebook in another way, and take it off the list of what is still to be written."""
    text = json.dumps(notebooks.pop(FILE), ensure_ascii=False, indent=1).replace("\n", newline)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode(encoding))


@damaged(BOTH)
def deleted_test_cells(folder: Path, notebooks: Notebooks) -> None:
    """Every graded test cell is deleted."""
    _cells(notebooks)[:] = [cell for cell in _cells(notebooks) if not _nbgrader(cell).get("grade")]


@damaged(BOTH)
def only_solutions(folder: Path, notebooks: Notebooks) -> None:
    """Only the solution cells are left."""
    _cells(notebooks)[:] = [cell for cell in _cells(notebooks) if _nbgrader(cell).get("solution")]


@damaged(BOTH, lost={"mean_iou": "all"}, cause="code.missing", says="mean_iou was not found")
def deleted_solution_cell(folder: Path, notebooks: Notebooks) -> None:
    """A solution cell is deleted: its check is lost, and no other."""
    _cells(notebooks)[:] = [cell for cell in _cells(notebooks) if _nbgrader(cell).get("grade_id") != "mean_iou"]


@damaged(BOTH, note="mean_iou is defined 2 times: the last one counts")
def duplicated_solution_cell(folder: Path, notebooks: Notebooks) -> None:
    """A solution cell was copied, grade id and all."""
    notebook, position = solution_cell(notebooks, "mean_iou")
    notebook["cells"].insert(position + 1, copy.deepcopy(notebook["cells"][position]))


@damaged(BOTH, note="a markdown cell now; it was read as code")
def solution_retyped_to_markdown(folder: Path, notebooks: Notebooks) -> None:
    """A code cell became a text cell by a slip of the keyboard."""
    notebook, position = solution_cell(notebooks, "mean_iou")
    notebook["cells"][position]["cell_type"] = "markdown"


@damaged(BOTH)
def cells_reversed(folder: Path, notebooks: Notebooks) -> None:
    """All cells in reverse order."""
    _cells(notebooks).reverse()


@damaged(BOTH)
def grade_ids_exchanged(folder: Path, notebooks: Notebooks) -> None:
    """Two solution cells carry each other's id."""
    cells = {_nbgrader(cell).get("grade_id"): cell for cell in _cells(notebooks)}
    first, second = cells["read_mask"], cells["mean_iou"]
    first["metadata"]["nbgrader"], second["metadata"]["nbgrader"] = second["metadata"]["nbgrader"], first["metadata"]["nbgrader"]


@damaged(BOTH, note="no cell with the grade id")
def colab_round_trip(folder: Path, notebooks: Notebooks) -> None:
    """Colab keeps no metadata of nbgrader."""
    for cell in _cells(notebooks):
        cell["metadata"] = {"id": cell.get("id", ""), "colab": {"base_uri": "https://localhost:8080/"}}


@damaged(ONE)
def byte_order_mark(folder: Path, notebooks: Notebooks) -> None:
    """An editor of Windows wrote a byte order mark."""
    _write(folder, notebooks, "utf-8-sig")


@damaged(ONE)
def line_ends_of_windows(folder: Path, notebooks: Notebooks) -> None:
    """CRLF at every end of line."""
    _write(folder, notebooks, newline="\r\n")


@damaged(ONE, note="not among the files: 2_masks.ipynb")
def notebook_renamed(folder: Path, notebooks: Notebooks) -> None:
    """The browser gave the file another name."""
    _write(folder, notebooks, name="masks of ada (final).ipynb")


@damaged(BOTH, lost=dict.fromkeys(BOTH, "all"), cause="code.missing", says="was not found", note="not among the files: 2_masks.ipynb")
def notebook_missing(folder: Path, notebooks: Notebooks) -> None:
    """A notebook was forgotten."""
    del notebooks[FILE]


@damaged(ONE)
def nested_folders(folder: Path, notebooks: Notebooks) -> None:
    """Everything lies two folders down."""
    for name in list(notebooks):
        path = folder / "satellite" / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebooks.pop(name)), encoding="utf-8")


@damaged(ONE)
def zip_of_a_mac(folder: Path, notebooks: Notebooks) -> None:
    """A zip with the shadows that the Finder adds."""
    with zipfile.ZipFile(folder / "work.zip", "w") as archive:
        for name in list(notebooks):
            archive.writestr(f"work/{name}", json.dumps(notebooks.pop(name)))
            archive.writestr(f"__MACOSX/work/._{name}", b"\x00\x05\x16\x07")
