"""Makes the demo's submissions out of the student release, the way students do: by filling in its cells."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode

from autograder.demo.fitting import Checkpoints
from autograder.demo.students import STUDENTS, Edit, Student
from autograder.release.notebooks import read_source
from segkit.checkpoints import read_state_dict, save_checkpoint
from segkit.submit import build_submission

__all__ = ["DemoError", "hand_in", "make_class", "solve"]

MARKER = re.compile(r"^[ \t]*### (BEGIN|END) SOLUTION[ \t]*\n?", re.MULTILINE)
ANSWER = "Answered by a student of the demo; a person grades this."


class DemoError(Exception):
    """The demo does not fit the notebooks any more."""


def _grade_id(cell: NotebookNode) -> str | None:
    grade_id: str | None = cell.metadata.get("nbgrader", {}).get("grade_id")
    return grade_id


def solutions(notebooks: Path) -> dict[str, str]:
    """Solution code of the source notebooks by grade id, without the markers."""
    found = {}
    for path in sorted(notebooks.glob("*.ipynb")):
        for cell in read_source(path).cells:
            grade_id = _grade_id(cell)
            if grade_id is not None and cell.cell_type == "code" and MARKER.search(cell.source):
                found[grade_id] = MARKER.sub("", cell.source + "\n").rstrip("\n")
    return found


def edited(source: str, edit: Edit) -> str:
    """Apply a mistake to a solution.

    Raises:
        DemoError: If the solution is not what the mistake was written for.
    """
    found = source.count(edit.old)
    if found != edit.times:
        raise DemoError(
            f"The mistake in cell {edit.cell} expected {edit.times} x {edit.old.strip()!r} in the notebook's solution, but "
            f"found it {found} times. The solution was rewritten: adapt autograder/demo/students.py."
        )
    return source.replace(edit.old, edit.new)


def solve(notebook: NotebookNode, student: Student, answers: dict[str, str]) -> None:
    """Do in a released notebook what a student did: fill in cells, make mistakes, delete cells.

    Args:
        notebook: Changed in place.
        student: Who.
        answers: Solutions by grade id.
    """
    notebook.cells = [cell for cell in notebook.cells if _grade_id(cell) not in student.deleted]
    for cell in notebook.cells:
        name = _grade_id(cell)
        if name in student.done:
            cell.source = answers[name]
            for edit in student.edits:
                if edit.cell == name:
                    cell.source = edited(cell.source, edit)
        elif cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("grade") and student.done:
            cell.source = ANSWER


def _link(source: Path, target: Path) -> None:
    """The same file under another name: a class's checkpoints lie on the disk once. A copy where links are impossible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _rename_layers(checkpoint: Path, renamed: dict[str, str]) -> Path:
    """Write a checkpoint beside another one, as a class with these layer names would have saved it."""
    target = checkpoint.with_name(f"{checkpoint.stem}_{'_'.join(renamed.values())}.safetensors")
    state = read_state_dict(checkpoint)
    save_checkpoint(target, {_renamed(key, renamed): value for key, value in state.items()})
    return target


def _renamed(key: str, renamed: dict[str, str]) -> str:
    layer, _, parameter = key.partition(".")
    return f"{renamed.get(layer, layer)}.{parameter}"


def hand_in(student: Student, release: Path, answers: dict[str, str], checkpoints: Checkpoints | None, folder: Path) -> Path:
    """Make one submission.

    Args:
        student: Who.
        release: The unpacked student release.
        answers: Solutions by grade id.
        checkpoints: The fitted checkpoints; None leaves them out.
        folder: Folder of the class.

    Returns:
        The submission: a folder, or a zip.
    """
    work = folder / student.name
    shutil.copytree(release, work)
    for path in sorted(work.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        solve(notebook, student, answers)
        nbformat.write(notebook, path)
    for network, fitted in student.checkpoints.items() if checkpoints else ():
        source = getattr(checkpoints, fitted)
        if student.renamed and any(edit.cell == network for edit in student.edits):
            source = _rename_layers(source, dict(student.renamed))
        _link(source, work / "checkpoints" / f"{network}.safetensors")
    return _zipped(work, folder) if student.zipped else work


def _zipped(work: Path, folder: Path) -> Path:
    built = build_submission(work, folder / f"{work.name}.zip")
    if built.faults:
        raise DemoError(f"segkit submit found faults in a submission of the demo: {'; '.join(built.faults)}")
    shutil.rmtree(work)
    return built.path


def make_class(
    release: Path, notebooks: Path, checkpoints: Checkpoints | None, folder: Path, students: Iterable[Student] = STUDENTS
) -> list[Path]:
    """Make the submissions of a class from a release.

    Args:
        release: The unpacked student release.
        notebooks: The source notebooks, with solutions.
        checkpoints: The fitted checkpoints; None makes submissions without any.
        folder: Where they go; what was there is removed.
        students: Who.

    Returns:
        The submissions, in the order of the students.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    answers = solutions(notebooks)
    return [hand_in(student, release, answers, checkpoints, folder) for student in students]
