"""``python -m segkit check``: the visible checks of all notebooks at once."""

from pathlib import Path

import click

from segkit.cli.common import options

__all__ = ["check"]


@click.command()
@options("folder")
@click.pass_context
def check(context: click.Context, folder: Path) -> None:
    """Run the checks of all your notebooks, as they are saved, and print a table: check, points, seconds, what is wrong.

    In a cell of a notebook: from segkit.checking import check_all; check_all()

    Exit code 0: everything is there and nothing failed. 1: something is wrong or not finished; the table says what.
    """
    from segkit.assignment import AssignmentError
    from segkit.checking import check_all
    from segkit.submit import SubmitError

    try:
        checked = check_all(folder)
    except (SubmitError, AssignmentError) as error:
        raise click.ClickException(str(error)) from error
    context.exit(0 if checked else 1)
