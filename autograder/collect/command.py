"""``python -m autograder collect``: clean copies of raw hand-ins for nbgrader."""

import contextlib
import json
import shutil
import sys
from pathlib import Path

import click

__all__ = ["collect_command"]


@click.command("collect")
@click.argument("raw", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="submitted", show_default=True,
              help="nbgrader's folder of submissions.")
@click.option("--assignment", default="fcn", show_default=True)
@click.option("--force", is_flag=True, help="Replace copies that are there already.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), hidden=True)
def collect_command(raw: tuple[Path, ...], out: Path, assignment: str, force: bool, root: Path | None) -> None:  # fmt: skip
    """Write clean copies of the RAW hand-ins (folders or zips) to OUT/<student>/<assignment>.

    Notebooks get their original names back (they are known by their cells), encodings and old formats are repaired,
    doubled cells are resolved, links and oversized files are left out. Nothing is executed; the raw files stay as they are.
    Exit code 1: something could not be collected; the others were.
    """
    from autograder.assignment import open_assignment
    from autograder.release.command import repository
    from autograder.release.notebooks import NotebookFault
    from autograder.release.sources import ReleaseError, find_sources
    from autograder.rubric import RubricError
    from autograder.submission import submission_names

    try:
        sources = find_sources(assignment, (root or repository()).resolve())
        handed_out = release_versions(sources.notebook_paths())
        rubric = open_assignment(sources.material).rubric
    except (ReleaseError, NotebookFault, RubricError) as error:
        raise click.UsageError(str(error)) from None
    failed = 0
    for path, name in submission_names(raw, assignment).items():
        failed += not collect_one(path, name, out / name / assignment, handed_out, rubric, force)
    click.echo(f"{len(raw) - failed} of {len(raw)} hand-ins collected in {out}")
    sys.exit(1 if failed else 0)


def release_versions(paths: list[Path]) -> dict:
    """File name -> notebook as it was handed out."""
    from autograder.cells import release_cells

    return {path.name: release_cells(path) for path in paths}


def collect_one(path: Path, name: str, target: Path, handed_out: dict, rubric, force: bool) -> bool:
    """Collect one hand-in and say what was done; False if it could not be read."""
    from autograder.collect.copying import collect_folder
    from autograder.submission import SubmissionError, read_submission

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


def name_packed(checkpoints: dict, path: Path) -> None:
    """Name checkpoints that are in the raw hand-in but cannot be unpacked: their gates wait for a person, as on the command line."""
    packed = {name: {"sha256": "unknown", "where": f"raw hand-in: {found.problem}"} for name, found in checkpoints.items() if found.packed}
    if not packed:
        return
    named: dict = {}
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        named = dict(json.loads(path.read_text(encoding="utf-8-sig")))
    path.write_text(json.dumps(named | packed, indent=2) + "\n", encoding="utf-8")
