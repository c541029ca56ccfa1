"""Make a clean notebook of format 4 from any notebook of a raw hand-in: BOM, UTF-16, CRLF, format 3, damaged cells."""

import json
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from autograder.gradebook.cells import make_cell
from segkit.notebooks.reading import DocumentError, cell_text, notebook_content, raw_cells, shown

__all__ = ["Unreadable", "plain_output", "repair"]


WITH_OUTPUTS = 32 * 2**20  # bytes; the pictures of a larger notebook can be seen in the raw file


class Unreadable(Exception):
    """A file that holds no notebook; the text says why."""


def repair(path: Path) -> tuple[NotebookNode, list[str]]:
    """Read a notebook however it was saved.

    Args:
        path: the file.

    Returns:
        The notebook in format 4.5, and what was repaired, one line each. Texts, metadata that nbgrader knows, and valid
        outputs are kept.

    Raises:
        Unreadable: no JSON, no cells, or too large.
    """
    name = shown(path.name)
    try:
        content, notes = notebook_content(path, name, WITH_OUTPUTS)
        cells = raw_cells(content, name)
    except DocumentError as error:
        raise Unreadable(str(error)) from None
    if "worksheets" in content and "cells" not in content:
        notes.append(f"{name}: was saved in notebook format 3")
    notebook = nbformat.v4.new_notebook(metadata=_notebook_metadata(content))
    seen: set[str] = set()
    for raw in filter(None, cells):
        cell = _cell(raw)
        if cell["id"] in seen:
            cell["id"] = nbformat.v4.new_raw_cell()["id"]
        seen.add(cell["id"])
        notebook.cells.append(cell)
    return notebook, notes


def _cell(raw: dict[str, Any]) -> NotebookNode:
    kind = raw.get("cell_type")
    text = cell_text(raw.get("source", raw.get("input")))
    if kind == "heading":  # format 3
        level = raw.get("level")
        text, kind = "#" * (level if type(level) is int and 1 <= level <= 6 else 1) + " " + text, "markdown"
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    kept = {"nbgrader": _plain(metadata["nbgrader"])} if _plausible(metadata.get("nbgrader")) else {}
    cell_id = raw.get("id") or metadata.get("id")
    known = kind if kind in ("code", "markdown", "raw") else "raw"
    cell = make_cell(known, text, kept, cell_id if isinstance(cell_id, str) else None)
    if known == "code":
        cell["outputs"] = [output for output in map(plain_output, _list(raw.get("outputs"))) if output is not None]
    return cell


def _plausible(own: Any) -> bool:
    return isinstance(own, dict) and isinstance(own.get("grade_id"), str) and bool(own["grade_id"])


def _plain(own: dict[str, Any]) -> dict[str, Any]:
    """Keep texts, numbers and booleans, as nbgrader writes them; other values may be impossible to write again."""
    kept: dict[str, str | float] = {}
    for key, value in own.items():
        if isinstance(value, str) and len(value) < 1000:
            kept[cell_text(key)] = cell_text(value)
        elif isinstance(value, (bool, int, float)) and -(10**9) < value < 10**9:
            kept[cell_text(key)] = value
    return kept


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def plain_output(raw: Any) -> NotebookNode | None:
    """An output that a reader of the notebook may want to see, or None if it is damaged. Scripts are left out."""
    if not isinstance(raw, dict):
        return None
    try:
        output: NotebookNode = nbformat.from_dict(raw)
        if "data" in output:
            output["data"] = {k: v for k, v in output["data"].items() if k in ("text/plain", "image/png", "image/jpeg")}
            output["metadata"] = {}
        if output.get("output_type") == "execute_result":
            output["execution_count"] = None
        nbformat.validate(output, ref="output", version=4)
        json.dumps(output, ensure_ascii=False).encode("utf-8")  # a lone surrogate could not be written
    except Exception:  # nbformat may raise anything on foreign JSON; one lost output must not stop the hand-in
        return None
    return output


def _notebook_metadata(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
