"""Hand-ins as people make them who do not look at what they hand in: copies beside the work, cells that are gone."""

import copy
import json
import os
from pathlib import Path
from typing import Any

from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list

Notebooks = dict[str, dict[str, Any]]

DATA = ("read_label", "confusion_matrix", "scores")
FILE = "1_data.ipynb"
STUB = "def {name}(*arguments):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
ENTRIES, real = entry_list("real")


def _untouched(notebook: dict[str, Any], names: tuple[str, ...] = DATA) -> dict[str, Any]:
    """A copy of a notebook in which solutions are stubs."""
    changed = copy.deepcopy(notebook)
    for name in names:
        found, position = solution_cell({FILE: changed}, name)
        found["cells"][position]["source"] = STUB.format(name=name)
    return changed


def _save(folder: Path, name: str, notebook: dict[str, Any], seconds: int) -> None:
    """Write a notebook as it was saved at some time."""
    (folder / name).write_text(json.dumps(notebook), encoding="utf-8")
    os.utime(folder / name, (1_700_000_000 + seconds,) * 2)


@real(DATA, note="1_data Ada.ipynb was read", origin="earthlab/abc-classroom#88")
def renamed_work_beside_the_untouched_notebook(folder: Path, notebooks: Notebooks) -> None:
    """The work was done under another name, and the notebook as it was handed out lies beside it: the work counts."""
    work = notebooks.pop(FILE)
    _save(folder, FILE, _untouched(work), 5000)
    _save(folder, "1_data Ada.ipynb", work, 0)


@real(DATA, note="1_data (1).ipynb was read", origin="ucbds-infra/otter-grader#433")
def downloaded_again_after_the_work(folder: Path, notebooks: Notebooks) -> None:
    """The notebook was downloaded once more when it was finished: the newest is the empty one."""
    work = notebooks.pop(FILE)
    _save(folder, "1_data (1).ipynb", work, 0)
    _save(folder, "1_data (2).ipynb", _untouched(work), 5000)


@real(DATA, note="Copy of 1_data.ipynb was read", origin="ucbds-infra/otter-grader#433")
def begun_in_the_original_and_finished_in_a_copy(folder: Path, notebooks: Notebooks) -> None:
    """A hosted machine saves into "Copy of ..."; the original has the first solution only, and was opened last."""
    work = notebooks.pop(FILE)
    _save(folder, FILE, _untouched(work, ("confusion_matrix", "scores")), 5000)
    _save(folder, "Copy of 1_data.ipynb", work, 0)


@real(DATA, lost={"scores": "all"}, cause="code.raises", says="name 'ratio' is not defined", origin="jvns/neural-nets-are-weird#2")
def passed_thanks_to_a_cell_that_was_deleted(folder: Path, notebooks: Notebooks) -> None:
    """In the kernel a function lived on whose cell was gone before the notebook was saved."""
    notebook, position = solution_cell(notebooks, "scores")
    notebook["cells"][position]["source"] = (
        "def scores(hist):\n    table = np.asarray(hist).astype(float)\n    hit = table.diagonal()\n"
        "    iou = ratio(hit, table.sum(0) + table.sum(1) - hit)\n    return hit.sum() / table.sum(), iou, np.nanmean(iou)"
    )


@real(DATA, origin="ucbds-infra/otter-grader#793")
def cells_that_were_run_out_of_order(folder: Path, notebooks: Notebooks) -> None:
    """What a function uses stands in a cell below it."""
    notebook, position = solution_cell(notebooks, "scores")
    notebook["cells"][position]["source"] = (
        "def scores(hist):\n    table = np.asarray(hist).astype(float)\n    hit = table.diagonal()\n"
        "    iou = ratio(hit, table.sum(0) + table.sum(1) - hit)\n    return hit.sum() / table.sum(), iou, np.nanmean(iou)"
    )
    below = "def ratio(part, whole):\n    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)"
    cell = {"cell_type": "code", "metadata": {}, "execution_count": 3, "outputs": [], "source": below}
    notebook["cells"].insert(position + 2, cell)
