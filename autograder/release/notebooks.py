"""The student's version of a source notebook: stubs for solutions, no outputs, no trace of a person.

nbgrader's own preprocessors do what they can do, in the order of ``nbgrader generate_assignment``, so that a cell of the
release and a cell of nbgrader's release carry the same text and the same checksum (an unchanged manual answer is
recognised by it). What nbgrader leaves in place (kernel names, author, editor state, attachments of answers) is removed here.
"""

import copy
import json
import logging
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from traitlets.config import Config

from autograder.course.assignment import Assignment, assignment_of
from autograder.course.numbers import fill, values_of
from autograder.course.rubric import RubricError

__all__ = ["NotebookFault", "read_notebook", "read_source", "student_config", "student_version"]

# What may stay in the metadata of a notebook and of a cell: an allow-list, because editors add keys every year.
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}
CELL_KEYS = frozenset({"nbgrader", "deletable", "editable", "tags"})
NBGRADER_KEYS = frozenset({"cell_type", "checksum", "grade", "grade_id", "locked", "points", "schema_version", "solution", "task"})


class NotebookFault(Exception):
    """A source notebook that cannot be released; the text says which cell and what to do."""


def student_config() -> Config:
    """Settings of nbgrader's preprocessors, shared by the release and by ``nbgrader_config.py``."""
    config = Config()
    # our questions are manual answers (graded and solution), for which nbgrader expects no mark scheme
    config.ClearMarkScheme.enforce_metadata = False
    return config


def read_source(path: Path, assignment: Assignment | None = None) -> NotebookNode:
    """Read a source notebook with the numbers of the rubric.

    Args:
        path: the ``.ipynb`` file.
        assignment: whose rubric; left out, the one that the notebook's folder belongs to. Without a rubric it stays as it lies there.

    Returns:
        The notebook in format 4.

    Raises:
        NotebookFault: it cannot be read, or does not fit the rubric.
    """
    notebook = read_notebook(path)
    try:
        assignment = assignment or assignment_of(path.parent)
        return fill(notebook, assignment.rubric, values_of(assignment), path.name) if assignment else notebook
    except RubricError as error:
        raise NotebookFault(str(error)) from None


def read_notebook(path: Path) -> NotebookNode:
    """Read a source notebook as it lies in the repository.

    Args:
        path: the ``.ipynb`` file.

    Returns:
        The notebook in format 4.

    Raises:
        NotebookFault: the file is missing, no JSON, or no notebook.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotebookFault(f"{path}: the notebook is missing; expected a file, found nothing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookFault(f"{path}: cannot be read ({error})") from None
    if re.search(r'^ ?"nbformat": *[123]\b', text, re.MULTILINE):
        raise NotebookFault(f"{path}: it is of an old notebook format; expected format 4. Open it in Jupyter and save it.")
    try:
        notebook: nbformat.NotebookNode = nbformat.reads(text, as_version=4)
        for cell in notebook.cells:
            cell.source = cell.source.replace("\r\n", "\n")
            if notebook.nbformat_minor < 5:
                cell.pop("id", None)  # some editors write ids into formats that have none yet
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises half a dozen unrelated kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotebookFault(f"{path}: not a valid notebook ({first})") from None
    return notebook


def student_version(source: NotebookNode, name: str) -> NotebookNode:
    """Turn a source notebook into what a student gets.

    Args:
        source: the notebook with solutions; it is not changed.
        name: its file name, for messages.

    Returns:
        A new notebook: solution regions replaced by nbgrader's stub, mark schemes, hidden tests, outputs, execution
        counts, personal metadata and attachments that no text shows removed, test cells locked, checksums computed.

    Raises:
        NotebookFault: the nbgrader metadata is invalid, or a marker is nested, unclosed or outside a solution cell.
    """
    from nbgrader.nbgraderformat import MetadataValidator

    notebook = copy.deepcopy(source)
    try:
        MetadataValidator().validate_nb(notebook)
    except Exception as error:
        raise NotebookFault(f"{name}: invalid nbgrader metadata: {_first_line(error)}{_doubled(source)}") from None
    resources: dict[str, Any] = {}
    for step in _preprocessors():
        try:
            notebook, resources = step.preprocess(notebook, resources)
        except Exception as error:
            where = _where_it_fails(step, source, name)
            raise NotebookFault(f"{where}: {type(step).__name__} failed: {_first_line(error)}") from None
    return _without_persons(notebook)


def _doubled(notebook: NotebookNode) -> str:
    """Name the cells of a grade id that stands there twice: a copied cell keeps its own, and so does each half of a split one."""
    ids = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
    twice = next((one for one in ids if one and ids.count(one) > 1), None)
    numbers = [str(number) for number, one in enumerate(ids, start=1) if one == twice]
    return f" (cells {' and '.join(numbers)}). Give one another id, or take its nbgrader metadata away." if twice else ""


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _preprocessors() -> list[Any]:
    from nbgrader.preprocessors import (
        ClearHiddenTests,
        ClearMarkScheme,
        ClearOutput,
        ClearSolutions,
        ComputeChecksums,
        LockCells,
    )

    kinds = (LockCells, ClearSolutions, ClearOutput, ClearHiddenTests, ClearMarkScheme, ComputeChecksums)
    quiet = logging.getLogger("autograder.release.quiet")
    quiet.disabled = True
    steps = [kind(config=student_config()) for kind in kinds]
    for step in steps:
        # nbgrader logs the whole cell with its solution; the message below names the cell and says enough
        step.log = quiet
    return steps


def _where_it_fails(step: Any, source: NotebookNode, name: str) -> str:
    """Name the cell on which a preprocessor fails, by trying the cells one at a time."""
    for number, cell in enumerate(source.cells, start=1):
        single = copy.deepcopy(source)
        single.cells = [copy.deepcopy(cell)]
        try:
            step.preprocess(single, {})
        except Exception:
            grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "no grade id")
            return f"{name}, cell {number} ({grade_id})"
    return name


def _without_persons(notebook: NotebookNode) -> NotebookNode:
    """Keep the allowed metadata only, and clear outputs, counts and what is attached for no text to show."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for cell in notebook.cells:
        folded = cell.metadata.get("jupyter", {}).get("source_hidden") is True
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in CELL_KEYS})
        if folded:
            cell.metadata["jupyter"] = nbformat.from_dict({"source_hidden": True})
        if "nbgrader" in cell.metadata:
            own = {k: v for k, v in cell.metadata["nbgrader"].items() if k in NBGRADER_KEYS}
            cell.metadata["nbgrader"] = nbformat.from_dict(own)
        _drop_attachments(cell)
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return notebook


def _drop_attachments(cell: NotebookNode) -> None:
    """Keep the pictures that a text shows; in an answer or a solution they belong to the mark scheme."""
    solution = cell.metadata.get("nbgrader", {}).get("solution")
    kept = {name: data for name, data in cell.pop("attachments", {}).items() if f"attachment:{name}" in cell.source and not solution}
    if kept:
        cell.attachments = nbformat.from_dict(kept)


def write_notebook(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook with sorted keys, so that two releases of the same source are the same bytes."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
