"""A class as CSV with the columns of ``nbgrader export``, quoted and harmless in a spreadsheet.

nbgrader counts an ungraded answer as 0. Here the cells of a score stay empty until every point of ``max_score`` is given or lost,
and ``max_score`` is the same for the whole class: the automatic points, or all of them where there are marks. Then a last column says
what a person wrote. As with nbgrader, ``raw_score`` is what the checks gave, ``late_submission_penalty`` the points that lateness takes
off, and ``score`` what remains.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from autograder.export.entries import Entry, Options, counted_checks, shown, why_no_total
from autograder.handins.roster import Student
from autograder.report.labels import in_total
from autograder.report.rendering import no_formula

__all__ = ["COLUMNS", "nbgrader_csv", "write_nbgrader_csv"]

COLUMNS = (
    "assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email", "raw_score",
    "late_submission_penalty", "score", "max_score",
)  # fmt: skip


def nbgrader_csv(entries: Sequence[Entry], options: Options) -> str:
    """One line per result, then one without points for each student of the roster who has none."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    commented = any(check.get("hand") for entry in entries for check in entry.result["checks"])
    writer.writerow([*COLUMNS, "comment"] if commented else COLUMNS)
    seen = set()
    for entry in entries:
        name = entry.result["submission"]
        student = options.roster.by_name(name)
        seen.add(student.name if student else name)
        row = _row(entry, student, options)
        writer.writerow(map(_cell, [*row, _comments(entry)] if commented else row))
    assignment = entries[0].result["assignment"] if entries else ""
    for student in options.roster.students:
        if student.name not in seen:
            row = [assignment, options.due, "", student.name, student.last_name, student.first_name, student.email]
            writer.writerow(map(_cell, [*row, *[""] * (4 + commented)]))
    return text.getvalue()


def _row(entry: Entry, student: Student | None, options: Options) -> list[str]:
    result, counted = entry.result, counted_checks(entry.result, options.by_hand)
    raw = penalty = score = ""
    if not why_no_total(result, options.by_hand):
        points, taken = sum(check["points"] for check in counted), entry.penalty(counted)
        raw = f"{points:g}"
        if taken is None:
            options.say(f"{entry.folder}: no score after the penalty: {entry.late_line(counted)}")
        else:
            penalty, score = f"{taken:g}", f"{points - taken:g}"
    top = f"{sum(in_total(check) for check in counted):g}"
    person = [student.last_name, student.first_name, student.email] if student else ["", "", ""]
    handed_in = options.handed_in.get(result["submission"], "")
    return [result["assignment"], options.due, handed_in, result["submission"], *person, raw, penalty, score, top]


def _comments(entry: Entry) -> str:
    """What a person wrote, check by check."""
    hands = [(check, check["hand"]) for check in entry.result["checks"] if check.get("hand")]
    texts = {check["id"]: check["message"].partition("\n")[0] if hand["kind"] == "override" else hand["comment"] for check, hand in hands}
    return " | ".join(f"{check}: {text}" for check, text in texts.items() if text)


def _cell(value: str) -> str:
    """One line of plain text that no spreadsheet runs."""
    value = no_formula(shown(value))
    return " ".join(value.splitlines()) if value.splitlines() else value


def write_nbgrader_csv(entries: Iterable[Entry], options: Options) -> Iterator[tuple[PurePosixPath, str]]:
    """``grades.csv`` of the whole class, with the mark by which a spreadsheet knows UTF-8."""
    yield PurePosixPath("grades.csv"), "\ufeff" + nbgrader_csv(list(entries), options)
