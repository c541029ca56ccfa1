"""Clean copies of raw hand-ins for nbgrader, one hand-in at a time."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbformat import NotebookNode

    from autograder.course.rubric import Rubric
    from autograder.handins.checkpoints import Checkpoint

__all__ = ["collect_one", "release_versions"]


def release_versions(paths: list[Path]) -> "dict[str, NotebookNode]":
    """File name -> notebook as it was handed out."""
    from autograder.gradebook.cells import release_cells

    return {path.name: release_cells(path) for path in paths}


def collect_one(path: Path, name: str, target: Path, handed_out: "dict[str, NotebookNode]", rubric: "Rubric", force: bool) -> bool:
    """Collect one hand-in and say what was done; False if it could not be read."""
    from autograder.gradebook.copying import collect_folder
    from autograder.handins.submission import SubmissionError, read_submission

    if target.exists() and not force:
        click.echo(f"{name}: {target} is there already; --force replaces it")
        return True
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        submission = read_submission(path, name, rubric)
        try:
            names = [document.name for document in submission.workbook.documents]
            weights = [checkpoint.path for checkpoint in submission.checkpoints.values() if checkpoint.path is not None]
            done = collect_folder(submission.folder, partial, handed_out, names, weights)
            name_packed(submission.checkpoints, partial / "checkpoints.json")
        finally:
            submission.close()
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except (SubmissionError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        click.echo(f"{name}: not collected: {error}", err=True)
        return False
    click.echo(f"{name}: collected in {target}")
    skipped = [note for note in submission.notes if "left out" in note or "unpack" in note]
    for note in [*skipped, *done.notes]:
        click.echo(f"    {note}")
    return True


def name_packed(checkpoints: "Mapping[str, Checkpoint]", path: Path) -> None:
    """Name checkpoints that are in the raw hand-in but cannot be unpacked: their gates wait for a person, as on the command line."""
    packed = {name: {"sha256": "unknown", "where": f"raw hand-in: {found.problem}"} for name, found in checkpoints.items() if found.packed}
    if not packed:
        return
    named: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        named = dict(json.loads(path.read_text(encoding="utf-8-sig")))
    path.write_text(json.dumps(named | packed, indent=2) + "\n", encoding="utf-8")
