"""Where the submissions of a graded class lie."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from autograder.export.entries import Entry

__all__ = ["paths_of"]


def paths_of(graded: Path, submissions: Sequence[Path], chosen: "Sequence[Entry]", assignment: str) -> dict[str, Path]:
    """Folder of a result -> the submission that it is of. Results hold no code: it is read where it was graded from.

    Args:
        graded: The class.
        submissions: Where they lie now; empty for where the journal says.
        chosen: Whose are wanted.
        assignment: Its name.

    Raises:
        click.UsageError: One of them is not there.
    """
    from autograder.batch.journal import JOURNAL, read_history
    from autograder.handins.submission import submission_names

    out = graded.resolve().parent if (graded / "result.json").is_file() else graded.resolve()
    places = submissions or [out / ".handins"]  # where older journals do not say it
    files = [path.resolve() for place in places for path in (place, *(sorted(place.iterdir()) if place.is_dir() else ()))]
    names = {name: path for path, name in reversed(submission_names(files, assignment).items())}
    if not submissions:
        names |= {name: Path(os.path.normpath(out / place)) for name, place in read_history(out / JOURNAL).places.items()}
    found = {entry.folder: names[entry.folder] for entry in chosen if entry.folder in names and names[entry.folder].exists()}
    missing = [entry.folder for entry in chosen if entry.folder not in found]
    if missing:
        gone = [str(names[name]) for name in missing if name in names]
        where = f"in {', '.join(map(str, submissions))}" if submissions else f"at {', '.join(gone[:3])}" if gone else "in the journal"
        raise click.UsageError(
            f"expected the submissions of all results, since results hold no code; {where} there is none of {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}. Name the folder that was graded: --submissions FOLDER"
        )
    return found
