"""``python -m autograder new``: a working assignment to begin with."""

import sys
from pathlib import Path

import click

__all__ = ["new_command"]


@click.command("new")
@click.argument("name")
@click.option("--like", required=True, metavar="ASSIGNMENT", help="Takes its data set and the packaging of its release from this one.")
@click.option("--title", default="", help="For people.  [default: the name]")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), hidden=True)
def new_command(name: str, like: str, title: str, root: Path | None) -> None:
    """Write the assignment NAME: a notebook, a rubric, a check, entries of the exam, a page for students.

    It is small, and whole: it can be released and graded at once. docs/assignments.md says how to go on from there.
    """
    from autograder.course.sources import ReleaseError, repository
    from autograder.release.skeleton import write_assignment

    place = (root or repository()).resolve()
    try:
        for path in write_assignment(name, like, place, title):
            click.echo(path.relative_to(place))
    except ReleaseError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo("Next, as docs/assignments.md has it:")
    click.echo(f"python -m autograder grade notebooks/{name} --assignment {name} --out build/{name}")
    click.echo(f"python -m autograder selftest {name}\npython -m autograder release {name} --out build/release")
