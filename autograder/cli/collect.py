"""``python -m autograder collect``: clean copies of raw hand-ins for nbgrader."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from autograder.cli.beforehand import demand_own_handins
from autograder.cli.bulk import BulkOptions, bulk_handins, bulk_options, demand_one_source, say_problems

__all__ = ["collect_command"]


@click.command("collect")
@click.argument("raw", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="submitted",
    show_default=True,
    help="nbgrader's folder of submissions.",
)
@click.option("--assignment", default="fcn", show_default=True)
@click.option("--force", is_flag=True, help="Replace copies that are there already.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), hidden=True)
@bulk_options
def collect_command(raw: Sequence[Path], out: Path, assignment: str, force: bool, root: Path | None, **wanted: Any) -> None:  # fmt: skip
    """Write clean copies of the RAW hand-ins (folders or zips), or of those in a bulk download, to OUT/<student>/<assignment>.

    Notebooks get their original names back (they are known by their cells), encodings and old formats are repaired,
    doubled cells are resolved, links and oversized files are left out. Nothing is executed; the raw files stay as they are.
    Exit code 1: something could not be collected, was left out of a download, or waits for a decision; the others were.
    """
    from autograder.course.assignment import open_assignment
    from autograder.course.rubric import RubricError
    from autograder.course.sources import ReleaseError, find_sources, repository
    from autograder.gradebook.collecting import collect_one, release_versions
    from autograder.handins.submission import submission_names
    from autograder.release.notebooks import NotebookFault

    options, problems = BulkOptions(**wanted), list[str]()
    demand_one_source(raw, options, "collect")
    try:
        sources = find_sources(assignment, (root or repository()).resolve())
        handed_out = release_versions(sources.notebook_paths())
        rubric = open_assignment(sources.material).rubric
    except (ReleaseError, NotebookFault, RubricError) as error:
        raise click.UsageError(str(error)) from None
    if not raw:
        # OUT/* are submissions, for `grade` too
        handins = bulk_handins(options, out, str(sources.material), click.echo, ".handins/handins.csv")
        raw, problems = handins.paths, handins.problems
    problems = [*problems, *demand_own_handins(raw, str(sources.material))]
    failed = 0
    for path, name in submission_names(raw, assignment).items():
        failed += not collect_one(path, name, out / name / assignment, handed_out, rubric, force)
    click.echo(f"{len(raw) - failed} of {len(raw)} hand-ins collected in {out}")
    say_problems(problems, click.echo)
    sys.exit(1 if failed or problems else 0)
