"""``python -m segkit submit``: build the bundle, verify it, print a receipt."""

from pathlib import Path

import click

__all__ = ["submit"]


@click.command()
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".", show_default=True,
              help="Folder with your notebooks.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="submission.zip", show_default=True,
              help="The bundle to write.")
@click.option("--code-only", is_flag=True, help="Leave the trained models out; name them by hash in checkpoints.json.")
@click.option("--where", default="", metavar="TEXT", help="With --code-only: where your instructor finds the models.")
@click.option("--allow-unfinished", is_flag=True, help="Exit with 0 although something is not finished yet.")
@click.pass_context
def submit(
    context: click.Context, folder: Path, out: Path, code_only: bool, where: str, allow_unfinished: bool
) -> None:  # fmt: skip
    """Build your hand-in, check it as the grader will read it, and print a receipt.

    Exit code 0: everything is there and readable. 1: something is wrong or not finished; the text says what.
    The bundle is written all the same, so that you have something to hand in when time is short.
    """
    from segkit.assignment import AssignmentError
    from segkit.atomic import DiskFullError
    from segkit.submit import SubmitError, build_submission

    try:
        built = build_submission(folder, out, code_only=code_only, where=where, say=click.echo)
    except (SubmitError, AssignmentError, DiskFullError) as error:
        raise click.ClickException(str(error)) from error
    _print_checks(built)
    _print_size(built, code_only)
    click.echo("\n" + built.receipt.read_text(encoding="utf-8").split("\n\n")[0])
    click.echo(f"receipt     {built.receipt}\nhand in     {built.path}")
    if built.faults:
        click.echo(f"\n{len(built.faults)} fault(s): correct them, save the notebooks, and run this again.")
    elif built.unfinished:
        click.echo(f"\n{len(built.unfinished)} thing(s) not finished yet. You can hand this in; those checks earn nothing.")
    else:
        click.echo("\nEverything is there.")
    if built.faults or (built.unfinished and not allow_unfinished):
        context.exit(1)


def _print_checks(built) -> None:
    for check, lacking in built.work.missing_per_check():
        points = built.work.points.get(check)
        worth = f"{points:g} points" if points is not None else ""
        if not lacking:
            click.echo(f"[ok]  {check:<18} {worth}".rstrip())
        for item in lacking:
            click.echo(f"[--]  {check:<18} {worth:<11}{item.text}")
    for item in built.work.items.values():
        if item.need.startswith("checkpoint ") and item.state == "ready":
            click.echo(f"      {item.text}")
    told = {item.text for item in built.work.items.values()}
    for fault in built.faults:
        if fault not in told:
            click.echo(f"[!!]  {fault}")
    for note in built.notes:
        click.echo(f"note: {note}")


def _print_size(built, code_only: bool) -> None:
    from segkit.submit import WARN_BYTES, megabytes

    click.echo(f"\nsize        {megabytes(built.size)}")
    if built.size > WARN_BYTES and not code_only:
        click.echo(
            f"            more than {megabytes(WARN_BYTES)}: many upload forms refuse that. If yours does, run\n"
            "                python -m segkit submit --code-only --where \"folder or link\"\n"
            "            and put checkpoints/*.safetensors there; the grader knows them by their hash."
        )
