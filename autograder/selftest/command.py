"""``python -m autograder selftest``: sit the grader's own exam from the command line."""

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import click

__all__ = ["selftest_command"]

REPOSITORY = Path(__file__).resolve().parents[2]
USUAL = ("mutants", "variants", "damaged", "attacks", "year")


@click.command("selftest")
@click.argument("assignment", default="fcn")
@click.option("--all", "everything", is_flag=True, help="Every kind, the generated mutants and planted leaks included.")
@click.option("--kind", "kinds", multiple=True, help="This kind only (may be repeated).")
@click.option("--only", multiple=True, metavar="NAME", help="Entries whose name holds NAME (may be repeated).")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="How many judges side by side.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything to this file.")
@click.option("--no-seen", is_flag=True, help="Leave out the visible checks (column 'seen before hand-in').")
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Of the generated mutants one of so many.")
@click.option("--verbose", is_flag=True, help="Show the messages of every entry.")
def selftest_command(assignment, everything, kinds, only, jobs, json_file, no_seen, every, verbose) -> None:
    """Grade the corpus of ASSIGNMENT: every entry must get exactly its expected result. Exit 1 on any surprise."""
    import segkit
    from autograder.assignment import open_assignment
    from autograder.rubric import RubricError
    from autograder.run import Settings
    from autograder.sandbox.isolation import IsolationError
    from autograder.selftest.entries import KINDS, CorpusError
    from autograder.selftest.exam import choose
    from autograder.selftest.leaks import sit_leaks
    from autograder.selftest.sitting import SECRET, sit
    from autograder.selftest.table import format_table, to_json

    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise click.UsageError(f"unknown kind {', '.join(sorted(unknown))}; expected {', '.join(KINDS)}")
    started, source = time.monotonic(), REPOSITORY / "notebooks" / assignment
    try:
        folder = open_assignment(assignment).folder
        entries = choose(folder, source, kinds or (KINDS if everything else USUAL), only, every)
        if not entries:
            raise click.UsageError("no entry of the corpus fits")
        with tempfile.TemporaryDirectory(prefix="segkit-exam-out-") as out:
            # attacks are let loose behind the strongest wall only
            wall = "bubblewrap" if any(entry.kind == "attacks" for entry in entries) else None
            settings = Settings(assignment, Path(out), isolation=wall, secret=SECRET, device="cpu", seconds=120.0)
            tell = _tell(verbose)
            outcomes = sit([e for e in entries if e.kind != "leaks"], settings, source, jobs, not no_seen, tell)
        planted = [entry for entry in entries if entry.kind == "leaks"]
        outcomes += sit_leaks(planted, assignment, REPOSITORY, tell) if planted else []
    except (RubricError, CorpusError, IsolationError) as error:
        raise click.UsageError(str(error)) from error
    if json_file:
        about = {"assignment": assignment, "kit_version": segkit.__version__, "seconds": round(time.monotonic() - started)}
        json_file.write_text(json.dumps(to_json(outcomes, about), indent=1, ensure_ascii=False), encoding="utf-8")
    click.echo(format_table(outcomes))
    surprises = sum(bool(outcome.problem) for outcome in outcomes)
    click.echo(f"{len(outcomes)} entries, {surprises} surprises, {time.monotonic() - started:.0f} s")
    sys.exit(1 if surprises else 0)


def _tell(verbose: bool):
    """Show surprises as they come, and everything if that was asked for."""
    from tqdm import tqdm

    count = itertools.count(1)

    def tell(outcome) -> None:
        entry, number = outcome.entry, next(count)
        if number % 10 == 0 and not sys.stdout.isatty():
            click.echo(f"{number} entries")
        if outcome.problem:
            tqdm.write(f"SURPRISE  {entry.kind}/{entry.name}: {outcome.problem}", file=sys.stdout)
        elif verbose:
            tqdm.write(f"ok  {entry.kind}/{entry.name} ({outcome.seconds:.1f} s)", file=sys.stdout)
        if verbose:
            for verdict in outcome.verdicts:
                if verdict["message"]:
                    tqdm.write(f"      {verdict['id']} {verdict['points']} {verdict['cause']}: {verdict['message']}", file=sys.stdout)
            for note in outcome.notes:
                tqdm.write(f"      note: {note}", file=sys.stdout)
            if outcome.complaint:
                tqdm.write(f"      before hand-in: {outcome.complaint}", file=sys.stdout)
        sys.stdout.flush()

    return tell
