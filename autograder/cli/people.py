"""What a class list tells the class page: names, addresses, sections."""

from collections.abc import Callable
from pathlib import Path

import click

from autograder.handins.roster import RosterError, read_roster
from autograder.report.people import Person, write_people

__all__ = ["keep_people"]


def keep_people(out: Path, roster: Path, say: Callable[[str], None] = lambda note: None) -> int:
    """Write ``people.csv`` of a class list beside the results; returns how many people there are.

    Args:
        out: Folder of the results.
        roster: The class list.
        say: Receives how the list was read, where there is something to say.

    Raises:
        click.UsageError: The list cannot be read.
        OSError: The file could not be written.
    """
    try:
        people = read_roster(roster)
    except RosterError as error:
        raise click.UsageError(str(error)) from None
    for note in people.notes:
        say(note)
    known = (Person(one.name, f"{one.first_name} {one.last_name}".strip(), one.email, ", ".join(one.sections)) for one in people.students)
    write_people(known, out)
    return len(people.students)
