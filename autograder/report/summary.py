"""The class as a spreadsheet (``summary.csv``) and as a table for the terminal."""

import csv
import io
import shutil
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autograder.report.labels import clean_text, first_fault, in_total, points_text
from autograder.report.lateness import Late, late_in
from autograder.report.rendering import no_formula, write_page

__all__ = ["check_order", "csv_line", "format_table", "text_table", "write_summary"]

_HEAD = ["name", "score", "max_score", "needs_manual", "first_fault"]
_LATE = ["late penalty", "points after penalty"]


def write_summary(results: Sequence[dict[str, Any]], out: Path, *, check_ids: Iterable[str] = ()) -> Path:
    """Write ``out/summary.csv``: one row per submission, one column per check in the order of the rubric.

    A check without points (graded by hand, or not gradable) is an empty cell, never 0. Where lateness costs somebody points, two columns
    at the end say how many and what remains; all others are as without that.

    Args:
        results: contents of the ``result.json`` files, in the order of the rows.
        out: folder of the class.
        check_ids: columns to have in any case, so that an empty class still has them.

    Returns:
        The file written, UTF-8 with a byte order mark.
    """
    ids = check_order(results, check_ids)
    late = late_in(Path(out))
    penalised = any(late[result["submission"]].penalty for result in results if result["submission"] in late)
    lines = [csv_line([*_HEAD, *ids, *(_LATE if penalised else ())])]
    for result in results:
        points = {check["id"]: points_text(check["points"]) for check in result["checks"]}
        sums = [points_text(result[key]) for key in ("score", "max_score", "needs_manual")]
        row = [result["submission"], *sums, first_fault(result), *(points.get(name, "") for name in ids)]
        lines.append(csv_line([*row, *(_late_cells(result, late) if penalised else ())]))
    return write_page(Path(out) / "summary.csv", "".join(lines))


def _late_cells(result: dict[str, Any], late: Mapping[str, Late]) -> list[str]:
    """What lateness takes off, and what remains; a penalty that cannot be read stands there as it is, and nothing behind it."""
    own = late.get(result["submission"], Late(""))
    taken, left = own.taken(result), own.left(result)
    return [own.penalty, ""] if taken is None or left is None else [points_text(taken), points_text(left)]


def check_order(results: Sequence[dict[str, Any]], first: Iterable[str] = ()) -> list[str]:
    """Ids of all checks that occur, in the order of the rubric (the order that each result keeps)."""
    return list(dict.fromkeys([*first, *(check["id"] for result in results for check in result["checks"])]))


def format_table(results: Sequence[dict[str, Any]], width: int | None = None) -> str:
    """A table for the terminal: name, points, the first thing that went wrong.

    Args:
        results: contents of the ``result.json`` files.
        width: characters per line; the terminal's own width if not given.

    Returns:
        Lines without a final newline; no control characters, whatever a student wrote.
    """
    if not results:
        return "No submissions."
    width = width or shutil.get_terminal_size((120, 24)).columns
    rows = [(_one_line(r["submission"]), _score(r), _one_line(first_fault(r)) or "-") for r in results]
    head = ("name", "points", "first thing that went wrong")
    name_width = min(max(_columns(row[0]) for row in [head, *rows]), 32)
    score_width = max(_columns(row[1]) for row in [head, *rows])
    rest = max(width - name_width - score_width - 4, 24)
    rule = ("-" * name_width, "-" * score_width, "-" * min(rest, max(_columns(row[2]) for row in [head, *rows])))
    lines = [
        f"{_fit(name, name_width)}  {' ' * (score_width - _columns(score))}{score}  {_fit(fault, rest)}".rstrip()
        for name, score, fault in [head, rule, *rows]
    ]
    return "\n".join([*lines, *_footnotes(results)])


def _score(result: dict[str, Any]) -> str:
    """``58.5 of 64``: out of the points that this run could give."""
    given = sum(in_total(check) for check in result["checks"] if check["points"] is not None)
    return f"{result['score']:g} of {given:g}"


def _footnotes(results: Sequence[dict[str, Any]]) -> list[str]:
    notes = []
    waiting = [[check for check in result["checks"] if check["status"] == "needs_manual"] for result in results]
    manual = max(sum(map(in_total, checks)) for checks in waiting)
    bonus = max(sum(check["max_points"] for check in checks if check.get("bonus")) for checks in waiting)
    if manual:
        notes.append(f"{manual:g} points more are given by hand.")
    if bonus:
        notes.append(f"A bonus of up to {bonus:g} points on top is given by hand.")
    stuck = sum(any(c["status"] == "could_not_grade" for c in result["checks"]) for result in results)
    if stuck:
        noun = "submission has checks" if stuck == 1 else "submissions have checks"
        notes.append(f"{stuck} {noun} that could not be graded; their points are open, not lost.")
    return ["", *notes] if notes else []


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns for the terminal, as wide as their texts; no control characters, whatever a student wrote."""
    lines = [[_one_line(text) for text in row] for row in [head, *rows]]
    widths = [max(_columns(line[index]) for line in lines) for index in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(_fit(text, width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def csv_line(row: Sequence[str]) -> str:
    """One row of a CSV file, in which no cell is a formula."""
    # the writer quotes a lone CR only if CR ends its lines, so lines end in CRLF first
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow([no_formula(value) for value in row])
    return text.getvalue().removesuffix("\r\n") + "\n"


def _one_line(text: str) -> str:
    """No line breaks, no terminal codes, and none of the marks that reverse the direction of a line."""
    text = clean_text(text).replace("\n", " ").replace("\t", " ")
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


def _columns(text: str) -> int:
    """Columns that a text takes in a terminal: wide letters two, combining marks none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def _fit(text: str, width: int) -> str:
    if _columns(text) > width:
        while text and _columns(text) > width - 1:
            text = text[:-1]
        text += "\N{HORIZONTAL ELLIPSIS}"
    return text + " " * (width - _columns(text))
