"""``python -m autograder viva``: for each student a page of questions about their own code, and the measured answers."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autograder.export.entries import Entry
    from autograder.viva.sitting import Sheet

__all__ = ["viva_command"]


@click.command("viva")
@click.argument("graded", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--submissions",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="What was graded: a folder that holds the submissions, or one of them (may be repeated).  [default: where they were graded]",
)
@click.option("--questions", default=3, show_default=True, type=click.IntRange(1, 12), help="For each student.")
@click.option("--seed", default=0, show_default=True, help="Draws questions, pictures and weights; another one gives other sheets.")
@click.option("--student", "students", multiple=True, metavar="NAME", help="This student only (may be repeated).")
@click.option("--change", default="", metavar="CHANGE", help="Measure one answer again, as the examiner's page names it; needs --student.")
@click.option(
    "--roster", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Class list: its order says who are neighbours."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where the pages go.  [default: GRADED/viva]")
@click.option("--seconds", default=300.0, show_default=True, type=click.FloatRange(min=1), help="At most, for the search of one student.")
@click.option("--assignment", default="", help="Name of the assignment, or its folder.  [default: as the results say]")
@click.option("--require-isolation", default=None, help="Weakest isolation to accept: bubblewrap, landlock or process.")
def viva_command(
    graded: Path, submissions: tuple[Path, ...], questions: int, seed: int, students: tuple[str, ...], change: str, roster: Path | None,
    out: Path | None, seconds: float, assignment: str, require_isolation: str | None,
) -> None:  # fmt: skip
    """Make a sheet of questions for each student of GRADED (what `grade --out` wrote), about changes of their own code.

    Answers are measured: the changed code runs behind the same walls as in grading. They stand on pages of their own. A sheet is kept while
    code, seed and kit are the same; neighbours never get the same question.

    Exit 0: every student has a full sheet; 1: somebody has fewer questions, or none; 2: bad usage.
    """
    from autograder.cli.mark import open_assignment_of
    from autograder.cli.places import paths_of
    from autograder.course.rubric import RubricError
    from autograder.export.entries import ExportError, read_results
    from autograder.handins.roster import RosterError
    from autograder.handins.submission import SubmissionError
    from autograder.sandbox.client import GraderFault
    from autograder.sandbox.isolation import IsolationError
    from autograder.viva.pages import write_pages
    from autograder.viva.sitting import Plan, open_run

    if change and len(students) != 1:
        raise click.UsageError("--change is of one student: give --student NAME.")
    try:
        entries = _in_order(read_results(graded, lambda line: click.echo(line, err=True)), roster)
        chosen = _chosen(entries, students, graded)
        opened = open_assignment_of(assignment, entries)
        paths = paths_of(graded, submissions, chosen, opened.name)
        plan = Plan(questions, seed, seconds, (out or graded / "viva").resolve())
        _refuse_a_student(plan.folder)
        with open_run(str(opened.folder), plan.folder, seed, require_isolation) as run:
            if change:
                _measure(run, paths[chosen[0].folder], chosen[0].folder, change)
                return
            sheets = _sheets(run, plan, entries, paths)
            words = ["python", "-m", "autograder", "viva", str(graded), *(w for path in submissions for w in ("--submissions", str(path)))]
            write_pages(plan.folder, sheets, run.rubric.title, [*words, "--seed", str(seed)])
    except (ExportError, RubricError, IsolationError, RosterError, SubmissionError) as error:
        raise click.UsageError(str(error)) from None
    except (GraderFault, OSError) as error:
        raise click.ClickException(f"{error}. Sheets that were made are kept; the same command goes on.") from error
    except KeyboardInterrupt:
        click.echo("Interrupted. Sheets that were made are kept; the same command goes on.", err=True)
        sys.exit(130)
    short = [folder for folder, sheet in sheets.items() if len(sheet["questions"]) < questions]
    click.echo(f"{len(sheets)} sheets: print {plan.folder / 'questions.html'}; the examiner's: {plan.folder / 'answers.html'}")
    if short:
        click.echo(f"{len(short)} with fewer than {questions} questions, the answers say why: {', '.join(short[:20])}")
    sys.exit(1 if short else 0)


def _in_order(entries: "Sequence[Entry]", roster: Path | None) -> "list[Entry]":
    """The results in the roster's order, those that are not on it last; how the roster was read is said."""
    from autograder.cli.people import say_notes
    from autograder.handins.roster import Roster, read_roster

    people = read_roster(roster) if roster else Roster()
    say_notes(people)
    names = [student.name for student in people.students]
    return sorted(entries, key=lambda e: (names.index(e.result["submission"]) if e.result["submission"] in names else len(names), e.folder))


def _chosen(entries: "Sequence[Entry]", students: Sequence[str], graded: Path) -> "list[Entry]":
    chosen = [entry for entry in entries if not students or entry.folder in students or entry.result["submission"] in students]
    known = {name for entry in chosen for name in (entry.folder, entry.result["submission"])}
    if unknown := [name for name in students if name not in known]:
        raise click.UsageError(f"--student: there is no result of {', '.join(map(repr, unknown))} in {graded}.")
    return chosen


def _refuse_a_student(folder: Path) -> None:
    """A student of this name has this folder."""
    if (folder / "result.json").exists():
        raise click.UsageError(f"{folder} holds the result of a student. Give another folder: --out FOLDER")


def _sheets(run: Any, plan: Any, entries: "Sequence[Entry]", paths: dict[str, Path]) -> "dict[str, Sheet]":
    """The sheets of those who are wanted, in order; the neighbour of one who is not has the sheet that is kept."""
    from tqdm import tqdm

    from autograder.viva.sitting import asked_about, kept_sheet, sheet_of

    sheets, before = {}, []
    with tqdm(total=len(paths), desc="viva", unit="sheet", disable=None) as bar:
        for entry in entries:
            if entry.folder not in paths:
                kept = kept_sheet(plan.folder, entry.folder)
                before = asked_about(kept) if kept else []
                continue
            bar.set_description(f"viva, {entry.folder}")
            sheet = sheet_of(run, plan, paths[entry.folder], entry.folder, entry.result["submission"], before, bar.set_postfix_str)
            sheets[entry.folder], before = sheet, asked_about(sheet)
            bar.update()
    return sheets


def _measure(run: Any, path: Path, folder: str, change: str) -> None:
    """Print what one change does."""
    from autograder.report.labels import clean_text
    from autograder.viva.sitting import measure_one

    found = measure_one(run, path, folder, change)
    if found is None:
        raise click.UsageError(f"--change: {folder} has no change {change!r}. Expected one of the names that the examiner's page prints.")
    choice, effects = found
    change_in_words = f"{choice.change.place.label}, line {choice.change.line}:\n{choice.change.before}\n->\n{choice.change.after}\n"
    click.echo(clean_text(change_in_words))
    for effect in effects:
        click.echo(clean_text("\n".join(text for text in (effect.words, effect.now if effect.ask == "error" else "") if text)))
    if not effects:
        click.echo("Nothing that was asked comes out differently.")
