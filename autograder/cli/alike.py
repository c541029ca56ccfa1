"""``python -m autograder alike``: what of a graded class is nearly the same, for a person to look at."""

import sys
from pathlib import Path

import click

__all__ = ["alike_command"]


@click.command("alike")
@click.argument("graded", type=click.Path(file_okay=False, path_type=Path))
@click.option("--assignment", default="", help="Name of the assignment, or its folder.  [default: as the results say]")
def alike_command(graded: Path, assignment: str) -> None:
    """Look through GRADED (what `grade --out` wrote) for code, checkpoints and written answers that are nearly the same.

    Writes alike.html, with both passages of each note side by side, alike.csv and alike.json, and links them from the class page. Notes
    are for people: they touch no points and stand in no student's report.
    Exit 0: done, whatever was found; 1: something could not be compared; 2: bad usage.
    """
    from autograder.alike.notes import find_notes
    from autograder.alike.page import write_notes
    from autograder.cli.mark import open_assignment_of, write_pages
    from autograder.course.rubric import RubricError
    from autograder.export.entries import ExportError, read_results
    from autograder.marking import MarksError

    lines: list[str] = []
    try:
        entries = read_results(graded, lines.append)
        opened = open_assignment_of(assignment, entries)
        notes, missing = find_notes(graded, {entry.folder: entry.result for entry in entries}, opened)
        page = write_notes(notes, graded, opened.name, missing)
        lines += [*missing, *write_pages(graded, opened)]
    except (ExportError, MarksError, RubricError) as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(str(error)) from error
    for note in notes:
        click.echo(f"{note.says} {', '.join(note.names[:8])}{', ...' if len(note.names) > 8 else ''}")
    for line in lines:
        click.echo(line, err=True)
    click.echo(f"{len(notes)} {'note' if len(notes) == 1 else 'notes'} to look at: {page}")
    sys.exit(1 if lines else 0)
