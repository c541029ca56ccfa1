"""``python -m autograder export``: a graded folder for Gradescope, Classroom 50, JUnit readers, nbgrader's gradebook, as CSV, or written
into the file that a course system gave out."""

import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from autograder.cli.into import fill, into_options

if TYPE_CHECKING:
    from autograder.export import Options
    from autograder.export.entries import Entry

__all__ = ["export_command"]

TARGETS = ("gradescope", "classroom50", "junit", "csv", "mail", "gradebook")


@click.command("export")
@click.argument("graded", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", "target", type=click.Choice(TARGETS))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder, or a file where one is written. Default: GRADED/exports/TARGET; --into: beside the file.",
)
@click.option("--visibility", default="visible", show_default=True, help="Gradescope: visible, after_due_date, after_published, hidden.")
@click.option(
    "--fact",
    "facts",
    multiple=True,
    metavar="NAME=VALUE",
    help="Classroom 50: what its runner would say, such as commit=https://.../{owner}/commit/abc (may be repeated).",
)
@click.option("--roster", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Class list, CSV or .xlsx: names, ids, mail.")
@click.option("--due", default="", help="CSV: when the work was due.")
@click.option(
    "--manual",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Points by hand: a copy of GRADED/summary.csv whose empty cells you filled in, or its column name and those you grade. "
    "Points that you changed need a column reason.",
)
@click.option(
    "--db",
    default="gradebook.db",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Gradebook: nbgrader's database, an SQLite file.",
)
@click.option(
    "--wait",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    help="Gradebook: how long to wait while another program writes to it.",
)
@into_options
def export_command(
    graded: Path, target: str | None, out: Path | None, visibility: str, facts: tuple[str, ...], roster: Path | None, due: str,
    manual: Path | None, db: Path, wait: float, into: Path | None, **wanted: Any,
) -> None:  # fmt: skip
    """Write the results of GRADED (what `grade --out` wrote, or one folder in it) for another system.

    Points that nobody has given yet are open: never 0, and never taken off the maximum. Classroom 50 and CSV know totals only: there a
    submission with a check that could not be graded gets none, and checks graded by hand count once there are marks (`mark`, or
    --manual). The gradebook gets the marks as manual scores and comments; manual scores that were given there, extra credit and
    penalties stay as they are. What a rule of lateness takes off is never taken off points without a word: it has a column in CSV, mail and
    gradebook, a line in Gradescope and JUnit; where a format has none, --late-penalty says what to do.

    --into FILE fills the file that Canvas, Moodle (grading worksheet), Brightspace or Blackboard gave out: a copy is written beside it, in
    which only points differ. Students are found by id, login or mail address; who is not certain gets nothing and is named.

    Exit 0: everything was exported; 1: a result could not be, or the gradebook is busy; 2: bad usage.
    """
    from autograder.export import WRITERS, ExportError, Options, read_entries
    from autograder.export.classroom50 import environment_facts
    from autograder.export.entries import any_marked
    from autograder.export.feedback import pages_of
    from autograder.export.gradebook_marks import read_ledger
    from autograder.export.gradescope import VISIBILITIES
    from autograder.export.manual import with_manual_points
    from autograder.handins.roster import Roster, RosterError, read_roster

    if (target is None) == (into is None):
        raise click.UsageError(f"Expected either --to ({', '.join(TARGETS)}) or --into FILE.")
    if visibility not in VISIBILITIES:
        raise click.UsageError(f"--visibility: expected one of {', '.join(VISIBILITIES)}, found {visibility!r}.")
    if manual and target == "gradebook":
        raise click.UsageError("--manual: into nbgrader's gradebook points by hand are written with its formgrader.")
    notices: list[str] = []
    ledger = graded / "marks" / ".gradebook.json"
    try:
        people = read_roster(roster) if roster else Roster()
        options = Options(
            facts=environment_facts() | _facts(facts), visibility=visibility, due=due, say=notices.append,
            roster=people, handed_in=_handed_in(graded), page=pages_of(graded), late_penalty=wanted["late_penalty"] or "",
        )  # fmt: skip
        entries = read_entries(graded, notices.append)
        entries = with_manual_points(entries, manual) if manual else entries
        options = replace(options, by_hand=manual is not None or any_marked(entries))
        if into is not None:
            done = fill(into, out, entries, options, notices, **wanted)
        elif target == "gradebook":
            done = _write_gradebook(db, out, entries, replace(options, exported=read_ledger(ledger)), wait, ledger)
        elif target is not None:
            written = _write(list(WRITERS[target](entries, options)), out or graded / "exports" / target)
            done = f"{len(written)} files for {target}" + (f": {written[0]}" if written else "")
    except (ExportError, RosterError) as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(str(error)) from error
    for notice in [*people.notes, *notices]:
        click.echo(notice, err=True)
    click.echo(f"{len(entries)} results, {done}")
    _say_open(entries)
    sys.exit(1 if notices else 0)


def _facts(pairs: tuple[str, ...]) -> dict[str, str]:
    from autograder.export.classroom50 import FACTS

    facts = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in FACTS:
            raise click.UsageError(f"--fact: expected NAME=VALUE with a name among {', '.join(FACTS)}; found {pair!r}.")
        facts[name] = value
    return facts


def _handed_in(graded: Path) -> dict[str, str]:
    """Submission name -> when it was handed in, where the hand-ins came from a bulk download."""
    from autograder.report.lateness import HANDINS
    from autograder.report.rendering import own_rows

    return {row["name"]: row["submitted"] for row in own_rows(graded / HANDINS) or () if row.get("name") and row.get("submitted")}


def _write(texts: list[tuple[PurePosixPath, str]], out: Path) -> list[Path]:
    """Write the texts below a folder, or the only one as the file that ``out`` names."""
    from autograder.report.rendering import write_page

    if out.suffix in (".json", ".xml", ".csv") and not out.is_dir():
        if len(texts) > 1:
            raise click.UsageError(f"--out {out} is one file, but {len(texts)} are to be written; give a folder.")
        return [write_page(out, text) for _, text in texts]
    return [write_page(out / path, text) for path, text in texts]


def _write_gradebook(db: Path, out: Path | None, entries: "list[Entry]", options: "Options", wait: float, ledger: Path) -> str:
    """Write into nbgrader's database; returns what was done."""
    from importlib.util import find_spec

    if out is not None:
        raise click.UsageError("--out: a gradebook is not a file of its own; name nbgrader's database with --db.")
    if find_spec("nbgrader") is None:
        raise click.ClickException("The gradebook is written through nbgrader, which is not installed here: pip install nbgrader")
    from autograder.export.gradebook import GradebookError, write_gradebook
    from autograder.export.gradebook_marks import write_ledger

    try:
        written = write_gradebook(db, entries, options, wait)
        write_ledger(ledger, options.exported)
        return f"gradebook {db}: {written}"
    except GradebookError as error:
        raise click.ClickException(str(error)) from error


def _say_open(entries: "list[Entry]") -> None:
    from autograder.export.entries import open_checks

    for status, words in (("needs_manual", "waits for points by hand"), ("could_not_grade", "could not be graded")):
        names = [e.folder for e in entries if any(c["status"] == status for c in open_checks(e.result))]
        if names:
            more = f" ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if status == "could_not_grade" else ""
            click.echo(f"{len(names)} results hold something that {words}{more}; these points are open, not exported as 0.")
