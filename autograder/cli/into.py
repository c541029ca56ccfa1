"""``export --into``: its options, and what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from autograder.export.entries import Entry, Options
    from autograder.export.into import Filled

__all__ = ["fill", "into_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--into",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Gradebook file that Canvas, Moodle (grading worksheet), Brightspace or Blackboard gave out.",
    ),
    click.option("--column", default="", help="--into: the column, by a part of its header. Default: found by the assignment's name."),
    click.option(
        "--system",
        type=click.Choice(["canvas", "moodle", "brightspace", "blackboard"]),
        help="--into: whose file it is. Default: recognised by its header.",
    ),
    click.option(
        "--match",
        "pairs",
        multiple=True,
        metavar="NAME=ID",
        help="--into: the result NAME is on the line with this id, login or mail address (may be repeated).",
    ),
    click.option("--comments", is_flag=True, help="--into, Moodle and Blackboard: what was lost and why, as comments beside the points."),
    click.option(
        "--feedback", is_flag=True, help="--into, Moodle: a zip of feedback files beside it, a page for each whose points are written."
    ),
    click.option(
        "--late-penalty",
        type=click.Choice(["take", "leave"]),
        help="--into: take what lateness costs off the points, or leave that to the system; asked for where it costs somebody points. "
        "Classroom 50 knows leave alone.",
    ),
    click.option("--scale", is_flag=True, help="--into: convert points to the maximum that the file states."),
    click.option("--only", multiple=True, metavar="CHECK", help="--into: points of this check alone; * is anything (may be repeated)."),
    click.option("--without", multiple=True, metavar="CHECK", help="--into: all points but those of this check (may be repeated)."),
)


def into_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def fill(
    file: Path,
    out: Path | None,
    entries: "list[Entry]",
    options: "Options",
    notices: list[str],
    *,
    column: str,
    system: str | None,
    pairs: tuple[str, ...],
    scale: bool,
    only: tuple[str, ...],
    without: tuple[str, ...],
    comments: bool,
    feedback: bool,
    late_penalty: str | None,
) -> str:
    """Write the copy with points; returns what was done, and adds to ``notices`` what could not be."""
    from autograder.export.into import Wanted, beside, fill_gradebook
    from autograder.report.labels import clean_text

    wanted = Wanted(column, system or "", _pairs(pairs), scale, only, without, comments, feedback, late_penalty or "")
    target = out or beside(file)
    if target.is_dir():
        target = target / beside(file).name
    filled = fill_gradebook(file, target, entries, options.roster, wanted)
    said = [f"{filled}: {target}", *filled.remarks]
    if feedback:
        said.insert(1, _write_feedback(filled, target, entries, options))
    # names come from students and from the file: no terminal codes, one line each
    notices += [" ".join(clean_text(notice).split()) for notice in filled.notices]
    return "\n".join(" ".join(clean_text(text).split()) for text in said)


def _write_feedback(filled: "Filled", target: Path, entries: "list[Entry]", options: "Options") -> str:
    """Write the zip that Moodle takes as feedback; returns what was done."""
    from autograder.export.feedback import write_moodle_zip

    out = target.with_name(f"{target.stem.removesuffix('.filled')}.feedback.zip")
    placed = [(filled.folders[name], entry) for entry in entries if (name := entry.result["submission"]) in filled.folders]
    write_moodle_zip(out, ((folder, options.page(entry)) for folder, entry in placed))
    return f"{len(placed)} pages of feedback, {out.stat().st_size / 2**20:.1f} MiB: {out}"


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, key = text.rpartition("=")
        if not equals or not name or not key:
            raise click.UsageError(f"--match: expected NAME=ID, found {text!r}.")
        pairs[name] = key
    return pairs
