"""Who changed when everything was graded again, and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.batch.journal import Entry
from autograder.batch.keys import changed
from autograder.report.labels import points_text
from autograder.report.rendering import own_rows, write_page
from autograder.report.summary import csv_line, text_table

__all__ = ["CHANGES", "Change", "changes_of", "format_changes", "read_changes", "write_changes"]

CHANGES = "regrade.csv"
HEAD = ("name", "check", "before", "after", "why")


@dataclass(frozen=True)
class Change:
    """Points of one check that are not what they were.

    Attributes:
        name: The submission.
        check: Id of the check.
        before: Points, ``"none"`` where it could not be graded or is graded by hand, empty where there was no such check.
        after: The same, now.
        why: The reason.
    """

    name: str
    check: str
    before: str
    after: str
    why: str

    def row(self) -> list[str]:
        return [self.name, self.check, self.before, self.after, self.why]


def changes_of(before: Entry, key: Mapping[str, Any], result: Mapping[str, Any]) -> list[Change]:
    """Compare a result with the one before, check by check.

    Args:
        before: What the journal had.
        key: Key of the new result.
        result: The new result.
    """
    old, new = _points(before.result), _points(result)
    reasons = ", ".join(changed(before.key, key))
    found = []
    for check in dict.fromkeys([*old, *new]):
        was, now = old.get(check, ""), new.get(check, "")
        if was != now:
            why = reasons or ("could not be graded before" if was == "none" else
                              "could not be graded now" if now == "none" else "not deterministic")  # fmt: skip
            found.append(Change(result["submission"], check, was, now, why))
    return found


def _points(result: Mapping[str, Any]) -> dict[str, str]:
    return {check["id"]: "none" if check["points"] is None else points_text(check["points"]) for check in result["checks"]}


def write_changes(changes: Iterable[Change], out: Path) -> Path:
    """Write ``out/regrade.csv``; only its head where nothing changed."""
    return write_page(out / CHANGES, "".join(csv_line(row) for row in [list(HEAD), *(change.row() for change in changes)]))


def read_changes(out: Path) -> list[list[str]] | None:
    """The rows of ``out/regrade.csv``: what changed when something was graded again last; None where there is no such file."""
    rows = own_rows(out / CHANGES)
    return None if rows is None else [[row.get(column, "") for column in HEAD] for row in rows]


def format_changes(changes: Sequence[Change], count: int) -> str:
    """The changes as a table for the terminal.

    Args:
        changes: What changed.
        count: How many submissions were compared.
    """
    if not changes:
        return f"Regraded {count}: nobody's points changed."
    names = len({change.name for change in changes})
    rows = [(change.name, change.check, f"{change.before or '-'} -> {change.after or '-'}", change.why) for change in changes]
    return f"Regraded {count}; {names} changed:\n{text_table(('name', 'check', 'points', 'why'), rows)}"
