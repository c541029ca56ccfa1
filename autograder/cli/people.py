"""What a class list tells the class page: names, addresses, sections."""

from pathlib import Path

import click

from autograder.handins.roster import RosterError, read_roster
from autograder.report.people import Person, write_people

__all__ = ["keep_people"]


def keep_people(out: Path, roster: Path) -> int:
    """Write ``people.csv`` of a class list beside the results; returns how many people there are.

    Raises:
        click.UsageError: The list cannot be read.
        OSError: The file could not be written.
    """
    try:
        students = read_roster(roster).students
    except RosterError as error:
        raise click.UsageError(str(error)) from None
    people = (Person(one.name, f"{one.first_name} {one.last_name}".strip(), one.email, ", ".join(one.sections)) for one in students)
    write_people(people, out)
    return len(students)
