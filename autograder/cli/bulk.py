"""What ``grade`` and ``collect`` do with a bulk download, or with the repositories of a roster, before they look at any hand-in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from autograder.course.assignment import open_assignment
from autograder.course.rubric import Rubric, RubricError
from autograder.handins.bulk.handins import looks_like_bulk, notes_of, of_before, read_bulk, write_handins
from autograder.handins.bulk.known import Known, know
from autograder.handins.bulk.repositories import read_repositories
from autograder.handins.bulk.times import TimeError, zone_named
from autograder.handins.bulk.unpacking import BulkError, Problem
from autograder.handins.roster import RosterError
from autograder.report.labels import clean_text

__all__ = ["BulkOptions", "HandIns", "bulk_handins", "bulk_options", "demand_one_source", "known_of", "say_problems"]


@dataclass(frozen=True)
class BulkOptions:
    """What was asked for on the command line."""

    bulk: Path | None
    roster: Path | None
    due: str
    zone: str
    late: Path | None
    penalty: str


@dataclass(frozen=True)
class HandIns:
    """The submissions (their base names are the students' names), and what must not be passed over with exit status 0."""

    paths: list[Path]
    problems: list[str]


def bulk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that ``grade`` and ``collect`` share."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    options = (
        click.option(
            "--bulk",
            type=click.Path(exists=True, path_type=Path),
            help="Bulk download of Canvas, Moodle, Gradescope, Blackboard, Brightspace: zip, or the folder that it became; "
            "or nbgrader's inbound or submitted.",
        ),
        click.option("--roster", type=file, help="The class: CSV or .xlsx. With a column of repositories and no --bulk these are fetched."),
        click.option("--due", default="", help="When the work was due, such as 2026-03-14T23:59.  [default: as the rubric says]"),
        click.option("--zone", default="", help="What times without an offset mean: Europe/Berlin.  [default: this machine's]"),
        click.option("--late", type=file, help="Who was granted what: a table with id and extension, days or submitted."),
        click.option("--penalty", default="", help="What lateness costs, such as '10% per day, at most 50%'; points stay as they are."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def known_of(options: BulkOptions, rubric: Rubric, places: Sequence[Path]) -> Known:
    """What the command line and the rubric say of the class. Raises BulkError, RosterError, TimeError.

    Args:
        options: What was asked for.
        rubric: Says when the work was due, where the command line does not.
        places: Where decisions may lie.
    """
    due = options.due or (rubric.due.isoformat() if rubric.due else "")
    return know(options.roster, due, zone_named(options.zone), options.late, options.penalty, places)


def bulk_handins(options: BulkOptions, out: Path, assignment: str, say: Callable[[str], None], listing: str = "handins.csv") -> HandIns:
    """Take a bulk download apart below ``out/.handins``, or fetch repositories there, and list who handed in what.

    Args:
        options: What was asked for.
        out: Folder of the results.
        assignment: Name of the assignment, or its folder.
        say: Receives one line per note.
        listing: Where below ``out`` the list goes.

    Raises:
        click.UsageError: Something cannot be used.
    """
    source = options.bulk or options.roster
    assert source is not None
    try:
        rubric = open_assignment(assignment).rubric
        known = known_of(options, rubric, [out, *([options.bulk.parent] if options.bulk else [])])
        if options.bulk:
            handins, notes = read_bulk(options.bulk, out / ".handins", known, rubric.assignment)
        elif not any(student.repository for student in known.roster.students):
            raise BulkError(f"{source}: expected a column repository with addresses or folders, or --bulk EXPORT.zip.")
        else:
            handins, notes = read_repositories(known, source.parent, out / ".handins", say)
    except (BulkError, RosterError, RubricError, TimeError) as error:
        raise click.UsageError(str(error)) from error
    listed = write_handins(handins, out / listing)
    notes += of_before(out / ".handins", {handin.name for handin in handins}, out)
    told = notes_of(source.name, handins, notes)
    for note in told:
        say(clean_text(note))
    late = sum(bool(handin.lateness) for handin in handins)
    say(f"{len(handins)} hand-ins, {late} of them late; who, when and what else there was: {listed}")
    return HandIns([handin.path for handin in handins], [clean_text(note) for note in told if isinstance(note, Problem)])


def say_problems(problems: Sequence[str], say: Callable[[str], None]) -> None:
    """Repeat at the end what a person has to look at."""
    if problems:
        say(f"{len(problems)} things wait for you:")
    for problem in problems:
        say(f"  {problem}")


def demand_one_source(submissions: Sequence[Path], options: BulkOptions, command: str) -> None:
    """Demand single submissions, or a whole class, and no option that would be passed over.

    Raises:
        click.UsageError: There is neither or both, or a download of a whole class was given as one student's work.
    """
    if missing := [str(path) for path in submissions if not path.exists()]:
        raise click.UsageError(f"no such submission: {', '.join(missing[:5])}")
    if (submissions and options.bulk) or not (submissions or options.bulk or options.roster):
        raise click.UsageError(
            f"expected something to {command}: either SUBMISSIONS (folders or zips), or --bulk EXPORT.zip, or --roster with repositories"
        )
    whole = ("due", "zone", "late", "penalty", *(("roster",) if command == "collect" else ()))  # class pages name those of a roster
    unused = [f"--{name}" for name in whole if getattr(options, name)]
    if submissions and unused:
        raise click.UsageError(
            f"{', '.join(unused)}: expected --bulk too, for single submissions do not say when they were handed in. nbgrader's folders "
            "submitted and inbound can be given to --bulk"
        )
    for path in submissions:
        if system := looks_like_bulk(path):
            raise click.UsageError(
                f"{path} is a bulk download of {system} with several students, not one submission: "
                f"python -m autograder {command} --bulk {path} --roster roster.csv ..."
            )
