"""Open a notebook or a script as a list of Python cells, however damaged it is. Nothing is executed here."""

import ast
import json
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from segkit.notebooks.magics import plain_line, written_file

__all__ = [
    "MAX_BYTES", "MAX_CELLS", "MAX_FILE", "MAX_WORDS_OF_ALL", "Cell", "Document", "DocumentError", "cell_text", "decode", "ends_an_answer",
    "notebook_content", "python_source", "raw_cells", "read_document", "shown", "words",
]  # fmt: skip

MAX_BYTES = 64 * 2**20
"""Of a script, and of a notebook without its outputs."""

MAX_FILE = 256 * 2**20
"""Of a notebook with its outputs; they are passed over, so memory does not grow with them."""

WITH_OUTPUTS = 4 * 2**20  # up to here a notebook is read whole
MAX_CELLS = 5000
MAX_SOURCE = 2**19  # characters of a cell or script that is read as Python
MAX_WORDS = 50_000  # words and signs of it: each may take a kilobyte once it is parsed
MAX_WORDS_OF_ALL = 150_000  # of all cells and scripts of a work together; the course's own notebooks have 10,000
MAX_CONTAINERS = 2_000_000  # lists and objects in the JSON of a notebook


class DocumentError(Exception):
    """A notebook or script cannot be read at all; the text says why and what to do.

    Attributes:
        words: How many words of code were parsed before that showed.
    """

    def __init__(self, message: str, words: int = 0) -> None:
        super().__init__(message)
        self.words = words


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
        if much := too_much(self.source):
            return [], f"{self.label}: {much}"
        try:
            return ast.parse(self.source, self.label).body, None
        except SyntaxError as error:
            line = shown((error.text or "").strip(), 200)
            conflict = " (an unresolved merge conflict: keep one side, and take out the lines with <<<<<<<, ======= and >>>>>>>)"
            why = shown(error.msg) + (f": {line!r}" if line else "") + (conflict if CONFLICT.search(self.source) else "")
            return [], f"{self.label}, line {error.lineno}: {why}"
        except (ValueError, RecursionError, MemoryError) as error:
            return [], f"{self.label}: {type(error).__name__}: {shown(str(error))}"


@dataclass
class Document:
    """A notebook or script.

    Attributes:
        name: File name relative to the folder of the work.
        cells: Its Python cells, in order.
        texts: Grade id -> (number, text as it stands) of the cells that are no solution cells, whatever type they have now: the
            answers to inline questions are among them, with what stands in text cells without an id right beneath them.
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
    def statements(self) -> Iterator[ast.stmt]:
        """The top-level statements of all its cells, in order."""
        return (statement for cell in self.cells for statement in cell.parsed[0])

    @property
    def grade_ids(self) -> frozenset[str]:
        """All grade ids of its code and text cells."""
        return frozenset([cell.grade_id for cell in self.cells if cell.grade_id] + list(self.texts))


def shown(text: str, most: int = 300) -> str:
    """A foreign text that any file and terminal can take: no lone surrogates, at most so many characters."""
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


WORD = re.compile(r"\w+|[^\w\s]")


def words(source: str) -> int:
    """About how many words and signs a source has; 0 for one that is not parsed because it is too long."""
    return 0 if too_much(source) else len(WORD.findall(source))


def too_much(source: str) -> str:
    """Why a source is not read as Python, in words; empty for all that people write."""
    if len(source) > MAX_SOURCE:
        return f"expected at most {MAX_SOURCE} characters of code in one cell or script, but got more. Keep data in files of their own."
    if len(source) > MAX_WORDS and len(WORD.findall(source)) > MAX_WORDS:
        return f"expected at most {MAX_WORDS} words and signs of code in one cell or script, but got more. Keep data in files of their own."
    return ""


SURROGATE = re.compile("[\ud800-\udfff]")

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
    if too_much(source):
        return source[: MAX_SOURCE + 1]
    try:
        ast.parse(source)
        return source
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _without_magics(source.split("\n"))


def _without_magics(lines: list[str]) -> str:
    kept: list[str] = []
    goes_on = False  # a magic ended in a backslash
    statement = _Statement()
    for line in lines:
        bare = line.lstrip()
        if goes_on or (MAGIC.match(bare) is not None and not statement.is_open):
            kept.append("" if goes_on else line[: len(line) - len(bare)] + plain_line(bare))
            goes_on = line.rstrip().endswith("\\")
        else:
            kept.append(line)
            statement.read(line)
    return "\n".join(kept)


PIECE = re.compile(
    r"""\\.? | \#.* | (?P<long>\"{3}|'{3}) | "(?:[^"\\]|\\.)*+(?:"|\\?$) | '(?:[^'\\]|\\.)*+(?:'|\\?$) | (?P<open>[(\[{]) | [)\]}]""",
    re.VERBOSE,
)
ENDS = {quote: re.compile(rf"(?:[^{quote[0]}\\]|\\.|{quote[0]}(?!{quote[1:]}))*+{quote}") for quote in ('"""', "'''")}


class _Statement:
    """Whether what was read ends in the middle of a bracket, a string or a continued line. Each line is looked at once."""

    def __init__(self) -> None:
        self.depth, self.quote, self.continued = 0, "", False

    @property
    def is_open(self) -> bool:
        return self.depth > 0 or bool(self.quote) or self.continued

    def read(self, line: str) -> None:
        """Go on with the next line."""
        place, self.continued = 0, False
        while True:
            if self.quote:
                end = ENDS[self.quote].match(line, place)
                if end is None:
                    return
                place, self.quote = end.end(), ""
            piece = PIECE.search(line, place)
            if piece is None:
                return
            place = piece.end()
            if piece["long"]:
                self.quote = piece["long"]
            elif piece["open"]:
                self.depth += 1
            elif piece[0] in ")]}":
                self.depth = max(0, self.depth - 1)
            elif piece[0].endswith("\\") and place == len(line) and piece[0][0] != "#":
                self.continued = True


def cell_text(source: Any) -> str:
    """Text of a cell, which the format allows to be a string or a list of strings; of a character cut in half, ``\ufffd`` is left."""
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    text = source.replace("\r\n", "\n") if isinstance(source, str) else ""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if SURROGATE.search(text) else text


def raw_cells(content: Any, name: str) -> list[dict[str, Any]]:
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


def _grade_id(cell: dict[str, Any]) -> str | None:
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return grade_id if isinstance(grade_id, str) and grade_id else None


def _takes_an_answer(cell: dict[str, Any]) -> bool:
    return cell["metadata"]["nbgrader"].get("solution") is True


def ends_an_answer(text: str) -> bool:
    """Whether a text cell beneath an answer is the course's own: it begins with a heading, or a line across the page."""
    return text.lstrip().startswith(("#", "---"))


CHOOSE = "If it is meant to be, choose Python in the cell's lower right corner"


def _language(cell: dict[str, Any]) -> str:
    """The language that VS Code keeps of a cell, as a word to be believed where the text bears it out; empty for Python, or none.

    It is kept where it is another than the kernel's, and is often wrong: a cell that was begun before a kernel was chosen stays
    ``plaintext``, and one of Python may be ``shellscript``. What is run is the text, whatever its language.
    """
    metadata = cell.get("metadata")
    kept = metadata.get("vscode") if isinstance(metadata, dict) else None
    language = kept.get("languageId") if isinstance(kept, dict) else None
    return language if isinstance(language, str) and language != "python" else ""


# ------------------------------------------------------------------------------------------------- JSON of a notebook
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
DROPPED = rb'"(?:outputs|attachments|widgets)"\s*+:\s*+[\[{]'
KEPT = re.compile(rb'(?:[^"]++|(?!' + DROPPED + rb")" + STRING + rb")*+", re.DOTALL)
BEGUN = re.compile(DROPPED)
BRACKETS = re.compile(rb'(?:[^"{}\[\]]++|' + STRING + rb")*+(?:([\[{]++)|([\]}]++))", re.DOTALL)
MAX_BRACKETS, MAX_DROPPED = 20_000_000, 100_000

CONFLICT = re.compile(r"^(<{7}|>{7})(?: .*)?$", re.MULTILINE)


def _without_outputs(content: bytes | mmap.mmap) -> bytes:
    """JSON of a notebook with null in the place of outputs, attachments and widgets, which may be nearly all of it."""
    kept, place, count = [], 0, 0
    while True:
        whole = KEPT.match(content, place)
        assert whole is not None, "it matches nothing as well"
        end = whole.end()
        kept.append(content[place:end])
        begun = BEGUN.match(content, end) if len(kept) < 2 * MAX_DROPPED else None
        if begun is None:
            return b"".join([*kept, content[end:]])
        kept.append(begun[0][:-1] + b"null")
        place, depth = begun.end(), 1
        while depth > 0:
            bracket = BRACKETS.match(content, place)
            count += 1
            if bracket is None or count > MAX_BRACKETS:
                return b"".join(kept)  # cut off, or nothing that Jupyter wrote: no JSON either way
            if bracket[1]:
                depth, place = depth + len(bracket[1]), bracket.end()
            else:
                used = min(depth, len(bracket[2]))
                depth, place = depth - used, bracket.start(2) + used


def notebook_content(path: Path, name: str, with_outputs: int = WITH_OUTPUTS) -> tuple[Any, list[str]]:
    """Read the JSON of a notebook.

    Args:
        path: The file.
        name: How messages call it.
        with_outputs: Files of more bytes are read without outputs, attachments and widgets: null stands in their place.

    Returns:
        The JSON's content, and what was repaired.

    Raises:
        DocumentError: It is too large, or no JSON; the text says why and what to do.
    """
    content, notes = _bytes_of(path, name, with_outputs)
    if _marked(content):
        notes.append(f"{name}: begins with a byte order mark; it was read all the same")
    text = decode(content)
    del content  # of a large file this is as much again
    if text.count("[") + text.count("{") > MAX_CONTAINERS:
        raise DocumentError(f"{name}: expected a notebook, but got JSON of more than {MAX_CONTAINERS} lists and objects.")
    try:
        return json.loads(text), notes
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":  # the rest of an older, longer state of the file
            return json.JSONDecoder().raw_decode(text.lstrip())[0], [*notes, f"{name}: goes on behind its end; that was passed over"]
        raise DocumentError(f"{name}: {_why_no_notebook(text, name, error)}") from error


def _bytes_of(path: Path, name: str, with_outputs: int) -> tuple[bytes, list[str]]:
    """Content of a notebook, without its outputs where it is large."""
    try:
        size = path.stat().st_size
        if size <= min(with_outputs, MAX_BYTES):
            return path.read_bytes(), []
        with path.open("rb") as file:
            utf16 = file.read(2) in (b"\xff\xfe", b"\xfe\xff")  # not searched for outputs
            if size > (MAX_BYTES if utf16 else MAX_FILE):
                raise _too_large(name, size, MAX_BYTES if utf16 else MAX_FILE)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                content = mapped[:] if utf16 else _without_outputs(mapped)
    except OSError as error:
        raise DocumentError(f"{name}: cannot be opened ({error.strerror or error}).") from error
    if len(content) > MAX_BYTES:
        raise _too_large(name, len(content), MAX_BYTES, " without its outputs")
    noted = size > MAX_BYTES
    return content, [f"{name}: {size / 2**20:.0f} MiB, nearly all of it outputs; it was read without them"] if noted else []


def _too_large(name: str, size: int, most: int, of: str = "") -> DocumentError:
    return DocumentError(
        f"{name}: expected at most {most // 2**20} MiB, but got {size / 2**20:.0f} MiB{of}. Clear all outputs (Edit > Clear All Outputs), "
        "save, and hand in again."
    )


def _why_no_notebook(text: str, name: str, error: Exception) -> str:
    """Say what kind of file was given instead of a notebook's JSON, and what to do."""
    conflict = CONFLICT.search(text)
    if conflict:
        line = text.count("\n", 0, conflict.start()) + 1
        return (
            f"an unresolved merge conflict of git ({conflict[1]} in line {line}). Keep one side: `git checkout --ours {name}` or "
            f"`git checkout --theirs {name}` takes it whole (nbdime merges notebooks cell by cell); open it in Jupyter, save it and "
            "hand that in."
        )
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the notebook. Run `git lfs pull` and hand in the file itself."
    if text.lstrip()[:1] == "<":
        return "a web page, not the notebook. Download the file itself (Raw, or Download), and hand that in."
    return (
        f"no readable notebook ({type(error).__name__}: {shown(str(error))}). Expected the JSON of a notebook; the file may "
        "be cut off. Open it in Jupyter, save it again and hand that in."
    )


def notebook_document(content: Any, name: str, code_ids: frozenset[str]) -> Document:
    """Read the content of a notebook; arguments and errors are those of ``read_document``."""
    document, parsed, answered = Document(name, []), 0, ""
    for number, cell in enumerate(raw_cells(content, name), start=1):
        grade_id, kind = _grade_id(cell), cell.get("cell_type")
        source = cell_text(cell.get("source", cell.get("input")))
        if grade_id and grade_id not in code_ids:
            document.texts.setdefault(grade_id, []).append((number, source))
        if grade_id:
            answered = grade_id if _takes_an_answer(cell) and grade_id not in code_ids else ""
        elif kind in ("markdown", "raw") and answered:
            if ends_an_answer(source):
                answered = ""
            elif source.strip():  # written, or written on, in a cell of its own
                document.texts[answered].append((number, source))
        if kind == "code" or grade_id in code_ids:
            parsed += words(source)
            if parsed > MAX_WORDS_OF_ALL:
                text = f"expected at most {MAX_WORDS_OF_ALL} words and signs of code in a notebook, but got more up to here."
                raise DocumentError(f"{name}, cell {number}: {text} Keep data in files of their own.", parsed)
            note = "" if kind == "code" else f"{name}, cell {number}: a {shown(str(kind), 40)} cell now; it was read as code"
            read = Cell(name, number, python_source(source), grade_id, note)
            if grade_id not in code_ids and (language := _language(cell)) and read.parsed[1]:
                note = f"{read.label}: VS Code keeps it as {shown(language, 40)}, and it is no Python: it was not read. {CHOOSE}"
                read = Cell(name, number, "", grade_id, note)
            document.cells.append(read)
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
        modified = path.stat().st_mtime
        if name.lower().endswith((".py", ".py.txt")):
            document = _script(path, name)
        else:
            content, notes = notebook_content(path, name)
            document = notebook_document(content, name, code_ids)
            document.notes += notes
    except OSError as error:
        raise DocumentError(f"{name}: cannot be opened ({error.strerror or error}).") from error
    document.modified = modified
    return document


def _script(path: Path, name: str) -> Document:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise _too_large(name, size, MAX_BYTES)
    content = path.read_bytes()
    notes = [f"{name}: begins with a byte order mark; it was read all the same"] if _marked(content) else []
    return Document(name, [Cell(name, 0, python_source(decode(content)))], notes=notes)


def _marked(content: bytes) -> bool:
    """Whether a text begins with a byte order mark."""
    return content[:3] == b"\xef\xbb\xbf" or content[:2] in (b"\xff\xfe", b"\xfe\xff")
