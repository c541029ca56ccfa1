"""``python -m autograder release``: the student release from the command line."""

import os
import sys
from pathlib import Path

import click

from autograder.course.sources import ReleaseError, find_sources, repository, rubric_facts
from autograder.exam.guard import Guard
from autograder.release.build import build_release
from autograder.release.checkpoints import publish_checkpoints

__all__ = ["release_command"]


@click.command("release")
@click.argument("assignment")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder that receives ASSIGNMENT/ and ASSIGNMENT.zip."
)
@click.option(
    "--checkpoints",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with trained models (*.safetensors): published as ASSIGNMENT-checkpoints.zip beside the release.",
)
@click.option("--unexamined", is_flag=True, help="Do not sit what is left of the grader's exam; the release is stamped with it.")
@click.option(
    "--jobs",
    default=os.cpu_count() or 1,
    show_default="one a core",
    type=click.IntRange(1, 64),
    help="How many judges sit the exam side by side.",
)
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), hidden=True)
def release_command(
    assignment: str, out: Path, checkpoints: Path | None, unexamined: bool, jobs: int, root: Path | None
) -> None:  # fmt: skip
    """Build the student release of ASSIGNMENT: notebooks without solutions, student edition of segkit, data sample.

    The result is searched for leaks (solutions, hidden checks, reference, outputs, personal metadata) and tried without this
    repository; the reference solution and the untouched release are really graded. Last the grader's own exam is sat, as far as
    something that it depends on has changed since it was last passed (selftest --due says how far). Only then an older release is
    replaced. Exit code 1: nothing was released, and why.
    """
    try:
        sources = find_sources(assignment, (root or repository()).resolve())
        facts, checks = rubric_facts(sources.material)
        guard = Guard(sources, unexamined, click.echo, jobs=jobs)
        built = build_release(sources, out, facts=facts, checks=checks, say=click.echo, guard=guard)
        click.echo(f"{built.folder} ({built.files} files)\n{built.archive} ({_size(built.archive)})")
        if checkpoints is not None:
            archive = publish_checkpoints(checkpoints, out, assignment)
            click.echo(f"{archive} ({_size(archive)})")
    except ReleaseError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MiB"
