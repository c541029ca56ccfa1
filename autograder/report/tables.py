"""Tables that people give to the kit (class lists, points by hand), as course systems and spreadsheets write them: one reader for all.

CSV in UTF-8, UTF-16 or Windows-1252, with comma, semicolon or tab, with or without ``sep=;``; or ``.xlsx``. What a spreadsheet has
destroyed is an error that says so; what it has only bent (``="0042"``, a name that was encoded twice) is straightened, and noted.
"""

import datetime
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.report.sheets import SEPARATORS, Sheet, TableError, read_sheet

__all__ = ["Table", "bare", "lost_zeros", "read_table", "repaired"]

MAX_ROWS = 100_000
MOST_ABOVE = 30  # rows in which a header is looked for
EXACT = 10**15  # numbers of a spreadsheet have 15 digits
ROUNDED = re.compile(r"\d[.,]\d+E\+\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes:
        header: Names of the columns; those without a name are left out.
        rows: Column -> text, for each row that is not empty.
        lines: Of each row its line in the file, or its row in the workbook.
        twice: Columns that the file has more than once; rows hold the first. Whoever reads such a column should refuse it.
        notes: What was straightened, for people.
    """

    header: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    twice: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def read_table(path: Path, known: Callable[[Sequence[str]], int] | None = None) -> Table:
    """Read a table.

    Args:
        path: The file.
        known: How many columns of a header are known. With it lines may stand above the header: the row that is known best is the header,
            the first one if none is.

    Raises:
        TableError: It cannot be opened, is none, or holds what cannot be right; the text says where and what to do.
    """
    notes: list[str] = []
    found = _workbook(path, notes) if _is_workbook(path) else _text(path, known)
    if known is not None and (above := _above(found, known)):
        notes.append(f"{path}: the header stands in line {found[above][0]}; what is above the header was passed over")
        found = found[above:]
    texts = [[bare(text) for text in row] for _, row in found]
    header = [text.strip() for text in texts[0]] if texts else []
    if not any(header):
        raise TableError(f"{path}: expected a header and rows below it; found an empty table.")
    rows, lines, doubled = [], [], 0
    for (line, _), row in zip(found[1:], texts[1:], strict=True):
        _check_row(row, len(header), f"{path}, line {line}")
        straight = [repaired(text) for text in row]
        doubled += straight != row
        if any(text.strip() for text in straight):
            cells: dict[str, str] = {}
            for name, text in zip(header, [*straight, *[""] * (len(header) - len(straight))], strict=False):
                cells.setdefault(name, text)  # of two columns of one name the first
            cells.pop("", None)
            rows.append(cells)
            lines.append(line)
    if doubled:
        notes.append(f"{path}: {doubled} rows held letters that were encoded twice (Ã¼ for ü); they were read as they were meant")
    names = [name for name in header if name]
    twice = frozenset(name for name in names if names.count(name) > 1)
    return Table(tuple(dict.fromkeys(names)), tuple(rows), tuple(lines), twice, tuple(notes))


def bare(text: str) -> str:
    """A cell without what keeps a spreadsheet from reading it as a number or a formula: ``="0042"``."""
    inner = re.fullmatch(r'\s*="(.*)"\s*', text, re.DOTALL)
    return inner[1].replace('""', '"') if inner else text


def repaired(text: str) -> str:
    """``MÃ¼ller`` -> ``Müller``: UTF-8 that was taken for Windows-1252 and encoded again. Any other text stays."""
    if text.isascii():
        return text
    try:
        # browsers and spreadsheets give the five bytes that Windows-1252 leaves out the letters of Latin-1
        return b"".join(letter.encode("latin-1" if "\x80" <= letter <= "\x9f" else "cp1252") for letter in text).decode("utf-8")
    except UnicodeError:
        return text


def lost_zeros(values: Sequence[str]) -> list[str]:
    """Numbers that are shorter than nearly all others, where none begins with 0: a spreadsheet may have taken the zeros away."""
    numbers = [value for value in values if value.isdigit()]
    if len(numbers) < 5 or len(numbers) < len(values) or any(number.startswith("0") for number in numbers):
        return []
    width, count = Counter(map(len, numbers)).most_common(1)[0]
    return [number for number in numbers if len(number) < width] if width >= 6 and count >= 0.6 * len(numbers) else []


def _check_row(row: list[str], width: int, where: str) -> None:
    """Raise where a cell cannot be what somebody wrote."""
    for text in row:
        if ROUNDED.fullmatch(text.strip()):
            raise TableError(f"{where}: found {text!r}, an id that a spreadsheet has rounded. Take the original file: its digits are lost.")
    if beyond := [text for text in row[width:] if text]:
        raise TableError(
            f"{where}: expected {width} cells, as the header has, found {len(row)} (beyond them: {', '.join(beyond)[:60]!r}). "
            "A name with a comma needs quotation marks."
        )


def _above(rows: Sequence[tuple[int, list[str]]], known: Callable[[Sequence[str]], int]) -> int:
    """How many rows stand above the header."""
    scores = [known(_bare_row(row)) for _, row in rows[:MOST_ABOVE]]
    return scores.index(max(scores))


def _head(rows: Sequence[tuple[int, list[str]]], known: Callable[[Sequence[str]], int]) -> list[str]:
    return _bare_row(rows[_above(rows, known)][1])


def _bare_row(row: Sequence[str]) -> list[str]:
    return [bare(text).strip() for text in row]


def _text(path: Path, known: Callable[[Sequence[str]], int] | None) -> list[tuple[int, list[str]]]:
    """The rows; lines above a header may have other separators than the table."""
    rows = _rows(read_sheet(path))
    if known is None or known(_head(rows, known)) > 1:
        return rows
    readings = [rows]
    for separator in SEPARATORS:
        with suppress(TableError):  # of a file that has another separator
            readings.append(_rows(read_sheet(path, separator)))
    return max(readings, key=lambda rows: known(_head(rows, known)))


def _rows(sheet: Sheet) -> list[tuple[int, list[str]]]:
    return list(zip(sheet.lines, sheet.texts, strict=True))


# ---------------------------------------------------------------------------------------------------------------- workbooks
def _is_workbook(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # opening it as text says why


def _workbook(path: Path, notes: list[str]) -> list[tuple[int, list[str]]]:
    """The first worksheet that holds anything."""
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise TableError(
            f"{path} is an Excel workbook, which is read by openpyxl: pip install openpyxl, or save it as CSV UTF-8."
        ) from error
    try:
        with path.open("rb") as file:  # by its path openpyxl would go by its name
            book = load_workbook(file, read_only=True, data_only=True)
            sheets = [(sheet.title, list(_cells(sheet, path))) for sheet in book.worksheets]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, SyntaxError, zipfile.BadZipFile) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path}: expected an Excel workbook (.xlsx), found one that cannot be read ({error}). Save it again.") from error
    full = [(title, rows) for title, rows in sheets if rows]
    if not full:
        raise TableError(f"{path}: expected a header and rows below it; found an empty workbook.")
    if len(full) > 1:
        notes.append(f"{path}: of {len(full)} worksheets the first was read, {full[0][0]!r}")
    return full[0][1]


def _cells(sheet: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with their numbers."""
    for number, row in enumerate(sheet.iter_rows(), 1):
        if number > MAX_ROWS:
            raise TableError(f"{path}, worksheet {sheet.title!r}: expected at most {MAX_ROWS} rows.")
        texts = [_shown(cell.value, cell.number_format or "") for cell in row]
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            yield number, texts


def _shown(value: Any, number_format: str) -> str:
    """A value as the spreadsheet shows it: whole numbers without a point, zeros in front where the format has them, dates in ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return value.isoformat().removesuffix("T00:00:00")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and abs(value) >= EXACT:
        return f"{value:.5E}"  # what a spreadsheet shows, and what is refused: its last digits are not those that were typed
    text = str(value)
    return text.zfill(len(number_format)) if isinstance(value, int) and re.fullmatch("0{2,}", number_format) else text
