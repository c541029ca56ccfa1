"""Whose line of a gradebook file a result belongs to. Where that is not certain, it belongs to none, and the reason is said.

A result is looked for by id first (its own name, and what the roster knows of the student: ids, login, mail address), then by the
number at its end that Canvas and Moodle write into the names of downloads, then (without a roster) by the mail address before its
``@``, then by full name. Names count only where nothing contradicts them. No line is given to two results.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autograder.export.entries import Entry, ExportError
from autograder.export.lms import Gradebook, Line
from autograder.handins.roster import Roster, Student, folder_name, spelled
from autograder.report.tables import repaired

__all__ = ["Matched", "match_entries", "student_of"]

WEAK = ("the mail address before its @", "full name")
NUMBERED = re.compile(r"(?P<name>.*)_(?P<number>\d+)")


@dataclass(frozen=True)
class Matched:
    """Which result is on which line.

    Attributes:
        lines: Name of a result -> its line.
        weak: Names of results that were found by name or by a mail address without its host, and not by an id -> how.
        refused: Name of a result -> why it has no line.
    """

    lines: Mapping[str, Line]
    weak: Mapping[str, str]
    refused: Mapping[str, str]


def student_of(name: str, roster: Roster) -> Student | None:
    """The student whose result has this name, or else the only one to whom it belongs as an id."""
    found = roster.find(name)
    return roster.by_name(name) or (found[0] if len(found) == 1 else None)


def match_entries(entries: Sequence[Entry], book: Gradebook, roster: Roster, pairs: Mapping[str, str]) -> Matched:
    """Find the line of each result.

    Args:
        entries: The results.
        book: The gradebook file.
        roster: The class; empty if there is none.
        pairs: Name of a result -> an id, login, mail address or full name of its line, as a person decided.

    Raises:
        ExportError: A pair names no result, or not one line.
    """
    results = {name: student_of(name, roster) for entry in entries if (name := entry.result["submission"])}
    finder = _Finder(book, roster)
    lines = {name: _decided(name, pairs[name], results, finder) for name in pairs}
    weak: dict[str, str] = {}
    refused: dict[str, str] = {}
    columns: dict[str, str] = {}  # name of a result -> the column by which its own name was found
    for name, student in results.items():
        if name in lines:
            continue
        found, how = finder.find(name, student)
        if len(found) != 1:
            refused[name] = f"fits {len(found)} lines: {_listed(found)}" if found else f"is not in the file{finder.nearly(name, student)}"
        elif reason := _contradiction(name, student, found[0], certain=how == "id"):
            refused[name] = f"fits {found[0].shown}, but {reason}"
        else:
            lines[name] = found[0]
            weak |= {name: how} if how in WEAK else {}
            columns |= {name: finder.column(name, found[0])} if how == "id" and name.isdigit() and not _name_of(name, student) else {}
    count = Counter(entry.result["submission"] for entry in entries)
    for name in [name for name in results if count[name] > 1]:
        refused[name] = f"{count[name]} results have this name"
    _refuse_odd_columns(columns, lines, refused)
    _refuse_shared(lines, refused)
    return Matched(lines, {name: how for name, how in weak.items() if name in lines}, refused)


def _decided(name: str, key: str, results: Mapping[str, Student | None], finder: "_Finder") -> Line:
    if name not in results:
        raise ExportError(f"--match {name}={key}: expected the name of a result, found {name!r}, of which there is none.")
    found = finder.by_id({key}) or finder.by_name({_sorted_words(key)})
    if len(found) != 1:
        what = f"it fits {len(found)}: {_listed(found)}" if found else "it fits none"
        raise ExportError(f"--match {name}={key}: expected an id, login, mail address or full name of one line of the file; {what}.")
    return found[0]


def _refuse_odd_columns(columns: Mapping[str, str], lines: dict[str, Line], refused: dict[str, str]) -> None:
    """A bare number may be of one kind (a matriculation number) and stand by chance in a column of another (Canvas's own ids)."""
    usual = Counter(columns.values()).most_common(1)
    for name, column in columns.items():
        if column != usual[0][0] and name in lines:
            refused[name] = f"fits {lines.pop(name).shown} by {column}, but the other results are found by {usual[0][0]}"


def _refuse_shared(lines: dict[str, Line], refused: dict[str, str]) -> None:
    count = Counter(line.row for line in lines.values())
    for name, line in list(lines.items()):
        if count[line.row] > 1:
            others = sorted(other for other, its in lines.items() if its.row == line.row and other != name)
            refused[name] = f"fits {line.shown}, and so does {', '.join(others)}"
    for name in refused:
        lines.pop(name, None)


def _listed(lines: Sequence[Line]) -> str:
    return ", ".join(line.shown for line in lines[:5]) + (", ..." if len(lines) > 5 else "")


def _contradiction(name: str, student: Student | None, line: Line, certain: bool) -> str:
    """What speaks against a match: another name in the same letters, or another mail address where only names agreed."""
    ours = _name_of(name, student)
    if ours and line.names and not any(_alike(ours, theirs) for theirs in line.names):
        return f"the name there is another than {ours[:60]}"
    if not certain and student and student.email and line.email and student.email.casefold() != line.email.casefold():
        return f"the mail address there is another than {student.email[:80]}"
    return ""


def _name_of(name: str, student: Student | None) -> str:
    """The full name as the roster or a download says it, or empty."""
    if student:
        return f"{student.first_name} {student.last_name}".strip()
    match = NUMBERED.fullmatch(name)
    return match["name"] if match else ""


def _alike(one: str, other: str) -> bool:
    """Whether two names could be one person's: a word in common, or letters that cannot be compared."""
    if not (re.search("[a-z]", spelled(one)) and re.search("[a-z]", spelled(other))):
        return True
    words = [(_words(a), spelled(repaired(b))) for a, b in ((one, other), (other, one))]
    return any(len(word) > 1 and word in whole for parts, whole in words for word in parts)


def _words(name: str) -> list[str]:
    return [word for text in re.split(r"[\W_]+", repaired(name)) if (word := spelled(text))]


def _sorted_words(name: str) -> str:
    """A name without regard to the order of its words: ``Lovelace, Ada`` is ``Ada Lovelace``."""
    return " ".join(sorted(_words(name)))


class _Finder:
    """Looks for lines by what identifies them."""

    def __init__(self, book: Gradebook, roster: Roster) -> None:
        self.lines, self.participant = book.lines, book.participant
        self.namesakes = Counter(_sorted_words(f"{student.first_name} {student.last_name}") for student in roster.students)

    def find(self, name: str, student: Student | None) -> tuple[list[Line], str]:
        """Lines that fit, and by what. An id that fits any line counts more than all that comes after it."""
        email = student.email if student else ""
        local = email.partition("@")[0].casefold()
        ids = {name.casefold(), *(student.ids if student else ())} - {""}
        if found := self.by_id(ids - {local}):
            return found, "id"
        if local and (found := self.by_id({local})):
            return found, "login"
        match = NUMBERED.fullmatch(name)
        if match and (found := self._by_number(match["number"])):
            return found, "number"
        if not student and (found := [line for line in self.lines if _keys(line.email.partition("@")[0]) & _keys(name)]):
            return found, WEAK[0]
        words = _sorted_words(_name_of(name, student) or name)
        return self.by_name({words} - {""}) if self.namesakes[words] < 2 else [], WEAK[1]

    def by_id(self, ids: Iterable[str]) -> list[Line]:
        wanted = _all_keys(ids)
        return [line for line in self.lines if any(_keys(text) & wanted for text in line.ids.values())]

    def by_name(self, names: set[str]) -> list[Line]:
        return [line for line in self.lines if any(_sorted_words(text) in names for text in line.names)]

    def column(self, name: str, line: Line) -> str:
        """The column in which a name stands on a line."""
        return next((column for column, text in line.ids.items() if _keys(text) & _keys(name)), "")

    def nearly(self, name: str, student: Student | None) -> str:
        """A remark where a line differs by leading zeros alone."""
        bare = {text.lstrip("0") for text in (name, *(student.ids if student else ())) if text.isdigit()}
        zeros = [line for line in self.lines if any(text.isdigit() and text.lstrip("0") in bare for text in line.ids.values())]
        if not zeros:
            return ""
        return f"; {_listed(zeros)} differs by leading zeros alone: a spreadsheet takes them away, so get the file from the system again"

    def _by_number(self, number: str) -> list[Line]:
        """Canvas's id, or the number of Moodle's participant."""
        if not self.participant:
            return [line for line in self.lines if line.ids.get("id") == number]
        return [line for line in self.lines if re.fullmatch(rf"\D*{number}", line.ids.get(self.participant, ""))]


def _all_keys(texts: Iterable[str]) -> set[str]:
    return {key for text in texts for key in _keys(text)}


def _keys(text: str) -> set[str]:
    """An id as it stands, and as the name of a folder."""
    return {text.strip().casefold(), folder_name(text.strip()).casefold()} - {""} if text.strip() else set()
