"""``export --into``: points written into the file that a course system gave out, so that it takes it back.

Only cells of one column change, only on lines of students whose result is known to be theirs, and only where all points are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from autograder.export.comments import comment_on, is_ours
from autograder.export.entries import Entry, ExportError, counted_checks
from autograder.export.feedback import moodle_folder
from autograder.export.lms import Column, Gradebook, Line, open_gradebook
from autograder.export.matching import Matched, match_entries
from autograder.handins.roster import Roster, spelled
from autograder.report.labels import in_total
from autograder.report.sheets import Sheet, TableError, parse_sheet, read_sheet
from segkit.atomic import replacing

__all__ = ["Filled", "Wanted", "beside", "fill_gradebook"]

NO_MORE = "leave the bonus out (--without), and give it a column of its own (--only)"
REPLACED = ("", "-", "needs grading", "in progress")  # words of systems for "no points yet"


@dataclass(frozen=True)
class Wanted:
    """What a person said beside the file.

    Attributes:
        column: Which column: its header, a part of it, or its number in the system; empty to find it.
        system: Whose file it is; empty to recognise it.
        pairs: Name of a result -> id, login, mail address or full name of its line.
        scale: Whether points are converted to the maximum that the file states.
        only: Patterns of checks whose points go in; all, where it is empty.
        without: Patterns of checks whose points do not.
        comments: Whether comments go in beside the points, which Moodle and Blackboard take.
        feedback: Whether a zip of feedback files is to follow, which only Moodle takes.
        late_penalty: What to do with points that lateness takes off, for which no file has a column: ``"take"`` them off, ``"leave"`` them
            to the system; empty where nobody said.
    """

    column: str = ""
    system: str = ""
    pairs: Mapping[str, str] = field(default_factory=dict)
    scale: bool = False
    only: Sequence[str] = ()
    without: Sequence[str] = ()
    comments: bool = False
    feedback: bool = False
    late_penalty: str = ""

    def checks(self, entry: Entry) -> list[Mapping[str, Any]]:
        """The checks of a result whose points go in, those by hand among them."""
        checks = [check for check in counted_checks(entry.result, by_hand=True) if not self.only or _named(check["id"], self.only)]
        return [check for check in checks if not _named(check["id"], self.without)]


@dataclass
class Filled:
    """What became of the results.

    Attributes:
        content: The new file.
        system, column: Whose file it is, and the header of the column.
        written: Name -> points as they are written.
        folders: Name -> what Moodle calls the student's folder in its downloads, and takes back in a zip of feedback; of these alone.
        changed: Lines for people of points that were others before.
        notices: Results that could not be written, each with its reason.
        penalties: Lines for people of points that lateness takes off.
        remarks: What to know besides: open points, who handed in nothing, who was found by name alone.
    """

    content: bytes
    system: str
    column: str
    written: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    penalties: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.written)} points in column {self.column!r} of {self.system}" + (
            f", {len(self.changed)} of them instead of others: {'; '.join(self.changed)}" if self.changed else ""
        )


def _named(check: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(check, pattern) for pattern in patterns)


def beside(path: Path) -> Path:
    """Where the filled file goes if nothing else is said: ``grades.csv`` -> ``grades.filled.csv``."""
    return path.with_name(f"{path.stem}.filled{path.suffix}")


def fill_gradebook(path: Path, out: Path, entries: Sequence[Entry], roster: Roster, wanted: Wanted) -> Filled:
    """Write a copy of a gradebook file with the points of the results; the file itself stays as it is.

    Args:
        path: The file as Canvas, Moodle (grading worksheet), Brightspace or Blackboard gave it out.
        out: The file to write, whole or not at all.
        entries: The results.
        roster: The class; it knows ids that results do not carry.
        wanted: What was said beside.

    Raises:
        ExportError: The file is none of these, or the column is not certain; nothing was written.
        OSError: The new file cannot be written.
    """
    if not entries:
        raise ExportError("There is no result that can be used; nothing was written.")
    try:
        if out.exists() and out.samefile(path):
            raise ExportError(f"{out}: expected another file than the one that the system gave out, which stays as it is.")
        sheet = read_sheet(path)
        book = open_gradebook(sheet, str(path), wanted.system)
        if wanted.comments and book.comments[0] is None:
            raise ExportError(
                f"{path}: --comments needs Moodle's Feedback comments or Blackboard's Feedback to Learner; it has no such column."
            )
        if wanted.feedback and not book.participant:
            raise ExportError(f"{path}: a zip of feedback files is Moodle's, and this is a file of {book.system}. Use --to mail.")
        column = _column(book, wanted.column, entries, str(path))
        factor = _factor(column, entries, wanted, str(path))
        _demand_a_decision(entries, wanted, str(path))
        filled = _fill(sheet, book, column, factor, entries, roster, wanted)
    except TableError as error:
        raise ExportError(str(error)) from error
    with replacing(out) as part:
        part.write_bytes(filled.content)
    return filled


def _column(book: Gradebook, named: str, entries: Sequence[Entry], where: str) -> Column:
    """The column that a person named, or the only one, or the only one that has the assignment's name in it."""
    there = ", ".join(repr(column.header[:80]) for column in book.columns) or "none"
    if not named:
        called = [column for column in book.columns if spelled(entries[0].result["assignment"]) in _spelled_words(column.title)]
        found = list(book.columns) if len(book.columns) == 1 else called
        if len(found) == 1:
            return found[0]
        if not book.columns:
            closed = f" (it has {', '.join(map(repr, book.closed[:5]))})" if book.closed else ""
            raise ExportError(
                f"{where}: expected a column of {book.system} that takes points, found none{closed}. Add the item there first."
            )
        raise ExportError(f"{where}: which column takes the points? Name it with --column. Those that can: {there}.")
    same = [column for column in book.columns if named.strip().casefold() in (column.header.strip().casefold(), column.title.casefold())]
    parts = [column for column in book.columns if named.strip().casefold() in column.header.casefold()]
    found = same or parts
    if len(found) == 1:
        return found[0]
    shut = next((header for header in book.closed if named.strip().casefold() in header.casefold()), "")
    if not found and shut:
        raise ExportError(f"{where}: the column {shut!r} of {book.system} takes no points. Columns that do: {there}.")
    what = f"{len(found)} such: {', '.join(repr(column.header) for column in found[:5])}" if found else f"those that take points: {there}"
    raise ExportError(f"{where}: --column {named!r}: expected a part of one column's header; found {what}.")


def _spelled_words(title: str) -> list[str]:
    return [spelled(word) for word in title.replace("_", " ").replace("-", " ").split()]


def _factor(column: Column, entries: Sequence[Entry], wanted: Wanted, where: str) -> float:
    """By what points are multiplied: 1, unless the file has another maximum and conversion was asked for."""
    ids = {check["id"] for entry in entries for check in entry.result["checks"]}
    if unknown := [pattern for pattern in (*wanted.only, *wanted.without) if not any(_named(check, [pattern]) for check in ids)]:
        raise ExportError(f"Expected checks among {', '.join(sorted(ids))}; found {', '.join(map(repr, unknown))}.")
    tops = {sum(in_total(check) for check in wanted.checks(entry)) for entry in entries}
    if bonus := tops == {0}:  # an item of its own, of which systems may know that it is one by a maximum of 0
        tops = {sum(check["max_points"] for check in wanted.checks(entry)) for entry in entries}
    if len(tops) != 1 or tops == {0}:
        found = ", ".join(f"{top:g}" for top in sorted(tops))
        raise ExportError(f"Expected results with one maximum above 0, found {found}: grade them again with one rubric.")
    top: float = tops.pop()
    if column.maximum is None or column.maximum == top or (bonus and column.maximum == 0):
        return 1.0
    if wanted.scale and column.maximum:
        return column.maximum / top
    raise ExportError(
        f"{where}, column {column.header!r}: its maximum is {column.maximum:g}, that of the results is {top:g}. "
        f"Set it to {top:g} in the system and get the file again, convert with --scale, or leave checks out with --without ID."
    )


def _demand_a_decision(entries: Sequence[Entry], wanted: Wanted, where: str) -> None:
    """Neither give points that the course's rule takes off, nor take them off where the system does that itself, without being told."""
    late = [entry for entry in entries if entry.late and entry.late.penalty]
    if late and not wanted.late_penalty:
        names = ", ".join(f"{entry.result['submission']} ({entry.late.penalty})" for entry in late[:5] if entry.late)
        raise ExportError(
            f"{where}: {len(late)} came late and have a penalty by the course's rule: {names}{', ...' if len(late) > 5 else ''}. "
            "The file has no column for it. Either --late-penalty take: points less the penalty are written; or --late-penalty leave: the "
            "points of the checks are written, for a system that takes it off itself, as Canvas does with a late policy."
        )
    parts = [entry.result["submission"] for entry in late if entry.late and entry.late.penalty.endswith(" points")]
    if parts and wanted.late_penalty == "take" and (wanted.only or wanted.without):
        raise ExportError(f"{where}: --late-penalty take: of a penalty in points no share belongs to the checks of --only or --without.")


def _fill(sheet: Sheet, book: Gradebook, column: Column, factor: float, entries: Sequence[Entry], roster: Roster, wanted: Wanted) -> Filled:
    matched = match_entries(entries, book, roster, wanted.pairs)
    filled = Filled(b"", book.system, column.header)
    filled.notices += [f"{name}: not exported: {reason}; decide with --match {name}=ID" for name, reason in matched.refused.items()]
    comma = _decimal_comma(sheet)
    changes: dict[tuple[int, int], str] = {}
    opened: list[str] = []
    commented: list[str] = []
    above: list[str] = []
    for entry in entries:
        name = entry.result["submission"]
        if name not in matched.lines:
            continue
        line = matched.lines[name]
        before = sheet.at(line.row, column.place).strip()
        counted = wanted.checks(entry)
        if any(check["points"] is None for check in counted):
            opened.append(name + (f" (keeps {before[:20]!r} of before)" if before.casefold() not in REPLACED else ""))
        elif reason := line.locked or _kept(before, book):
            filled.notices.append(f"{name}: not exported: {line.shown}: {reason}")
        else:
            points, taken = sum(check["points"] for check in counted), entry.penalty(counted)
            late = entry.late_line(counted) if wanted.late_penalty == "take" else ""
            if taken is None and late:
                filled.notices.append(f"{name}: not exported: {late}")
                continue
            taken = taken or 0.0
            given = (points - taken if late else points) * factor
            if column.maximum and given > column.maximum + 1e-6:
                if book.system == "moodle":
                    reason = f"{given:g} points, and Moodle takes no more than {column.maximum:g}: {NO_MORE}"
                    filled.notices.append(f"{name}: not exported: {reason}")
                    continue
                above.append(f"{name} {given:g}")
            filled.penalties += [f"{name} {points:g} - {taken:g}" + (f" = {points - taken:g}" if late else "")] if taken else []
            text = _points_text(given, comma)
            filled.written[name] = text
            filled.folders |= {name: moodle_folder(line, book.participant)} if book.participant else {}
            if _value(before) != _value(text):
                changes[line.row, column.place] = text
                filled.changed += [f"{name} {before} -> {text}"] if before.casefold() not in REPLACED else []
            if wanted.comments and not _comment(sheet, book, line, comment_on(entry.result, counted, late), changes):
                commented.append(name)
    filled.content = sheet.with_cells(changes)
    _check(sheet, filled.content, changes)
    if filled.penalties:
        done = "less what lateness costs" if wanted.late_penalty == "take" else "without what lateness costs, which is left to the system"
        filled.remarks.append(f"{len(filled.penalties)} points {done}: {', '.join(filled.penalties)}")
    if above:
        counts = ", which Brightspace counts where the item says Can Exceed" if book.system == "brightspace" else ""
        filled.remarks.append(f"{len(above)} have more than the maximum of {column.maximum:g}{counts}: {', '.join(above)}")
    if commented:
        filled.remarks.append(f"{len(commented)} had a comment already, which is kept: {', '.join(commented)}")
    _remark(filled, book, matched, opened)
    return filled


def _comment(sheet: Sheet, book: Gradebook, line: Line, text: str, changes: dict[tuple[int, int], str]) -> bool:
    """Plan a comment; False where a person's own stands there, which is kept."""
    place, its_format = book.comments
    assert place is not None
    before = sheet.at(line.row, place)
    if not is_ours(before):
        return False
    text = text.encode(sheet.encoding, "xmlcharrefreplace").decode(sheet.encoding)  # HTML can say any letter in any encoding
    if before != text:
        changes[line.row, place] = text
        if its_format is not None and sheet.at(line.row, its_format) != "HTML":
            changes[line.row, its_format] = "HTML"
    return True


def _kept(before: str, book: Gradebook) -> str:
    """Why a cell is left as it is: it says something that is no number."""
    if before.casefold() in REPLACED or _value(before) is not None:
        return ""
    meaning = f" ({book.kept[before]})" if before in book.kept else ""
    return f"the cell says {before[:40]!r}{meaning}, which is kept"


def _value(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _points_text(points: float, comma: bool) -> str:
    """At most two decimals, which is what systems show."""
    text = f"{points:.2f}".rstrip("0").rstrip(".")
    return text.replace(".", ",") if comma else text


def _decimal_comma(sheet: Sheet) -> bool:
    """Whether the numbers of a file have a comma, as those of German, French or Spanish accounts do."""
    cells = [text.strip() for row in sheet.texts[1:] for text in row]
    numbers = [text for text in cells if text.replace(",", "", 1).isdigit() or text.replace(".", "", 1).isdigit()]
    return any("," in text for text in numbers) and not any("." in text for text in numbers)


def _check(sheet: Sheet, content: bytes, changes: Mapping[tuple[int, int], str]) -> None:
    """Read what is about to be written: it must be the same table but for the changed cells."""
    expected = [list(row) for row in sheet.texts]
    for (row, place), text in changes.items():
        expected[row] += [""] * (place + 1 - len(expected[row]))
        expected[row][place] = text
    if parse_sheet(content, "the new file").texts != expected:
        raise ExportError("The filled file would differ in more than its points; nothing was written. Please report this.")


def _remark(filled: Filled, book: Gradebook, matched: Matched, opened: Sequence[str]) -> None:
    if opened:
        filled.remarks.append(f"{len(opened)} have open points, their cells stay as they are: {', '.join(opened)}")
    for name, how in matched.weak.items():
        filled.remarks.append(f"{name} was found by {how} alone: {matched.lines[name].shown}")
    taken = {line.row for line in matched.lines.values()}
    absent = [line for line in book.lines if line.row not in taken and not _test_student(line)]
    if absent:
        filled.remarks.append(f"{len(absent)} lines of the file have no result: {', '.join(line.shown for line in absent)}")


def _test_student(line: Line) -> bool:
    """Canvas's own."""
    return "Student, Test" in line.names
