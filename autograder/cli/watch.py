"""``python -m autograder watch``: grades what comes in, for weeks."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from autograder.cli.beforehand import demand_pictures, in_words, strange_handins
from autograder.cli.grade import grade_command

__all__ = ["watch_command"]

MOST_TOLD = 50
LIKE_GRADE = (
    "out", "assignment", "data", "gate_data", "checkpoints", "jobs", "memory", "require_isolation", "device", "precision", "cluster",
    "roster", "due", "zone", "late", "penalty",
)  # fmt: skip


def _like_grade(command: click.Command) -> click.Command:
    """Options that are those of ``grade``."""
    options = {option.name: option for option in grade_command.params}
    command.params[1:1] = [options[name] for name in LIKE_GRADE]
    return command


@_like_grade
@click.command("watch")
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER|EXPORT...")
@click.option("--every", default=60.0, show_default=True, type=click.FloatRange(min=0.05), metavar="SECONDS", help="Between two looks.")
@click.option(
    "--quiet",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="A file or folder that has not changed for so long is complete.",
)
@click.option("--once", is_flag=True, help="Look, wait until copies are complete, grade what is new, and end: for cron.")
def watch_command(places: tuple[Path, ...], every: float, quiet: float, once: bool, jobs: int, memory: float | None, **told: Any) -> None:
    """Grade what comes into FOLDERs and EXPORTs, until Ctrl+C.

    Whatever lies in a FOLDER is a submission (folder, archive, notebook) or a bulk download of a course system. An EXPORT is a bulk
    download that is replaced now and then; it need not be there yet. What is new or was replaced is graded as soon as it has come to rest.
    OUT/watch.html says how things stand.

    What a download says of late and left out files, and of whose a hand-in is, stands on that page; when a class list, the file of --late,
    a decisions.csv or the rubric changes, downloads are read again with it. Another deadline grades nothing again, any other change of the
    rubric all.

    A watch that was killed goes on when it is begun again; nothing is graded twice. Exit 0: ended by Ctrl+C, or with --once all was
    graded; 1: with --once something waits, was left out, is to be decided or could not be graded; 2: bad usage.
    """
    from autograder.batch import MemoryShortError
    from autograder.batch.watching import STATE
    from autograder.course.rubric import RubricError
    from autograder.course.seeds import SecretError
    from autograder.handins.bulk.times import TimeError
    from autograder.handins.bulk.unpacking import BulkError
    from autograder.handins.roster import RosterError
    from autograder.report.labels import clean_text
    from autograder.sandbox.isolation import IsolationError
    from autograder.sandbox.locks import FolderBusyError

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as systemd and a shutdown ask
    try:
        watch = _watch(places, every, quiet, _grader(jobs, memory, **told), **told)
        click.echo(f"Watching {', '.join(map(str, places))}; how things stand: {told['out'] / STATE}")
        left = watch.run(once)
    except (RubricError, IsolationError, SecretError, MemoryShortError, BulkError, RosterError, TimeError) as error:
        raise click.UsageError(str(error)) from error
    except FolderBusyError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Ended. What was graded is written; the same command goes on.")
        return
    if left:
        click.echo("\n".join(["Not graded:", *map(clean_text, left[:MOST_TOLD])]))
        sys.exit(1)


def _grader(jobs: int, memory: float | None, out: Path, assignment: str, **told: Any) -> Callable[[list[Path]], Any]:
    from autograder.batch import grade_many
    from autograder.judge.run import Settings

    settings = Settings(
        assignment, out.resolve(), told["data"], told["gate_data"], told["checkpoints"], told["require_isolation"], device=told["device"],
        precision=told["precision"],
    )  # fmt: skip
    demand_pictures(settings)

    def grade(paths: list[Path]) -> Any:
        for line in in_words(strange_handins(paths, assignment)[0], assignment):
            click.echo(line)
        return grade_many(paths, settings, jobs, click.echo, memory=memory, cluster=told["cluster"])

    return grade


def _watch(places: tuple[Path, ...], every: float, quiet: float, grade: Callable[[list[Path]], Any], **told: Any) -> Any:
    from autograder.batch.inbox import Inbox
    from autograder.batch.watching import Watch
    from autograder.cli.bulk import BulkOptions, known_of
    from autograder.cli.people import keep_people
    from autograder.course.assignment import open_assignment
    from autograder.course.rubric import RubricError
    from autograder.handins.bulk import BulkError, BulkSubmission, read_bulk
    from autograder.handins.bulk.people import DECISIONS
    from autograder.handins.bulk.times import TimeError
    from autograder.handins.roster import RosterError
    from autograder.report.labels import clean_text

    assignment, out = open_assignment(told["assignment"]), told["out"].resolve()
    options = BulkOptions(None, *(told[name] for name in ("roster", "due", "zone", "late", "penalty")))
    for note in known_of(options, assignment.rubric, [out]).notes:  # and a slip on the command line: now, not with the first download
        click.echo(clean_text(note))
    if options.roster:
        keep_people(out, options.roster)

    def read_export(export: Path, folder: Path) -> tuple[list[BulkSubmission], list[str]]:
        try:
            rubric = open_assignment(assignment.folder).rubric  # as it is now
            known = known_of(options, rubric, [out, export.parent])
        except (RosterError, RubricError, TimeError) as error:  # in a table that was changed since
            raise BulkError(str(error)) from error
        if options.roster:
            keep_people(out, options.roster)
        return read_bulk(export, folder, known, rubric.assignment)

    tables = [path for path in (options.roster, options.late, assignment.folder / "rubric.toml") if path]
    decisions = [place / DECISIONS for place in (out, *([options.roster.parent] if options.roster else []))]
    name = assignment.rubric.assignment
    inbox = Inbox([place.absolute() for place in places], name, out, quiet, read_export, [*tables, *decisions])
    return Watch(inbox, out, assignment.folder, grade, every, click.echo)
