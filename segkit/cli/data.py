"""``python -m segkit data``: fetch a data set, verify a folder of its pictures, draw synthetic ones."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segkit.cli.common import one_of, options

if TYPE_CHECKING:
    from segkit.datasets import DatasetSpec

__all__ = ["data"]


@click.group()
def data() -> None:
    """Fetch, verify or draw the pictures of a data set."""


def _parts(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    folders = context.params["spec"].folders
    return folders if one_of([*folders, "all"], value, context, parameter) == "all" else (value,)


@data.command()
@options("dataset")
@click.option("--out", type=click.Path(path_type=Path), help="Root of the pictures.  [default: data/cmp_facade for facades]")
@click.option("--part", "parts", metavar="FOLDER", callback=_parts, default="all", show_default=True, help="base, extended, ... or all")
@click.option("--from", "home", metavar="URL", help="Take the archives from another address (a mirror).")
@click.option("--unchecked", is_flag=True, help="Unpack also what differs from the archives that the kit knows.")
def fetch(spec: "DatasetSpec", out: Path | None, parts: tuple[str, ...], home: str | None, unchecked: bool) -> None:
    """Download a data set (the CMP Facade Database: 606 photographs with labels) and check it.

    An interrupted download goes on where it stopped. Without a network, put the zip files of the database's home page
    into the folder and run this all the same.
    """
    from segkit.datasets import DataError, data_folder
    from segkit.download import DownloadError

    if spec.fetch is None:
        raise click.ClickException(f"{spec.title} cannot be downloaded by this command; data/{spec.name}/README.md says how to get it.")
    try:
        for line in spec.fetch(out or data_folder() / spec.home, parts, home=home, check=not unchecked):
            click.echo(line)
    except (DownloadError, DataError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Cite: {spec.citation} (see data/{spec.name}/README.md).")


@data.command()
@options("dataset")
@click.option("--data", "root", metavar="ROOT", help="Folder of the pictures (for facades: that holds base/), or: sample")
@click.option("--all-faults", is_flag=True, help="List every fault instead of the first 20.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def verify(context: click.Context, spec: "DatasetSpec", root: str | None, all_faults: bool, quiet: bool) -> None:
    """Look through a folder of pictures: counts, sizes, class frequencies, damage.

    Exit status 1 if anything is missing, damaged or inconsistent, else 0.
    """
    from segkit.datasets import DataError

    if spec.verify is None:
        raise click.ClickException(f"There is no verifier of {spec.title} yet; data/{spec.name}/README.md says what its files must be.")
    try:
        found = spec.verify(spec.find_root(root), progress=not quiet)
        from segkit.datasets.survey import format_survey
    except DataError as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(
            "This is the student edition, which leaves `data verify` out, because it decodes label files, as you do "
            "in a notebook. `data fetch` checks what it downloads by itself."
        ) from error
    click.echo(format_survey(found, most=len(found.faults) + 1 if all_faults else 20))
    context.exit(1 if found.faults else 0)


@data.command()
@options("dataset")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to draw into.")
@click.option("--count", type=click.IntRange(1, 9999), default=32, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=2026, show_default=True, help="Another seed, other pictures.")
def sample(spec: "DatasetSpec", out: Path, count: int, seed: int) -> None:
    """Draw synthetic pictures with labels, in the data set's own file format.

    With the defaults this draws the sample in data/NAME/sample again.
    """
    try:
        names = spec.draw(out, count=count, seed=seed)
    except OSError as error:
        raise click.ClickException(f"Could not write to {out}: {error.strerror or error}.") from error
    click.echo(f"{len(names)} {spec.pictures}, {names[0]} to {names[-1]}, in {out / spec.folders[0]}")
