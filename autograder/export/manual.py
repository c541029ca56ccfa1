"""Points that a person gave, from a table: a copy of ``summary.csv`` with its empty cells filled in, or with other points and a reason."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autograder.export.entries import Entry, ExportError
from autograder.marking.applying import override_check, points_from, summed, with_points
from autograder.report.labels import given_by_hand
from autograder.report.sheets import TableError
from autograder.report.tables import read_table

__all__ = ["with_manual_points"]

REASON = "reason"


def with_manual_points(entries: Sequence[Entry], path: Path) -> list[Entry]:
    """Give checks the points of a table; results on the disk stay as they are.

    Args:
        entries: The results.
        path: CSV or .xlsx with the column ``name`` and one for each check that nobody has given points, as
            ``summary.csv`` has them: a copy of it with its empty cells filled in is enough. An empty cell changes nothing. Points that
            are others than the result has need a reason, in a column ``reason`` of the same line. Other columns are ignored.

    Raises:
        ExportError: The table cannot be read, names somebody else, gives impossible points, or changes points without saying why; the
            text says where.
    """
    known = {entry.result["submission"] for entry in entries}
    checks = {c["id"] for entry in entries for c in entry.result["checks"]}
    manual = {c["id"] for entry in entries for c in entry.result["checks"] if c["points"] is None}
    rows = _rows(path, known)
    unknown = sorted(rows.keys() - known)
    if unknown and len(entries) > 1:  # one result may be exported with the table of its class
        raise ExportError(f"{path}: expected names of summary.csv in the column name; there is no result of {_listed(unknown)}.")
    columns = {column for row in rows.values() for column in row}
    if not manual & columns and not (REASON in columns and checks & columns):
        raise ExportError(f"{path}: expected a column for what has no points yet ({_listed(sorted(manual))}), found none.")
    return [replace(entry, result=_graded(entry.result, rows.get(entry.result["submission"], {}), path)) for entry in entries]


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
    checks, reason = [], str(row.get(REASON) or "").strip()
    for check in result["checks"]:
        where = f"{path}, {result['submission']}, {check['id']}"
        text = str(row.get(check["id"]) or "").strip()
        try:
            points = points_from(text, check["max_points"]) if text else None
        except ValueError as error:
            raise ExportError(f"{where}: {error}") from None
        if points is not None and points != check["points"]:
            if check["points"] is not None and not reason:
                raise ExportError(
                    f"{where}: the result has {check['points']:g} points, the table {points:g}. To change points that are given, say why "
                    f"in a column {REASON!r} of the same line; if the table is older than the results, take a new copy of summary.csv."
                )
            check = _changed(check, points, reason)
        checks.append(check)
    found = summed(result, checks)
    _demand_the_sum(str(row.get("score") or "").strip(), result, found, f"{path}, {result['submission']}, score")
    return found


def _changed(check: Mapping[str, Any], points: float, reason: str) -> dict[str, Any]:
    if not given_by_hand(check) and reason:
        return override_check(check, points, reason)
    return with_points(
        check, points, check["message"], kind="mark" if given_by_hand(check) else "override", by="", when="", reason=reason, comment=""
    )


def _demand_the_sum(text: str, before: Mapping[str, Any], after: Mapping[str, Any], where: str) -> None:
    """A sum that somebody changed by hand would be lost, since sums follow from the checks."""
    try:
        told = float(text.replace(",", "."))
    except ValueError:
        return
    if told not in (before["score"], after["score"]):
        raise ExportError(
            f"{where}: expected {after['score']:g}, the sum of the checks, found {text[:40]!r}. Change the points of a check, not the sum."
        )
