"""Points that a person gave, from a table: for courses that export without nbgrader's formgrader."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from autograder.export.entries import Entry, ExportError
from autograder.report.sheets import TableError
from autograder.report.tables import read_table

__all__ = ["with_manual_points"]

OPEN = ("needs_manual", "could_not_grade")  # what summary.csv leaves empty


def with_manual_points(entries: Sequence[Entry], path: Path) -> list[Entry]:
    """Give the checks that nobody has given points the points of a table; results on the disk stay as they are.

    Args:
        entries: The results.
        path: CSV or .xlsx with the column ``name`` and one for each such check, as ``summary.csv`` has them: a copy
            of it with its empty cells filled in is enough. Other columns are ignored; a cell that is still empty stays open.

    Raises:
        ExportError: The table cannot be read, names somebody else, or gives impossible points; the text says where.
    """
    known = {entry.result["submission"] for entry in entries}
    manual = {c["id"] for entry in entries for c in entry.result["checks"] if c["status"] in OPEN}
    rows = _rows(path, known)
    unknown = sorted(rows.keys() - known)
    if unknown and len(entries) > 1:  # one result may be exported with the table of its class
        raise ExportError(f"{path}: expected names of summary.csv in the column name; there is no result of {_listed(unknown)}.")
    if not manual & {column for row in rows.values() for column in row}:
        raise ExportError(f"{path}: expected a column for what has no points yet ({_listed(sorted(manual))}), found none.")
    return [Entry(entry.folder, _graded(entry.result, rows.get(entry.result["submission"], {}), path)) for entry in entries]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "") if names else "nothing is"


def _rows(path: Path, known: Collection[str]) -> dict[str, Mapping[str, Any]]:
    try:
        table = read_table(path)
    except TableError as error:
        raise ExportError(str(error)) from error
    if table.twice:
        raise ExportError(f"{path}: expected each column once, found {_listed(sorted(table.twice))} more than once.")
    rows = [(row.get("name", ""), row) for row in table.rows]
    rows = [(name if name in known else name.strip(), row) for name, row in rows]
    # summary.csv puts a quote before what a spreadsheet would take for a formula; spreadsheets add empty lines
    named = [(name if name in known else name.removeprefix("'"), row) for name, row in rows if name]
    if not named:
        raise ExportError(f"{path}: expected a header with the column name, as summary.csv has it, and lines below it; found none.")
    names = [name for name, _ in named]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ExportError(f"{path}: expected each name once, found {_listed(twice)} more than once.")
    return dict(named)


def _graded(result: Mapping[str, Any], row: Mapping[str, Any], path: Path) -> dict[str, Any]:
    checks = []
    for check in result["checks"]:
        text = str(row.get(check["id"]) or "").strip() if check["status"] in OPEN else ""
        if text:
            points = _points(text, check, f"{path}, {result['submission']}, {check['id']}")
            status = "earned" if points == check["max_points"] else "partial" if points else "not_earned"
            check = {**check, "points": points, "status": status}
        checks.append(check)
    waiting = sum(check["max_points"] for check in checks if check["status"] == "needs_manual")
    return {**result, "checks": checks, "score": sum(check["points"] or 0 for check in checks), "needs_manual": waiting}


def _points(text: str, check: Mapping[str, Any], where: str) -> float:
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = -1.0
    if not 0 <= points <= check["max_points"] or points * 2 % 1:  # NaN fails this as well
        raise ExportError(f"{where}: expected points from 0 to {check['max_points']:g} in steps of 0.5, found {text[:40]!r}.")
    return points
