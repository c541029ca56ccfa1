"""What is known of a class before its hand-ins are read: who is in it, what was decided, when the work was due."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.handins.bulk.late import Terms, read_leaves, read_rule
from autograder.handins.bulk.people import Decisions, read_decisions
from autograder.handins.bulk.times import TimeError, read_time, shown_time
from autograder.handins.bulk.unpacking import BulkError
from autograder.handins.roster import Roster, read_roster

__all__ = ["Known", "know"]


@dataclass(frozen=True)
class Known:
    """A class, as far as it is known beforehand.

    Attributes:
        roster: The class list; empty if there is none.
        decisions: Whose a hand-in is, where its name does not say it.
        terms: When the work was due, and what lateness costs.
        notes: How all that was read, for people.
    """

    roster: Roster = field(default_factory=Roster)
    decisions: Decisions = field(default_factory=Decisions)
    terms: Terms = field(default_factory=Terms)
    notes: tuple[str, ...] = ()


def know(
    roster: Path | None, due: str = "", zone: datetime.tzinfo = datetime.UTC, late: Path | None = None, penalty: str = "",
    places: Sequence[Path] = (),
) -> Known:  # fmt: skip
    """Read what is known of a class.

    Args:
        roster: Its list, or None.
        due: When the work was due; empty if nobody says.
        zone: What times without a zone mean.
        late: Who was granted what, or None.
        penalty: What lateness costs; empty for nothing.
        places: Folders in which ``decisions.csv`` may lie, after that of the roster.

    Raises:
        BulkError: Something cannot be read.
        RosterError: The roster cannot be read.
    """
    people = read_roster(roster) if roster else Roster()
    notes = list(people.notes)
    limit = None
    if due:
        try:
            limit, note = read_time(due, zone, latest=True)
        except TimeError as error:
            raise BulkError(f"The due date: {error}.") from error
        notes += [f"due {shown_time(limit, zone)}", *([note] if note else [])]
    leaves = read_leaves(late, people, zone) if late else {}
    rule = read_rule(penalty)
    if rule and limit is None and not any(leave.until for leave in leaves.values()):
        raise BulkError("--penalty: expected a due date too: --due, or `due` in the rubric.")
    decisions = read_decisions([*([roster.parent] if roster else []), *places], people)
    return Known(people, decisions, Terms(limit, zone, rule, leaves), tuple(notes))
