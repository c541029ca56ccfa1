"""Whose a hand-in is: of all readings of its name those that fit the roster, or what a person decided.

Nobody gets somebody else's points: where two readings fit two students, or an id fits one and the name beside it another, nobody is
chosen, and ``decisions.csv`` gets a line that says whose it is.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.handins.bulk.systems import Reading
from autograder.handins.bulk.unpacking import BulkError, Problem
from autograder.handins.roster import Roster, Student
from autograder.report.sheets import TableError
from autograder.report.tables import read_table

__all__ = ["DECISIONS", "NOBODY", "Decisions", "Verdict", "one_student", "read_decisions", "whose"]

DECISIONS = "decisions.csv"
COLUMNS = ("handin", "student")
NOBODY = "-"
MOST_NAMED = 5

# How well a reading fits: by its id and its name, by its id, by its name, by an id but for zeros in front.
BOTH, BY_ID, BY_NAME, BY_BARE_ID = 3, 2, 1, 0


@dataclass(frozen=True)
class Decisions:
    """What a person wrote into ``decisions.csv``.

    Attributes:
        path: The file in which lines are asked for.
        students: Key of a hand-in -> the students to whom it belongs; none of them: it is left out.
    """

    path: Path | None = None
    students: Mapping[str, tuple[Student, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Whose a hand-in is.

    Attributes:
        reading: The reading that holds.
        students: They; none where nobody was found.
        notes: Doubts; a ``Problem`` where a person must decide.
        dropped: A person decided that it is nobody's.
    """

    reading: Reading
    students: tuple[Student, ...] = ()
    notes: tuple[str, ...] = ()
    dropped: bool = False


def read_decisions(places: Iterable[Path], roster: Roster) -> Decisions:
    """Read ``decisions.csv`` of these folders, where it is there; lines that are missing are asked for in the first.

    Raises:
        BulkError: A file cannot be read, a line names nobody of the roster, or two files decide otherwise.
    """
    paths = list(dict.fromkeys(place / DECISIONS for place in places))
    found: dict[str, tuple[Student, ...]] = {}
    for path in paths:
        for key, students in _decided(path, roster).items() if path.is_file() else ():
            if found.setdefault(key, students) != students:
                raise BulkError(f"{path} decides otherwise of {key!r} than {paths[0]}. Delete one of the two lines.")
    return Decisions(paths[0] if paths else None, found)


def _decided(path: Path, roster: Roster) -> dict[str, tuple[Student, ...]]:
    try:
        table = read_table(path)
    except TableError as error:
        raise BulkError(str(error)) from error
    if missing := [column for column in COLUMNS if column not in table.header]:
        raise BulkError(f"{path}: expected the header {','.join(COLUMNS)}; {missing[0]} is not in it.")
    found: dict[str, tuple[Student, ...]] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        key, wanted = (row[column].strip() for column in COLUMNS)
        students = () if wanted == NOBODY else (one_student(wanted, roster, f"{path}, line {line}", f"{NOBODY} for nobody"),)
        if key in found and (not students or not found[key]):
            raise BulkError(f"{path}, line {line}: {key!r} is decided twice. Several lines for one hand-in make a group.")
        found[key] = (*found.get(key, ()), *students)
    return found


def one_student(wanted: str, roster: Roster, where: str, otherwise: str) -> Student:
    """The student whom a person wrote into a table, by name in results, id or full name.

    Args:
        wanted: What was written.
        roster: The class.
        where: File and line, for the error.
        otherwise: What else could stand there, for the error.

    Raises:
        BulkError: It fits nobody, or several.
    """
    student = roster.by_name(wanted)
    fits = [student] if student else roster.find(wanted, full_name=wanted)
    if len(fits) != 1:
        what = f"it fits {len(fits)} students" if fits else "nobody of the roster has it"
        raise BulkError(f"{where}: expected the id or full name of a student of the roster, or {otherwise}; found {wanted!r}: {what}.")
    return fits[0]


def whose(readings: Sequence[Reading], roster: Roster, decisions: Decisions) -> Verdict:
    """Whose a file is.

    Args:
        readings: All readings of its name, the likeliest first.
        roster: The class; empty if there is none: then the likeliest reading holds.
        decisions: What a person decided.
    """
    for reading in readings:
        if reading.key in decisions.students:
            students = decisions.students[reading.key]
            return Verdict(reading, students, dropped=not students)
    if not roster.students:
        return Verdict(readings[0])
    fits = [fit for reading in readings for fit in _fits(reading, roster)]
    best = max((fit.how for fit in fits), default=None)
    leading = [fit for fit in fits if fit.how == best or (best == BY_ID and fit.how == BY_NAME)]
    parties = {frozenset(fit.students): fit for fit in reversed(leading)}
    if len(parties) != 1:
        return Verdict(readings[0], (), (_undecided(readings[0], leading, decisions),))
    (chosen,) = parties.values()
    return Verdict(chosen.reading, chosen.students, tuple(_zeros(chosen, roster)))


@dataclass(frozen=True)
class _Fit:
    """A reading that fits students; more than one at once are a group."""

    reading: Reading
    students: tuple[Student, ...]
    how: int


def _fits(reading: Reading, roster: Roster) -> list[_Fit]:
    """All that a reading fits."""
    ids = [text.removeprefix("#") for text in reading.ids]
    by_id = {student.name: student for text in ids if text for student in roster.find(text)}
    by_name = {student.name: student for student in roster.named(reading.name)}
    if reading.beside:
        by_id = {name: student for name, student in by_id.items() if name in by_name}
    if reading.participant:
        by_id |= {student.name: student for student in roster.students if student.participant == reading.participant}
    bare = {student.name: student for text in ids for student in roster.find_bare(text)}
    group = roster.group(reading.name)
    if by_id.keys() & {student.name for student in group}:
        return [_Fit(reading, group, BOTH)]
    fits = [_Fit(reading, (student,), BOTH if name in by_name else BY_ID) for name, student in by_id.items()]
    fits += [_Fit(reading, (student,), BOTH if name in bare else BY_NAME) for name, student in by_name.items() if name not in by_id]
    fits += [_Fit(reading, group, BY_NAME)] if group else []
    return fits or [_Fit(reading, (student,), BY_BARE_ID) for student in bare.values() if not reading.beside]


def _zeros(fit: _Fit, roster: Roster) -> list[str]:
    """A note where the id was found but for zeros in front."""
    ids = [text for text in fit.reading.ids if not roster.find(text)]
    if not any(student in fit.students for text in ids for student in roster.find_bare(text)):
        return []
    return [f"{fit.reading.key!r} differs from the id of {fit.students[0].name} by zeros in front alone: a spreadsheet takes them away"]


def _undecided(reading: Reading, fits: Sequence[_Fit], decisions: Decisions) -> Problem:
    """What is to be decided, and the lines that decide it."""
    where = decisions.path or DECISIONS
    head = f" (its first line is {','.join(COLUMNS)})"
    if not fits:
        hidden = "; its name is hidden: with Moodle's grading worksheet as --roster, or once names are shown, it is found" * reading.hidden
        return Problem(
            f"{reading.key!r} is not in the roster: decide by hand. Write {_line(reading.key, 'ID')} into {where}{head}, with the id of a "
            f"student of the roster, or {NOBODY} to leave it out{hidden}"
        )
    lines = list(dict.fromkeys(_line(fit.reading.key, student.name) for fit in fits for student in fit.students))
    who = list(dict.fromkeys(student.shown for fit in fits for student in fit.students))
    more = ", ..." if len(who) > MOST_NAMED else ""
    return Problem(
        f"{reading.key!r} fits {len(who)} students of the roster ({', '.join(who[:MOST_NAMED])}{more}): decide by hand. Write one of these "
        f"lines into {where}{head}: {' or '.join(lines[:MOST_NAMED])}"
    )


def _line(*cells: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
