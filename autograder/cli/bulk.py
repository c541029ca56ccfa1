"""What ``grade --bulk`` does before it grades."""

from collections.abc import Callable
from pathlib import Path

import click

from autograder.course.assignment import open_assignment
from autograder.course.rubric import RubricError
from autograder.handins.bulk.handins import read_bulk, write_handins
from autograder.handins.bulk.unpacking import BulkError
from autograder.handins.roster import RosterError

__all__ = ["bulk_submissions"]


def bulk_submissions(archive: Path, out: Path, roster: Path | None, due: str, assignment: str, say: Callable[[str], None]) -> list[Path]:
    """Take a bulk download apart below ``out/.handins`` and write ``out/handins.csv``.

    Args:
        archive: The zip.
        out: Folder of the results.
        roster: CSV of the class, or None.
        due: When the work was due, ISO 8601; empty for what the rubric says.
        assignment: Name of the assignment, or its folder.
        say: Receives one line per note.

    Returns:
        The submissions to grade; their base names are the students' names.

    Raises:
        click.UsageError: The export or the roster cannot be used.
    """
    try:
        rubric = open_assignment(assignment).rubric
        due = due or (rubric.due.isoformat() if rubric.due else "")
        handins, notes = read_bulk(archive, out / ".handins", roster, due, rubric.assignment)
    except (BulkError, RosterError, RubricError) as error:
        raise click.UsageError(str(error)) from error
    listing = write_handins(handins, out / "handins.csv")
    for note in notes:
        say(f"{archive.name}: {note}")
    for handin in handins:
        for note in handin.notes:
            say(f"{handin.name}: {note}")
    late = sum(bool(handin.lateness) for handin in handins)
    say(f"{len(handins)} hand-ins, {late} of them late; who, when and what else there was: {listing}")
    return [handin.path for handin in handins]
