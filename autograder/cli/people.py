"""What a class list tells the class page: names, addresses, sections."""

from pathlib import Path

import click

from autograder.handins.roster import Roster, RosterError, read_roster
from autograder.report.labels import clean_text
from autograder.report.people import Person, write_people

__all__ = ["keep_people", "say_notes"]


def say_notes(roster: Roster) -> None:
    """Say how a class list was read, where there is something to say."""
    for note in roster.notes:
        click.echo(clean_text(note))


def keep_people(out: Path, roster: Path) -> Roster:
    """Write ``people.csv`` of a class list beside the results; returns the list as it was read, with notes for people.

    Args:
        out: Folder of the results.
        roster: The class list.

    Raises:
        click.UsageError: The list cannot be read.
        OSError: The file could not be written.
    """
    try:
        people = read_roster(roster)
    except RosterError as error:
        raise click.UsageError(str(error)) from None
    known = (Person(one.name, f"{one.first_name} {one.last_name}".strip(), one.email, ", ".join(one.sections)) for one in people.students)
    write_people(known, out)
    return people
