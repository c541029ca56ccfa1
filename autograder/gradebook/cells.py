"""Recognise the cells of an assignment in a student's notebook, and repair what tools and accidents did to them.

nbgrader finds cells by their metadata. Students delete cells, copy them, change their type; editors remove the metadata. Here
a cell is recognised by its grade id, or else by cell id, by text, by what it defines, and by its position.
"""

import ast
import copy
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from autograder.course.assignment import Assignment
from autograder.release.notebooks import read_source, student_version

__all__ = ["grade_id_of", "is_answer", "is_test", "make_cell", "release_cells", "resolve_duplicates", "restore"]

VALID_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def release_cells(path: Path, assignment: Assignment | None = None) -> NotebookNode:
    """A source notebook as it was handed out, checksums included; the numbers are those of the assignment, else of the folder's own."""
    return student_version(read_source(path, assignment), path.name)


def grade_id_of(cell: NotebookNode) -> str | None:
    """The grade id of a cell, or None; damaged metadata counts as none."""
    own = cell.metadata.get("nbgrader") if isinstance(cell.metadata, dict) else None
    grade_id = own.get("grade_id") if isinstance(own, dict) else None
    return grade_id if isinstance(grade_id, str) and grade_id else None


def is_test(cell: NotebookNode) -> bool:
    """Whether a cell of a release carries points that the autograder gives."""
    own = cell.metadata.get("nbgrader", {})
    return bool(own.get("grade")) and not own.get("solution")


def is_answer(cell: NotebookNode) -> bool:
    """Whether a cell of a release is an answer that a person grades."""
    own = cell.metadata.get("nbgrader", {})
    return bool(own.get("grade")) and bool(own.get("solution"))


def make_cell(kind: str, source: str, metadata: dict[str, Any], cell_id: str | None = None) -> NotebookNode:
    """A clean cell of a type, without outputs."""
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell, "raw": nbformat.v4.new_raw_cell}
    cell: NotebookNode = make[kind](source=source, metadata=copy.deepcopy(metadata))
    if cell_id and VALID_ID.fullmatch(cell_id):
        cell["id"] = cell_id
    return cell


def resolve_duplicates(notebook: NotebookNode, source: NotebookNode) -> list[str]:
    """Keep every grade id in one cell: the last one that was changed, otherwise the last. The others become plain cells.

    Args:
        notebook: the student's; changed in place.
        source: the notebook as it was handed out.

    Returns:
        What was done, one line each.
    """
    handed_out = {grade_id_of(cell): cell.source.strip() for cell in source.cells if grade_id_of(cell)}
    places: dict[str, list[NotebookNode]] = {}
    for cell in notebook.cells:
        if grade_id := grade_id_of(cell):
            places.setdefault(grade_id, []).append(cell)
    notes = []
    for grade_id, cells in places.items():
        if len(cells) == 1:
            continue
        worked = [c for c in cells if c.source.strip() != handed_out.get(grade_id) and "NotImplementedError" not in c.source]
        chosen = (worked or cells)[-1]
        for cell in cells:
            if cell is not chosen:
                del cell.metadata["nbgrader"]
        notes.append(f"the cell {grade_id} is there {len(cells)} times: the last one that was worked on counts")
    return notes


def restore(notebook: NotebookNode, source: NotebookNode, defines: Mapping[str, str] | None = None) -> list[str]:
    """Restore every cell of the release: identity, type, points; for locked cells also the text.

    Args:
        notebook: the student's; changed in place. What the student wrote in solution cells and answers is kept.
        source: the notebook as it was handed out (``release_cells``).
        defines: grade id of a solution cell -> the name it must define (``Rubric.defines``).

    Returns:
        What was done, one line each.
    """
    notes = resolve_duplicates(notebook, source)
    wanted = {grade_id: cell for cell in source.cells if (grade_id := grade_id_of(cell))}
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata and grade_id_of(cell) not in wanted:
            notes.append(f"a cell with the unknown grade id {str(grade_id_of(cell))[:40]!r} is an ordinary cell now")
            del cell.metadata["nbgrader"]
    have = {grade_id: cell for cell in notebook.cells if (grade_id := grade_id_of(cell))}
    for grade_id in [grade_id for grade_id in wanted if grade_id not in have]:
        found = _known_again(grade_id, (defines or {}).get(grade_id), source, notebook, have.values())
        if found is not None:
            have[grade_id] = found
            notes.append(f"the cell {grade_id} had lost its metadata and was known again")
    for grade_id, original in wanted.items():
        if grade_id in have:
            notes += _repair(notebook, have, grade_id, original)
    for grade_id, original in wanted.items():
        if grade_id not in have:
            earlier = list(wanted)[: list(wanted).index(grade_id)]
            have[grade_id] = _insert(notebook, have, earlier, original)
            notes.append(f"the cell {grade_id} was missing and was put back")
    return notes


def _known_again(
    grade_id: str, defined: str | None, source: NotebookNode, notebook: NotebookNode, taken: Iterable[NotebookNode]
) -> NotebookNode | None:
    """Find a cell that lost its metadata: by cell id, by text, by what it defines, by the cell before it."""
    busy = {id(cell) for cell in taken}
    free: list[NotebookNode] = [cell for cell in notebook.cells if id(cell) not in busy]
    position, original = next((i, c) for i, c in enumerate(source.cells) if grade_id_of(c) == grade_id)
    own = original.metadata["nbgrader"]
    same_id = [cell for cell in free if original.get("id") and cell.get("id") == original["id"]]
    if same_id:
        return same_id[0]
    if not own.get("solution"):
        same_text = [cell for cell in free if cell.source.strip() == original.source.strip()]
        return same_text[0] if same_text else None
    names = {defined} if defined else _defined(original.source)
    if names:
        defining = [cell for cell in free if names & _defined(cell.source)]
        return defining[-1] if defining else None
    if position == 0:
        return None
    before = source.cells[position - 1].source.strip()
    for first, second in pairwise(notebook.cells):
        if first.source.strip() == before and id(second) not in busy:
            following: NotebookNode = second
            return following
    return None


def _defined(source: str) -> set[str]:
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def _repair(notebook: NotebookNode, have: dict[str, Any], grade_id: str, original: NotebookNode) -> list[str]:
    """Give a found cell the type, metadata and (where locked) text of the release."""
    cell, notes = have[grade_id], []
    own = original.metadata["nbgrader"]
    text = cell.source if own.get("solution") else original.source
    if cell.cell_type != original.cell_type:
        notes.append(f"the cell {grade_id} was a {cell.cell_type} cell and is a {original.cell_type} cell again")
    elif text != cell.source:
        notes.append(f"the locked cell {grade_id} had been changed and has its text again")
    fresh = make_cell(original.cell_type, text, original.metadata, cell.get("id"))
    notebook.cells[_index(notebook, cell)] = have[grade_id] = fresh
    return notes


def _index(notebook: NotebookNode, cell: NotebookNode) -> int:
    return next(i for i, other in enumerate(notebook.cells) if other is cell)


def _insert(notebook: NotebookNode, have: dict[str, NotebookNode], earlier: list[str], original: NotebookNode) -> NotebookNode:
    """Put a copy of a cell after the last of the release's earlier cells that the notebook has."""
    there = [grade_id for grade_id in earlier if grade_id in have]
    place = _index(notebook, have[there[-1]]) + 1 if there else 0
    ids = {cell.get("id") for cell in notebook.cells}
    cell_id = original.get("id")
    cell = make_cell(original.cell_type, original.source, original.metadata, None if cell_id in ids else cell_id)
    notebook.cells.insert(place, cell)
    return cell
