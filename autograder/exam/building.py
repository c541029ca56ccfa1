"""Write the submission of an entry: the solved notebooks, with the entry's change."""

import copy
import importlib
import json
from pathlib import Path
from typing import Any

from autograder.course.assignment import assignment_of
from autograder.course.numbers import fill, values_of
from autograder.exam.entries import CorpusError, Entry

__all__ = ["solution_cell", "solved_notebooks", "write_notebooks", "write_submission"]

MARKERS = ("### BEGIN SOLUTION", "### END SOLUTION")


def solved_notebooks(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the source notebooks as a perfect student would hand them in: by name, with the rubric's numbers, without the markers.

    Raises:
        RubricError: If they do not fit the rubric.
    """
    notebooks, assignment = {}, assignment_of(folder)
    values = values_of(assignment) if assignment else {}
    for path in sorted(folder.glob("*.ipynb")):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        content = fill(content, assignment.rubric, values, path.name) if assignment else content
        for cell in content["cells"]:
            lines = "".join(cell["source"]).split("\n")
            cell["source"] = "\n".join(line for line in lines if line.strip() not in MARKERS)
        notebooks[path.name] = content
    return notebooks


def solution_cell(notebooks: dict[str, dict], grade_id: str) -> tuple[dict, int]:
    """Return the notebook and the position of the solution cell with a grade id."""
    for notebook in notebooks.values():
        for position, cell in enumerate(notebook["cells"]):
            nbgrader = cell["metadata"].get("nbgrader", {})
            if nbgrader.get("grade_id") == grade_id and nbgrader.get("solution"):
                return notebook, position
    raise CorpusError(f"there is no solution cell {grade_id!r}")


def _change(notebooks: dict[str, dict], entry: Entry) -> None:
    for grade_id, source in entry.sources.items():
        notebook, position = solution_cell(notebooks, grade_id)
        notebook["cells"][position]["source"] = source
    for grade_id, pairs in entry.changes.items():
        notebook, position = solution_cell(notebooks, grade_id)
        cell = notebook["cells"][position]
        for old, new in pairs:
            if old not in cell["source"] or old == new:
                raise CorpusError(f"{entry.kind}, {entry.name}: the cell {grade_id} does not hold {old!r}")
            cell["source"] = cell["source"].replace(old, new)
    for grade_id, sources in entry.above.items():
        notebook, position = solution_cell(notebooks, grade_id)
        for source in reversed(sources):
            notebook["cells"].insert(position, code_cell(source))


def code_cell(source: str, **metadata: Any) -> dict[str, Any]:
    """A code cell that nobody has run."""
    return {"cell_type": "code", "metadata": metadata, "execution_count": None, "outputs": [], "source": source}


def write_notebooks(notebooks: dict[str, dict[str, Any]], folder: Path) -> None:
    """Write notebooks, by name, into a folder."""
    for name, notebook in notebooks.items():
        (folder / name).write_text(json.dumps(notebook, ensure_ascii=False, indent=1), encoding="utf-8")


def write_submission(entry: Entry, notebooks: dict[str, dict[str, Any]], folder: Path) -> Path:
    """Write the submission of an entry.

    Args:
        entry: The entry.
        notebooks: From ``solved_notebooks``; left as they are.
        folder: Receives the files.

    Returns:
        What is to be graded: the folder, or what the entry's building function made of it (a zip).

    Raises:
        CorpusError: If the entry does not fit the notebooks any more.
    """
    notebooks = copy.deepcopy(notebooks)
    _change(notebooks, entry)
    folder.mkdir(parents=True, exist_ok=True)
    result = None
    if entry.build:
        module, _, name = entry.build.partition(":")
        result = getattr(importlib.import_module(module), name)(folder, notebooks, *entry.damages)
    write_notebooks(notebooks, folder)  # a building function took out of the dict what it wrote itself
    for name, text in entry.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return result(folder) if callable(result) else folder
