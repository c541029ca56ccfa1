"""A table as a course system or a spreadsheet wrote it: its cells, and where in the text each of them lies.

``csv`` reads such a file, but what it writes is another file: other quotes, other line ends, other encoding. Here a cell can be changed
and every other byte stays.
"""

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Cell", "Sheet", "TableError", "parse_sheet", "read_sheet"]

MAX_BYTES = 64 * 2**20
SEPARATORS = ",;\t"
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# How a file begins that is called .csv or .xls and is something else, and what it is
NO_TEXT = (
    (b"PK\x03\x04", "an Excel workbook (or another zip)"), (b"\xd0\xcf\x11\xe0", "a workbook of an old Excel"),
    (b"%PDF", "a PDF"), (b"\x1f\x8b", "a gzip archive"),
)  # fmt: skip
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?(?:\r\n|\n|\r)', re.IGNORECASE)


class TableError(ValueError):
    """A table cannot be read; the text says where, what was expected, what was found, and what to do."""


@dataclass(frozen=True)
class Cell:
    """One cell: what it says, whether it stands in quotes, and where it lies in the text."""

    text: str
    start: int
    end: int
    quoted: bool


@dataclass(frozen=True)
class Sheet:
    """A table, and all that is needed to write it again.

    Attributes:
        text: The decoded content, without a byte order mark.
        bom: The byte order mark, or nothing.
        encoding: Of the rest.
        separator: Between cells.
        rows: The rows that are not empty; a quoted cell may go over several lines.
        lines: Of each row the line of the file in which it begins.
    """

    text: str
    bom: bytes
    encoding: str
    separator: str
    rows: tuple[tuple[Cell, ...], ...]
    lines: tuple[int, ...]

    @cached_property
    def texts(self) -> list[list[str]]:
        """What the cells say."""
        return [[cell.text for cell in row] for row in self.rows]

    def at(self, row: int, column: int) -> str:
        """What a cell says; nothing where its row ends before it."""
        return self.texts[row][column] if column < len(self.texts[row]) else ""

    def with_cells(self, changes: Mapping[tuple[int, int], str]) -> bytes:
        """The file with other texts in some cells, and every other byte as it was.

        Args:
            changes: (row, column) -> text. A row that ends before the column is made longer.

        Raises:
            TableError: A text has no place in the encoding of the file.
        """
        edits: list[tuple[int, int, str]] = []
        lengths = {row: len(self.rows[row]) for row, _ in changes}
        for (row, column), text in sorted(changes.items()):
            cells, missing = self.rows[row], column - lengths[row] + 1
            if missing > 0:
                edits.append((cells[-1].end, cells[-1].end, self.separator * missing + self._written(text, quoted=False)))
                lengths[row] = column + 1
            else:
                edits.append((cells[column].start, cells[column].end, self._written(text, cells[column].quoted)))
        pieces, done = [], 0
        for start, end, text in sorted(edits, key=lambda edit: edit[0]):
            pieces += [self.text[done:start], text]
            done = end
        try:
            return self.bom + "".join([*pieces, self.text[done:]]).encode(self.encoding)
        except UnicodeEncodeError as error:
            letters = error.object[error.start : error.end][:20]
            raise TableError(f"The file is in {self.encoding}, which has no {letters!r}. Get it from the system in UTF-8.") from error

    def _written(self, text: str, quoted: bool) -> str:
        if quoted or any(letter in text for letter in (self.separator, '"', "\r", "\n")):
            return '"' + text.replace('"', '""') + '"'
        return text


def read_sheet(path: Path, separator: str = "") -> Sheet:
    """Read a table: UTF-8, UTF-16 or Windows-1252, with comma, semicolon or tab.

    Args:
        path: The file.
        separator: Between cells; empty for what the first line has, or says.

    Raises:
        TableError: It cannot be opened, or is no table.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TableError(f"{path}: expected a table of at most {MAX_BYTES // 2**20} MiB, found {path.stat().st_size // 2**20} MiB.")
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be opened: {error.strerror or error}.") from error
    return parse_sheet(content, str(path), separator)


def parse_sheet(content: bytes, where: str, separator: str = "") -> Sheet:
    """The same of bytes; ``where`` names them in errors."""
    for start, what in NO_TEXT:
        if content.startswith(start):
            raise TableError(
                f"{where}: expected a table in text (CSV), found {what}. Save it as CSV UTF-8, or get it from the system again."
            )
    text, bom, encoding = _decoded(content, where)
    if text.lstrip()[:1] == "<":
        raise TableError(f"{where}: expected a table in text (CSV), found a web page or XML. Save it as CSV UTF-8 in a spreadsheet.")
    named = SEPARATOR_LINE.match(text)
    separator = separator or (named[1] if named else _separator(text))
    rows, lines = _rows(text, separator, named.end() if named else 0, where)
    if not rows:
        raise TableError(f"{where}: expected a header and rows below it, found an empty file.")
    return Sheet(text, bom, encoding, separator, tuple(rows), tuple(lines))


def _decoded(content: bytes, where: str) -> tuple[str, bytes, str]:
    """Text, byte order mark, encoding."""
    for bom, encoding in BOMS:
        if content.startswith(bom):
            return _text(content.removeprefix(bom), encoding, where), bom, encoding
    if 3 * content[:1000].count(0) > len(content[:1000]):  # UTF-16 without a mark: the letters of a header have a zero each
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
        return _text(content, encoding, where), b"", encoding
    try:
        content.decode("utf-8")
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = "cp1252"
    return _text(content, encoding, where), b"", encoding


def _text(content: bytes, encoding: str, where: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{where}, line {line}: expected text in UTF-8, UTF-16 or Windows-1252, found bytes that are none. Save it as CSV UTF-8."
        ) from error
    if "\0" in text:
        raise TableError(f"{where}: expected a table in text (CSV), found zero bytes: no text, or a damaged file. Get it again.")
    return text


def _separator(text: str) -> str:
    """What stands most often in the first line that has anything, outside of quotes."""
    head = next((line for line in re.sub(r'"[^"]*"', "", text[:100_000]).splitlines() if line.strip(" ")), "")
    return max(SEPARATORS, key=head.count)


def _rows(text: str, separator: str, position: int, where: str) -> tuple[list[tuple[Cell, ...]], list[int]]:
    """Cells as ``csv`` reads them, with their places."""
    cell_pattern = re.compile(rf'("[^"]*(?:""[^"]*)*")?([^{re.escape(separator)}\r\n]*)')
    rows: list[tuple[Cell, ...]] = []
    lines: list[int] = []
    row: list[Cell] = []
    line = begun = text.count("\n", 0, position) + 1
    while position < len(text):
        match = cell_pattern.match(text, position)
        assert match is not None  # it matches nothing, too
        if match[1] is None and match[2].startswith('"'):
            raise TableError(f"{where}, line {line}: a quotation mark is opened and never closed. Get the file from the system again.")
        content = (match[1] or "")[1:-1].replace('""', '"') + match[2]
        row.append(Cell(content, match.start(), match.end(), match[1] is not None))
        line += _line_ends(match[0])
        position = match.end()
        after = text[position : position + 2]
        if after[:1] == separator:
            position += 1
            if position < len(text):
                continue
            row.append(Cell("", position, position, False))
        position += 2 if after == "\r\n" else len(after[:1]) if after[:1] in ("\r", "\n") else 0
        if len(row) > 1 or row[0].text or row[0].quoted:
            rows.append(tuple(row))
            lines.append(begun)
        row = []
        line += 1
        begun = line
    return rows, lines


def _line_ends(text: str) -> int:
    return text.count("\n") + text.replace("\r\n", "").count("\r")
