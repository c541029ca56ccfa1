"""``python -m autograder alike``: what of a graded class is nearly the same, for a person to look at."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from autograder.cli.grade import grade_command

if TYPE_CHECKING:
    from autograder.alike.gaps import Gaps
    from autograder.course.assignment import Assignment
    from autograder.export.entries import Entry

__all__ = ["alike_command"]

TRAINING = ".training"
LIKE_GRADE = ("data", "checkpoints", "jobs", "memory", "require_isolation", "device", "precision")


def _like_grade(command: click.Command) -> click.Command:
    """Options that are those of ``grade``, for --training."""
    options = {option.name: option for option in grade_command.params}
    command.params += [options[name] for name in LIKE_GRADE]
    return command


@_like_grade
@click.command("alike")
@click.argument("graded", type=click.Path(file_okay=False, path_type=Path))
@click.option("--assignment", default="", help="Name of the assignment, or its folder.  [default: as the results say]")
@click.option(
    "--training",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure the gates on N training pictures too, and hold that against the test pictures; the other options are for this.",
)
@click.option(
    "--submissions",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="What was graded: a folder that holds the submissions, or one of them (may be repeated).  [default: where they were graded]",
)
@click.pass_context
def alike_command(
    context: click.Context, /, graded: Path, assignment: str, training: int | None, submissions: tuple[Path, ...], **told: Any
) -> None:  # fmt: skip
    """Look through GRADED (what `grade --out` wrote) for code, checkpoints and written answers that are nearly the same.

    Writes alike.html, with both passages of each note side by side, alike.csv and alike.json, and links them from the class page. Notes
    are for people: they touch no points and stand in no student's report.

    With --training, each network also goes through its gate on training pictures, behind the same walls; what was measured is kept.

    Exit 0: done, whatever was found; 1: something could not be compared; 2: bad usage.
    """
    from autograder.alike.gaps import gap_notes
    from autograder.alike.notes import find_notes
    from autograder.alike.page import write_notes
    from autograder.cli.mark import open_assignment_of, write_pages
    from autograder.course.rubric import RubricError
    from autograder.export.entries import ExportError, read_results
    from autograder.marking import MarksError

    given = [name for name in ("submissions", *LIKE_GRADE) if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given and not training:
        raise click.UsageError(f"--{given[0].replace('_', '-')}: expected --training N too; what was graded is read from {graded} alone.")
    lines: list[str] = []
    try:
        entries = read_results(graded, lines.append)
        opened = open_assignment_of(assignment, entries)
        gaps = _measured(graded, entries, opened, training, submissions, lines, **told) if training else []
        notes, missing = find_notes(graded, {entry.folder: entry.result for entry in entries}, opened)
        notes += gap_notes(gaps)
        page = write_notes(notes, graded, opened.name, missing, gaps)
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


def _measured(
    graded: Path, entries: "Sequence[Entry]", assignment: "Assignment", count: int, submissions: Sequence[Path], lines: list[str],
    jobs: int, memory: float | None, **told: Any,
) -> "list[Gaps]":  # fmt: skip
    """Grade the gates alone, on training pictures, into a folder of their own: a run like any other, that goes on where it was stopped.

    Raises:
        click.UsageError: It cannot be done as asked.
        OSError: Something could not be written.
    """
    from autograder.alike.gaps import find_gaps, gates_of, link_training
    from autograder.batch import MemoryShortError, grade_many
    from autograder.cli.places import paths_of
    from autograder.course.seeds import SecretError
    from autograder.judge.run import Settings
    from autograder.sandbox.isolation import IsolationError
    from autograder.sandbox.locks import FolderBusyError
    from segkit.datasets import DataError, dataset

    none = click.UsageError(f"--training: the assignment {assignment.name} has no gate on labelled pictures.")
    if not assignment.rubric.dataset or not gates_of(assignment.rubric):
        raise none
    paths = paths_of(graded, submissions, entries, assignment.name)
    split = next((entry.result["data"]["split"] for entry in entries if entry.result["data"]), "")
    with tempfile.TemporaryDirectory(prefix="segkit-training-") as root:
        try:
            found = link_training(dataset(assignment.rubric.dataset), told["data"], split, count, Path(root))
            gates = gates_of(assignment.rubric, Path(root))
            if not gates:
                raise none
            names = tuple(gate.id for gate in gates)
            click.echo(f"{', '.join(names)} on {found} training pictures:")
            settings = Settings(
                str(assignment.folder), graded.resolve() / TRAINING, None, root, told["checkpoints"], told["require_isolation"],
                device=told["device"], only=names, precision=told["precision"],
            )  # fmt: skip
            results = grade_many(list(paths.values()), settings, jobs, click.echo, memory=memory)
        except (DataError, IsolationError, SecretError, MemoryShortError, FolderBusyError) as error:
            raise click.UsageError(f"--training: {error}") from error
        except KeyboardInterrupt:
            click.echo("Interrupted. What was measured is kept; the same command goes on.", err=True)
            sys.exit(130)
    by_path = dict(zip(dict.fromkeys(paths.values()), results, strict=True))
    trained = {name: by_path[path] for name, path in paths.items()}
    failed = [name for name, result in trained.items() if any(check["status"] == "could_not_grade" for check in result["checks"])]
    if failed:
        lines.append(f"On training pictures {len(failed)} could not be measured: {', '.join(failed[:5])}{', ...' if failed[5:] else ''}.")
    return find_gaps({entry.folder: entry.result for entry in entries}, trained, gates)
