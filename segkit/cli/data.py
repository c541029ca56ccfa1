"""``python -m segkit data``: fetch the database, verify a folder of facades, draw synthetic ones."""

from pathlib import Path

import click

__all__ = ["data"]


@click.group()
def data() -> None:
    """Fetch, verify or draw the facade pictures."""


@data.command()
@click.option("--out", type=click.Path(path_type=Path), help="Root of the facades.  [default: data/cmp_facade]")
@click.option("--part", type=click.Choice(["base", "extended", "all"]), default="all", show_default=True)
@click.option("--from", "home", metavar="URL", help="Take the archives from another address (a mirror).")
@click.option("--unchecked", is_flag=True, help="Unpack also what differs from the archives that the kit knows.")
def fetch(out: Path | None, part: str, home: str | None, unchecked: bool) -> None:
    """Download the CMP Facade Database (606 photographs with labels) and check it.

    An interrupted download goes on where it stopped. Without a network, put the zip files of the database's home page
    into the folder and run this all the same.
    """
    from segkit.download import HOME, DownloadError
    from segkit.download import fetch as fetch_parts
    from segkit.facades import DataError, data_folder

    try:
        root = out or data_folder() / "cmp_facade"
        parts = ("base", "extended") if part == "all" else (part,)
        for line in fetch_parts(root, parts, home=home or HOME, check=not unchecked):
            click.echo(line)
    except (DownloadError, DataError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("Cite: R. Tylecek, R. Sara, Spatial Pattern Templates ..., GCPR 2013 (see data/README.md).")


@data.command()
@click.option("--data", "root", metavar="CMP_ROOT", help="Folder that holds base/, or: sample")
@click.option("--all-faults", is_flag=True, help="List every fault instead of the first 20.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def verify(context: click.Context, root: str | None, all_faults: bool, quiet: bool) -> None:
    """Look through a folder of facades: counts, sizes, class frequencies, damage.

    Exit status 1 if anything is missing, damaged or inconsistent, else 0.
    """
    from segkit.facades import DataError, find_root

    try:
        from segkit.verify import format_survey, survey
    except ModuleNotFoundError as error:
        raise click.ClickException(
            "This is the student edition, which leaves `data verify` out, because it decodes label files, as you do "
            "in notebook 1. `data fetch` checks what it downloads by itself."
        ) from error
    try:
        found = survey(find_root(root), progress=not quiet)
    except DataError as error:
        raise click.ClickException(str(error)) from error
    click.echo(format_survey(found, most=len(found.faults) + 1 if all_faults else 20))
    context.exit(1 if found.faults else 0)


@data.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to draw into (out/base/...).")
@click.option("--count", type=click.IntRange(1, 9999), default=32, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=2026, show_default=True, help="Another seed, other facades.")
def sample(out: Path, count: int, seed: int) -> None:
    """Draw synthetic facades with labels, in the database's own file format.

    With the defaults this draws the sample in data/sample again.
    """
    from segkit.synthetic import make_sample

    try:
        names = make_sample(out, count, seed)
    except OSError as error:
        raise click.ClickException(f"Could not write to {out}: {error.strerror or error}.") from error
    click.echo(f"{len(names)} facades, {names[0]} to {names[-1]}, in {out / 'base'}")
