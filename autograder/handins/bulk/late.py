"""How late a hand-in is, by due date, extensions and free days; and what a rule takes off for that."""

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autograder.handins.bulk.people import one_student
from autograder.handins.bulk.times import TimeError, read_time, shown_time
from autograder.handins.bulk.unpacking import BulkError, Problem
from autograder.handins.roster import Roster
from autograder.report.sheets import TableError
from autograder.report.tables import read_table

__all__ = ["Lateness", "Leave", "Rule", "Terms", "read_leaves", "read_rule"]

EVERYBODY = "*"
UNITS = {"min": datetime.timedelta(minutes=1), "h": datetime.timedelta(hours=1), "d": datetime.timedelta(days=1)}
RULE = re.compile(
    r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>%|points?)(?P<of>\s+of\s+(?:the\s+)?score)?\s+(?:per|a)\s+(?P<each>day|hour)"
    r"(?:,?\s+at\s+most\s+(?P<most>\d+(?:\.\d+)?)\s*(?:%|points?))?"
)


@dataclass(frozen=True)
class Rule:
    """What lateness costs.

    Attributes:
        text: As it was given.
        amount: For each day or hour that has begun.
        unit: ``"%"`` (of the maximum), ``"% of score"`` or ``"points"``.
        each: The length of a step.
        most: Never more than that.
    """

    text: str
    amount: float
    unit: str
    each: datetime.timedelta
    most: float = math.inf

    def costs(self, late: datetime.timedelta) -> float:
        """In the rule's unit; 0 where nothing was late."""
        return min(self.amount * max(0, math.ceil(late / self.each)), self.most)

    def shown(self, late: datetime.timedelta) -> str:
        """``20%``, ``5 points``; empty where nothing is taken off."""
        amount = self.costs(late)
        return f"{amount:g}{' ' * (self.unit == 'points')}{self.unit}" if amount else ""


@dataclass(frozen=True)
class Leave:
    """What was granted.

    Attributes:
        until: Another due date.
        longer: How much later than the due date.
        days: Late days that cost nothing; the hand-in is late all the same.
        submitted: When it came, where a person knows better than the download.
    """

    until: datetime.datetime | None = None
    longer: datetime.timedelta = datetime.timedelta()
    days: float = 0
    submitted: datetime.datetime | None = None


@dataclass(frozen=True)
class Terms:
    """When the work was due and what lateness costs.

    Attributes:
        due: For all; None where nobody said.
        zone: What times without a zone mean.
        rule: What lateness costs, if anything.
        leaves: Name in results -> what was granted; under ``*`` to everybody.
    """

    due: datetime.datetime | None = None
    zone: datetime.tzinfo = datetime.UTC
    rule: Rule | None = None
    leaves: Mapping[str, Leave] = field(default_factory=dict)

    def of(self, name: str, submitted: datetime.datetime | None, said_late: bool) -> "Lateness":
        """How late the hand-in of this name is.

        Args:
            name: Name in results.
            submitted: When it came, if that is known.
            said_late: The system calls it late.
        """
        own, every = self.leaves.get(name, Leave()), self.leaves.get(EVERYBODY, Leave())
        due = own.until or every.until or self.due
        longer = max(own.longer, every.longer)
        due = due + longer + self._put_back(due, due + longer) if due else None
        submitted = own.submitted or submitted
        notes = [f"due {shown_time(due, self.zone)} for this student"] if due and due != self.due and name in self.leaves else []
        came, ended = (moment.astimezone(self.zone).isoformat(timespec="seconds") if moment else "" for moment in (submitted, due))
        if not (due and submitted):
            if said_late and (self.rule or name in self.leaves):
                notes.append(Problem("late by the system's word, by how much is unknown: write `submitted` into the file of --late"))
            return Lateness(came, ended, "late" if said_late else "", "", notes)
        if submitted <= due:
            return Lateness(came, ended, "", "", notes)
        late = submitted - due - self._put_back(due, submitted)
        free = datetime.timedelta(days=max(own.days, every.days))
        notes += [f"{free / UNITS['d']:g} late days are free"] * bool(free)
        return Lateness(came, ended, _duration(late), self.rule.shown(late - free) if self.rule else "", notes)

    def _put_back(self, one: datetime.datetime, other: datetime.datetime) -> datetime.timedelta:
        """By how much clocks were put back between two moments that are a day or more apart: a day later is the same time by the clock.
        Where they were put forward it is 24 hours later, in the student's favour."""
        (before, after), nothing = (moment.astimezone(self.zone).utcoffset() for moment in (one, other)), datetime.timedelta()
        return max((before or nothing) - (after or nothing), nothing) if other - one >= UNITS["d"] else nothing


@dataclass(frozen=True)
class Lateness:
    """How late a hand-in is.

    Attributes:
        came, ended: When it was handed in and due, ISO 8601 in the stated zone; empty where nobody says.
        shown: Empty (in time, or unknown), ``"late"`` (how much is unknown), ``"1 d 2 h"``.
        penalty: What the rule takes off: ``"20%"``, ``"5 points"``; empty for nothing.
        notes: What was granted, and what is unclear.
    """

    came: str
    ended: str
    shown: str
    penalty: str
    notes: list[str]


def read_rule(text: str) -> Rule | None:
    """A rule such as ``10% per day``, ``5 points per day, at most 20 points`` or ``2% of score per hour``; None for an empty text.

    Raises:
        BulkError: It is none.
    """
    match = RULE.fullmatch(text.strip())
    if not match:
        if not text.strip():
            return None
        raise BulkError(
            "--penalty: expected a rule such as '10% per day', '5 points per day, at most 20 points' or '2% of score per hour', "
            f"found {text!r}."
        )
    unit = "points" if match["unit"] != "%" else "% of score" if match["of"] else "%"
    most = float(match["most"]) if match["most"] else math.inf if unit == "points" else 100.0
    return Rule(text.strip(), float(match["amount"]), unit, datetime.timedelta(**{f"{match['each']}s": 1}), most)


def read_leaves(path: Path, roster: Roster, zone: datetime.tzinfo) -> dict[str, Leave]:
    """Read who was granted what: a table with ``id`` and any of ``extension``, ``days``, ``submitted``; ``*`` means everybody.

    Raises:
        BulkError: It cannot be read, or a line names nobody or no time.
    """
    try:
        table = read_table(path)
    except TableError as error:
        raise BulkError(str(error)) from error
    columns = {name.casefold(): name for name in table.header}
    if "id" not in columns or not columns.keys() & {"extension", "days", "submitted"}:
        raise BulkError(f"{path}: expected a header with id and extension, days or submitted; found {','.join(table.header)!r}.")
    leaves: dict[str, Leave] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        where = f"{path}, line {line}"
        cells = {word: row[column].strip() for word, column in columns.items()}
        name = cells["id"]
        if name != EVERYBODY and (roster.students or not name):
            name = one_student(name, roster, where, f"{EVERYBODY} for everybody").name
        if name in leaves:
            raise BulkError(f"{where}: expected each student once, found {cells['id']} again.")
        leaves[name] = _leave(cells, zone, where)
    return leaves


def _leave(cells: Mapping[str, str], zone: datetime.tzinfo, where: str) -> Leave:
    extension, days, submitted = (cells.get(word, "") for word in ("extension", "days", "submitted"))
    try:
        longer = _span(extension)
        until = read_time(extension, zone, latest=True)[0] if extension and longer is None else None
        came = read_time(submitted, zone)[0] if submitted else None
        free = float(days.replace(",", ".") or 0)
    except TimeError as error:
        raise BulkError(f"{where}: {error}.") from error
    except ValueError as error:
        raise BulkError(f"{where}: expected a number of days such as 2, found {days!r}.") from error
    if not 0 <= free < 10_000:
        raise BulkError(f"{where}: expected a number of days such as 2, found {days!r}.")
    return Leave(until, longer or datetime.timedelta(), free, came)


def _span(text: str) -> datetime.timedelta | None:
    """``15 min``, ``36 h``, ``2 d``, ``2 days``; None for anything else."""
    match = re.fullmatch(r"(\d{1,5}(?:[.,]\d+)?)\s*(min|h|d)(?:utes?|ours?|ays?)?", text)
    return float(match[1].replace(",", ".")) * UNITS[match[2]] if match else None


def _duration(late: datetime.timedelta) -> str:
    """``1 d 2 h``, ``35 min``: the two largest units, at least one minute."""
    days, minutes = divmod(max(1, round(late.total_seconds() / 60)), 24 * 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{value} {unit}" for value, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if value]
    return " ".join(parts[:2])
