"""``python -m autograder selftest``: sit the grader's own exam from the command line."""

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from autograder.exam.outcome import Outcome

__all__ = ["selftest_command"]

USUAL = ("mutants", "visible", "variants", "damaged", "real", "attacks", "year")


@click.command("selftest")
@click.argument("assignment", default="fcn")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="The complete exam, with --parity: all that is not known to hold. Goes on where a killed one was; the verdict is kept.",
)
@click.option("--due", is_flag=True, help="Sit nothing: say what --all would sit, which release sits too, and how long it takes.")
@click.option("--kind", "kinds", multiple=True, help="This kind only (may be repeated).")
@click.option("--only", multiple=True, metavar="NAME", help="Entries whose name holds NAME (may be repeated).")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="How many judges side by side.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything to this file.")
@click.option("--parity", is_flag=True, help="Compare the points with those of nbgrader and of plain pytest (part of --all).")
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Of the generated mutants one of so many.")
@click.option("--fresh", is_flag=True, help="With --all: sit everything again, whatever is known.")
@click.option("--verbose", is_flag=True, help="Show the messages of every entry.")
def selftest_command(
    assignment: str, everything: bool, due: bool, kinds: tuple[str, ...], only: tuple[str, ...], jobs: int, json_file: Path | None,
    parity: bool, every: int, fresh: bool, verbose: bool,
) -> None:  # fmt: skip
    """Grade the corpus of ASSIGNMENT: every entry must get exactly its expected result. Exit 1 on any surprise."""
    import segkit
    from autograder.course.assignment import open_assignment
    from autograder.course.rubric import RubricError
    from autograder.course.sources import repository
    from autograder.exam.complete import Exam, ExamError, choose, sit_exam
    from autograder.exam.entries import KINDS, CorpusError
    from autograder.exam.table import format_due, format_real, format_table, to_json
    from autograder.sandbox.isolation import IsolationError

    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise click.UsageError(f"unknown kind {', '.join(sorted(unknown))}; expected {', '.join(KINDS)}")
    if (everything or due) and (kinds or only or every > 1):
        raise click.UsageError("--all is the complete exam, and --due speaks of it: give no --kind, --only or --every with them")
    started, tell = time.monotonic(), _tell(verbose)
    try:
        material = open_assignment(assignment).folder
        if everything or due:
            exam = Exam(material, assignment, repository(), fresh)
            click.echo(exam.words(jobs))
        if due:
            click.echo(format_due(exam.left), nl=bool(exam.left))
            return
        if everything:
            outcomes = exam.sit(jobs, tell)
        else:
            entries = choose(material, repository() / "notebooks" / assignment, kinds or USUAL, only, every)
            if not entries:
                raise click.UsageError("no entry of the corpus fits")
            outcomes = sit_exam(entries, assignment, repository(), jobs=jobs, with_parity=lambda entry: parity, tell=tell)
    except (RubricError, CorpusError, IsolationError) as error:
        raise click.UsageError(str(error)) from error
    except ExamError as error:
        raise click.ClickException(str(error)) from error
    seconds = time.monotonic() - started
    if json_file:
        about = {"assignment": assignment, "kit_version": segkit.__version__, "seconds": round(seconds)}
        json_file.write_text(json.dumps(to_json(outcomes, about), indent=1, ensure_ascii=False), encoding="utf-8")
    click.echo("\n".join(filter(None, [format_table(outcomes), format_real(outcomes)])))
    surprises = sum(bool(outcome.problem) for outcome in outcomes)
    click.echo(f"{len(outcomes)} entries, {surprises} surprises, {seconds:.0f} s")
    if everything and not surprises:
        click.echo(f"Valid: the verdict is kept in {exam.verdicts.path}; commit it.")
    sys.exit(1 if surprises else 0)


def _tell(verbose: bool) -> "Callable[[Outcome], None]":
    """Show surprises as they come, and everything if that was asked for."""
    from tqdm import tqdm

    count = itertools.count(1)

    def tell(outcome: "Outcome") -> None:
        entry, number = outcome.entry, next(count)
        if number % 10 == 0 and not sys.stdout.isatty():
            click.echo(f"{number} entries")
        if outcome.problem:
            tqdm.write(f"SURPRISE  {entry.kind}/{entry.name}: {outcome.problem}", file=sys.stdout)
        elif verbose:
            tqdm.write(f"ok  {entry.kind}/{entry.name} ({outcome.seconds:.1f} s)", file=sys.stdout)
        if verbose:
            for result in outcome.results:
                if result["message"]:
                    tqdm.write(f"      {result['id']} {result['points']} {result['cause']}: {result['message']}", file=sys.stdout)
            for note in outcome.notes:
                tqdm.write(f"      note: {note}", file=sys.stdout)
            if outcome.complaint:
                tqdm.write(f"      before hand-in: {outcome.complaint}", file=sys.stdout)
        sys.stdout.flush()

    return tell
