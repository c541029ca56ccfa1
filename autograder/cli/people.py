"""What a class list tells the class page: names, addresses, sections."""

import re
from collections.abc import Sequence
from pathlib import Path

import click

from autograder.handins.roster import Roster, RosterError, read_roster
from autograder.report.people import Person, write_people
from autograder.report.tables import Table, read_table

__all__ = ["keep_people"]

SECTIONS = tuple("section sections section_name kurs übung übungsgruppe gruppe gruppen group groups groupe grupo".split())


def keep_people(out: Path, roster: Path) -> int:
    """Write ``people.csv`` of a class list beside the results; returns how many people there are.

    Raises:
        click.UsageError: The list cannot be read.
        OSError: The file could not be written.
    """
    try:
        people = read_roster(roster)
    except RosterError as error:
        raise click.UsageError(str(error)) from None
    sections = _sections(read_table(roster), people)
    write_people(
        (
            Person(one.name, f"{one.first_name} {one.last_name}".strip(), one.email, ", ".join(sections.get(one.name, ())))
            for one in people.students
        ),
        out,
    )
    return len(people.students)


def _sections(table: Table, people: Roster) -> dict[str, list[str]]:
    """Name of a student -> sections, in the order of the list; a student may stand in several lines."""
    plain = {re.sub(r"\W+", "_", column.strip().casefold()): column for column in table.header}
    column = next((plain[name] for name in SECTIONS if name in plain), "")
    found: dict[str, list[str]] = {}
    for row in table.rows if column else ():
        who = _who([text.strip().removeprefix("#") for name, text in row.items() if name != column], people)
        if who and (section := row[column].strip()) and section not in found.setdefault(who, []):
            found[who].append(section)
    return found


def _who(cells: Sequence[str], people: Roster) -> str:
    students = people.find(*cells)
    if len(students) != 1:
        students = next((named for cell in cells if len(named := people.find(full_name=cell)) == 1), [])
    return students[0].name if students else ""
