"""Open a notebook or a script as a list of Python cells, however damaged it is. Nothing is executed here."""

import ast
import json
import re
import tokenize
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from segkit.notebooks.magics import plain_line, written_file

__all__ = ["MAX_BYTES", "MAX_CELLS", "Cell", "Document", "DocumentError", "decode", "python_source", "raw_cells", "read_document", "shown"]

MAX_BYTES = 64 * 2**20
MAX_CELLS = 5000
MAX_TOKENIZED = 100_000  # lines, in looking for the magics of one cell


class DocumentError(Exception):
    """A notebook or script cannot be read at all; the text says why and what to do."""


@dataclass(frozen=True)
class Cell:
    """One cell that holds Python.

    Attributes:
        file: Name of the file, relative to the folder of the work.
        number: Position among all cells of the notebook, counted from 1; 0 for a script.
        source: Python source, magics already dropped; line numbers are those of the cell.
        grade_id: The nbgrader grade id, or None.
        note: What was repaired in reading it, or an empty string.
    """

    file: str
    number: int
    source: str
    grade_id: str | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """How messages and tracebacks name the cell: ``2_fcn32s.ipynb, cell 9``."""
        return f"{self.file}, cell {self.number}" if self.number else self.file

    @cached_property
    def parsed(self) -> tuple[list[ast.stmt], str | None]:
        """Top-level statements, and a one-line account of the syntax error if there is one."""
        try:
            return ast.parse(self.source, self.label).body, None
        except SyntaxError as error:
            line = shown((error.text or "").strip(), 200)
            return [], f"{self.label}, line {error.lineno}: {shown(error.msg)}" + (f": {line!r}" if line else "")
        except (ValueError, RecursionError, MemoryError) as error:
            return [], f"{self.label}: {type(error).__name__}: {shown(str(error))}"


@dataclass
class Document:
    """A notebook or script.

    Attributes:
        name: File name relative to the folder of the work.
        cells: Its Python cells, in order.
        texts: Grade id -> (number, text as it stands) of the cells that are no solution cells, whatever type they have now: the
            answers to inline questions are among them.
        modified: Time of the last change, seconds since the epoch.
        notes: What was repaired.
        written: Scripts that its cells write with ``%%writefile``: path relative to the notebook's folder -> parts of its text.
    """

    name: str
    cells: list[Cell]
    texts: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    modified: float = 0.0
    notes: list[str] = field(default_factory=list)
    written: dict[str, list[str]] = field(default_factory=dict)

    @property
    def grade_ids(self) -> frozenset[str]:
        """All grade ids of its code and text cells."""
        return frozenset([cell.grade_id for cell in self.cells if cell.grade_id] + list(self.texts))


def shown(text: str, most: int = 300) -> str:
    """What can be written to any file and terminal of a stranger's text: no lone surrogates, at most so many characters."""
    text = text if len(text) <= most else text[: most - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def decode(content: bytes) -> str:
    """Decode a text file: UTF-8 with or without byte order mark, UTF-16, else Latin-1; line ends become ``\\n``."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


MAGIC = re.compile(r"[%!?]|[\w.]+\s*\?+\s*$|[\w, ]+=\s*[%!]")  # of a line without its indentation
CELL_MAGICS_OF_PYTHON = {"time", "timeit", "capture", "prun"}


def python_source(source: str) -> str:
    """Turn IPython's magics in a cell into Python (see ``plain_line``) or drop them, keeping the line numbers.

    A line is dropped only if the cell is no Python as it stands: ``% b`` may continue an expression. A cell whose first
    line is a cell magic of another language (``%%bash``) becomes empty.
    """
    first = source.lstrip("\n").partition("\n")[0].strip()
    if first.startswith("%%"):
        if (first[2:].split() or [""])[0] not in CELL_MAGICS_OF_PYTHON:
            return ""
        source = source.replace(first, "", 1)
    try:
        ast.parse(source)
        return source
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _without_magics(source.split("\n"))


def _without_magics(lines: list[str]) -> str:
    kept: list[str] = []
    goes_on = False  # a magic ended in a backslash
    begun = tokenized = 0  # kept[begun:] may be in the middle of a statement; all before it is complete
    for line in lines:
        bare = line.lstrip()
        magic = not goes_on and MAGIC.match(bare) is not None
        if magic:
            tokenized += len(kept) - begun
            magic = tokenized <= MAX_TOKENIZED and not _inside_statement(kept[begun:])
            begun = len(kept) if magic else begun
        if goes_on or magic:
            kept.append("" if goes_on else line[: len(line) - len(bare)] + plain_line(bare))
            goes_on = line.rstrip().endswith("\\")
        else:
            kept.append(line)
    return "\n".join(kept)


def _inside_statement(before: list[str]) -> bool:
    """Whether a line that follows is in the middle of a bracket, a string or a continued line. Indentation does not matter."""
    try:
        for _ in tokenize.generate_tokens(iter([f"{line.lstrip()}\n" for line in before]).__next__):
            pass
    except tokenize.TokenError as error:
        return "multi-line" in str(error)
    except (SyntaxError, ValueError):
        return False
    return False


def _text(source: Any) -> str:
    """Text of a cell, which the format allows to be a string or a list of strings."""
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    return source.replace("\r\n", "\n") if isinstance(source, str) else ""


def raw_cells(content: Any, name: str) -> list[dict]:
    """Return the cells of a notebook of format 3 or 4, as they stand in its JSON; what is no cell becomes an empty one.

    Raises:
        DocumentError: If it has no list of cells, or too many.
    """
    if not isinstance(content, dict):
        raise DocumentError(f"{name}: expected a notebook (a JSON object), but got a JSON {type(content).__name__}.")
    cells = content.get("cells")
    if cells is None and isinstance(content.get("worksheets"), list):
        sheets = [sheet["cells"] for sheet in content["worksheets"] if isinstance(sheet, dict) and "cells" in sheet]
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    if not isinstance(cells, list):
        raise DocumentError(f"{name}: expected a notebook with a list of cells, but found none. Save it again from Jupyter.")
    if len(cells) > MAX_CELLS:
        raise DocumentError(f"{name}: expected at most {MAX_CELLS} cells, but got {len(cells)}.")
    return [cell if isinstance(cell, dict) else {} for cell in cells]


def _grade_id(cell: dict) -> str | None:
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return grade_id if isinstance(grade_id, str) and grade_id else None


def _notebook(text: str, name: str, code_ids: frozenset[str]) -> Document:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(
            f"{name}: no readable notebook ({type(error).__name__}: {shown(str(error))}). Expected the JSON of a notebook; the file may "
            "be cut off. Open it in Jupyter, save it again and hand that in."
        ) from error
    document = Document(name, [])
    for number, cell in enumerate(raw_cells(content, name), start=1):
        grade_id, kind = _grade_id(cell), cell.get("cell_type")
        source = _text(cell.get("source", cell.get("input")))
        if grade_id and grade_id not in code_ids:
            document.texts.setdefault(grade_id, []).append((number, source))
        if kind == "code" or grade_id in code_ids:
            note = "" if kind == "code" else f"{name}, cell {number}: a {shown(str(kind), 40)} cell now; it was read as code"
            document.cells.append(Cell(name, number, python_source(source), grade_id, note))
            document.notes.extend([note] if note else [])
            _keep_written(document, source)
    if "worksheets" in content and "cells" not in content:
        document.notes.append(f"{name}: saved in notebook format 3; it was read all the same")
    return document


def _keep_written(document: Document, source: str) -> None:
    """Remember what a cell writes to a script, as running the notebook from its top leaves it."""
    written = written_file(source)
    if written and written[0].endswith(".py"):
        path, text, appended = written
        document.written[path] = [*(document.written.get(path, []) if appended else []), text]


def read_document(path: Path, name: str | None = None, code_ids: frozenset[str] = frozenset()) -> Document:
    """Open a notebook (``.ipynb``) or script (``.py``).

    Args:
        path: The file.
        name: How messages call it; the file's name where it is left out.
        code_ids: Grade ids of cells that hold code, whatever type the cell has now.

    Raises:
        DocumentError: If the file is missing, too large, or no notebook at all.
    """
    name = shown(name or path.name, 1000)
    try:
        status = path.stat()
        if status.st_size > MAX_BYTES:
            raise DocumentError(
                f"{name}: expected at most {MAX_BYTES // 2**20} MiB, but got {status.st_size / 2**20:.0f} MiB. Clear all "
                "outputs (Edit > Clear All Outputs), save, and hand in again."
            )
        content = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{name}: cannot be opened ({error.strerror or error}).") from error
    text = decode(content)
    if path.suffix == ".py":
        document = Document(name, [Cell(name, 0, python_source(text))])
    else:
        document = _notebook(text, name, code_ids)
    if content[:3] == b"\xef\xbb\xbf" or content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        document.notes.append(f"{name}: begins with a byte order mark; it was read all the same")
    document.modified = status.st_mtime
    return document
