"""``python -m segkit submit``: build the bundle, verify it, print a receipt."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segkit.cli.common import options

if TYPE_CHECKING:
    from segkit.handin import Work
    from segkit.submit import Submission

__all__ = ["submit"]


@click.command()
@options("folder")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default="submission.zip", show_default=True, help="The bundle to write."
)
@click.option("--code-only", is_flag=True, help="Leave the trained models out; name them by hash in checkpoints.json.")
@click.option("--where", default="", metavar="TEXT", help="With --code-only: where your instructor finds the models.")
@click.option("--fast", is_flag=True, help="Do not run the checks: build and read the hand-in only.")
@click.option("--allow-unfinished", is_flag=True, help="Exit with 0 although something is not finished yet.")
@click.pass_context
def submit(
    context: click.Context, folder: Path, out: Path, code_only: bool, where: str, fast: bool, allow_unfinished: bool
) -> None:  # fmt: skip
    """Build your hand-in, read it as the grader will, run the checks of the notebooks on it, and print a receipt.

    The checks take about a minute. The grade comes from others like them, with other inputs: what passes here is no promise.

    Exit code 0: everything is there and nothing failed. 1: something is wrong or not finished; the text says what.
    The bundle is written all the same, so that you have something to hand in when time is short.
    """
    from segkit.assignment import AssignmentError
    from segkit.atomic import WriteError
    from segkit.progress import bar
    from segkit.submit import SubmitError, build_submission

    try:
        built = build_submission(folder, out, code_only=code_only, where=where, fast=fast, say=click.echo, bar=bar)
    except (SubmitError, AssignmentError, WriteError) as error:
        raise click.ClickException(str(getattr(error, "strerror", None) or error)) from error
    _print_checks(built)
    _print_size(built, code_only)
    _print_saved(folder, built)
    click.echo("\n" + built.receipt.read_text(encoding="utf-8").split("\n\n")[0])
    click.echo(f"receipt     {built.receipt}\nhand in     {built.path}")
    click.echo(f"\n{_summary(built, fast)}")
    if built.faults or (built.unfinished and not allow_unfinished):
        context.exit(1)


def _summary(built: "Submission", fast: bool) -> str:
    states = [outcome.state for outcome in built.work.outcomes.values()]
    tested = f"{states.count('passed')} of {len(built.work.needs)} checks were tested and passed"
    if fast:
        tested = "nothing was tested (--fast)"
    elif not built.visible:
        tested = "this assignment has no check to run beforehand"
    if built.faults:
        return f"{len(built.faults)} fault(s): correct them, save the notebooks, and run this again."
    if built.unfinished:
        return f"{len(built.unfinished)} thing(s) not finished yet; {tested}. You can hand this in; what is not finished earns nothing."
    return f"Everything is there; {tested}."


def _print_checks(built: "Submission") -> None:
    for check in built.work.needs:
        _print_check(built.work, check)
    for item in built.work.items.values():
        if item.need.startswith("checkpoint ") and item.state == "ready":
            click.echo(f"      {item.text}")
    told = {item.text for item in built.work.items.values()} | {f"{c}: {o.text}" for c, o in built.work.outcomes.items()}
    for fault in built.faults:
        if fault not in told:
            click.echo(f"[!!]  {fault}")
    for note in built.notes:
        click.echo(f"note: {note}")


def _print_check(work: "Work", check: str) -> None:
    """What is known of a check. Points stand only where something was tested."""
    from segkit.checks.report import MARKS

    worth = f" (worth {work.points[check]:g} points)" if check in work.points else ""
    words = {"ok": f"passed{worth}", "fault": f"failed{worth}", "note": "found, not tested"}
    for kind, text in work.findings(check):
        told = [text] if work.lacking(check) else [words[kind], *filter(None, [text])]
        click.echo(f"{MARKS[kind]}  {check:<18} {': '.join(told)}")


def _print_saved(folder: Path, built: "Submission") -> None:
    """When the newest notebook was saved: what was changed since is not in the hand-in, and only the student knows."""
    import time

    times = {name: path.stat().st_mtime for name in built.hashes if name.endswith(".ipynb") and (path := folder / name).is_file()}
    if times:
        name = max(times, key=times.__getitem__)
        minutes = max(0, int(time.time() - times[name])) // 60
        ago = f"{minutes} minutes ago" if minutes < 120 else time.strftime("%Y-%m-%d %H:%M", time.localtime(times[name]))
        click.echo(f"last saved  {name}, {ago}: what you changed in a notebook since then is not in it")


def _print_size(built: "Submission", code_only: bool) -> None:
    from segkit.submit import WARN_BYTES, megabytes

    click.echo(f"\nsize        {megabytes(built.size)}")
    if built.size > WARN_BYTES and not code_only:
        click.echo(
            f"            more than {megabytes(WARN_BYTES)}: many upload forms refuse that. If yours does, run\n"
            '                python -m segkit submit --code-only --where "folder or link"\n'
            "            and put checkpoints/*.safetensors there; the grader knows them by their hash."
        )
