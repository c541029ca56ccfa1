"""``python -m autograder selftest``: sit the grader's own exam from the command line."""

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autograder.exam.sitting import Outcome

__all__ = ["selftest_command"]

REPOSITORY = Path(__file__).resolve().parents[2]
USUAL = ("mutants", "variants", "damaged", "real", "attacks", "year")


@click.command("selftest")
@click.argument("assignment", default="fcn")
@click.option("--all", "everything", is_flag=True,
              help="The complete exam: every kind, and --parity. Goes on where a killed one was; its verdict is stored.")
@click.option("--kind", "kinds", multiple=True, help="This kind only (may be repeated).")
@click.option("--only", multiple=True, metavar="NAME", help="Entries whose name holds NAME (may be repeated).")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="How many judges side by side.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything to this file.")
@click.option("--parity", is_flag=True, help="Compare the points with those of nbgrader and of plain pytest (part of --all).")
@click.option("--no-seen", is_flag=True, help="Leave out the visible checks (column 'seen before hand-in').")
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Of the generated mutants one of so many.")
@click.option("--journal", "journal_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Where --all keeps what it found so far.  [default: build/selftest/ASSIGNMENT.jsonl]")
@click.option("--fresh", is_flag=True, help="Sit everything again, whatever an earlier --all has found.")
@click.option("--verbose", is_flag=True, help="Show the messages of every entry.")
def selftest_command(
    assignment: str, everything: bool, kinds: tuple[str, ...], only: tuple[str, ...], jobs: int, json_file: Path | None, parity: bool,
    no_seen: bool, every: int, journal_file: Path | None, fresh: bool, verbose: bool,
) -> None:  # fmt: skip
    """Grade the corpus of ASSIGNMENT: every entry must get exactly its expected result. Exit 1 on any surprise."""
    import segkit
    from autograder.course.assignment import open_assignment
    from autograder.course.rubric import RubricError
    from autograder.exam.entries import KINDS, CorpusError
    from autograder.exam.exam import choose, sit_exam
    from autograder.exam.table import format_real, format_table, to_json
    from autograder.sandbox.isolation import IsolationError

    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise click.UsageError(f"unknown kind {', '.join(sorted(unknown))}; expected {', '.join(KINDS)}")
    complete = everything and not kinds and not only and every == 1 and not no_seen
    started, how = time.monotonic(), {"seen": not no_seen, "parity": parity or everything}
    try:
        material = open_assignment(assignment).folder
        parts = _parts(material, assignment)
        entries = choose(material, REPOSITORY / "notebooks" / assignment, kinds or (KINDS if everything else USUAL), only, every)
        if not entries:
            raise click.UsageError("no entry of the corpus fits")
        file = journal_file or REPOSITORY / "build" / "selftest" / f"{assignment}.jsonl"
        with _journal(file, parts, how, material, fresh) if everything else contextlib.nullcontext() as journal:
            outcomes = sit_exam(entries, assignment, REPOSITORY, jobs=jobs, with_seen=not no_seen, with_parity=how["parity"],
                                journal=journal, tell=_tell(verbose))  # fmt: skip
    except (RubricError, CorpusError, IsolationError) as error:
        raise click.UsageError(str(error)) from error
    seconds = time.monotonic() - started
    if json_file:
        about = {"assignment": assignment, "kit_version": segkit.__version__, "seconds": round(seconds), "parts": parts}
        json_file.write_text(json.dumps(to_json(outcomes, about), indent=1, ensure_ascii=False), encoding="utf-8")
    click.echo("\n".join(filter(None, [format_table(outcomes), format_real(outcomes)])))
    surprises = sum(bool(outcome.problem) for outcome in outcomes)
    click.echo(f"{len(outcomes)} entries, {surprises} surprises, {seconds:.0f} s")
    stored = _store_verdict(outcomes, assignment, material, parts, journal) if complete else True
    sys.exit(1 if surprises or not stored else 0)


def _parts(material: Path, assignment: str) -> dict[str, str]:
    from autograder.exam.fingerprint import fingerprint

    return fingerprint(material, REPOSITORY / "notebooks" / assignment, REPOSITORY / "segkit", REPOSITORY / "autograder")


@contextlib.contextmanager
def _journal(file: Path, parts: Mapping[str, str], how: Mapping[str, Any], material: Path, fresh: bool) -> Iterator[Any]:
    """The open journal of an exam; only one exam at a time writes to it."""
    from autograder.exam.journal import Journal, journal_key
    from autograder.sandbox.locks import try_lock

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = try_lock(file.with_suffix(".lock"))
    if lock is None:
        raise click.ClickException(f"Another exam is writing to {file}. Wait until it has ended, or give another --journal.")
    try:
        with Journal(file, journal_key(parts, how), material / "corpus", fresh) as journal:
            yield journal
    finally:
        os.close(lock)


def _store_verdict(outcomes: Sequence[Any], assignment: str, material: Path, parts: Mapping[str, str], journal: Any) -> bool:
    """Write the verdict of a complete exam; not if what was examined is no longer what is there."""
    from autograder.exam.verdict import changed_parts, make_verdict, verdict_file, write_verdict
    from autograder.sandbox.isolation import best_level

    changed = changed_parts(parts, _parts(material, assignment))
    if changed:
        click.echo(f"While the exam was sat these have changed: {', '.join(changed)}. Its verdict is not stored; run it again.")
        return False
    spent = sum(outcome.seconds for outcome in outcomes)  # over all runs that it took, and all judges
    about = {"isolation": best_level(None), "tried_again": journal.retried}
    verdict = make_verdict(outcomes, assignment, parts, spent, about)
    write_verdict(verdict, verdict_file(material))
    click.echo(f"{'Valid' if verdict['valid'] else 'NOT valid'}: the verdict is stored in {verdict_file(material)}; commit it.")
    return True


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
            for verdict in outcome.verdicts:
                if verdict["message"]:
                    tqdm.write(f"      {verdict['id']} {verdict['points']} {verdict['cause']}: {verdict['message']}", file=sys.stdout)
            for note in outcome.notes:
                tqdm.write(f"      note: {note}", file=sys.stdout)
            if outcome.complaint:
                tqdm.write(f"      before hand-in: {outcome.complaint}", file=sys.stdout)
        sys.stdout.flush()

    return tell
