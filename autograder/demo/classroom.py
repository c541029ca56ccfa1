"""Makes the demo's submissions out of the student release, the way students do: by filling in its cells."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autograder.demo.students import DemoError, Student
from autograder.exam.building import solved_notebooks, write_submission
from autograder.exam.entries import CorpusError
from segkit.checkpoints import read_state_dict, save_checkpoint
from segkit.submit import build_submission

__all__ = ["hand_in", "make_class", "solutions"]

ANSWER = "Answered by a student of the demo; a person grades this."


def _nbgrader(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = cell["metadata"].get("nbgrader", {})
    return found


def solutions(notebooks: Path) -> dict[str, str]:
    """Solution code of the source notebooks by grade id, without the markers."""
    cells = [cell for notebook in solved_notebooks(notebooks).values() for cell in notebook["cells"]]
    return {
        _nbgrader(cell)["grade_id"]: cell["source"] for cell in cells if cell["cell_type"] == "code" and _nbgrader(cell).get("solution")
    }


def fill_in(release: Path, answers: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The notebooks of a release as a student leaves them who makes no mistake.

    Args:
        release: The unpacked release.
        answers: Solutions by grade id; whoever has none leaves everything untouched.
    """
    notebooks = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(release.glob("*.ipynb"))}
    for cell in [cell for notebook in notebooks.values() for cell in notebook["cells"]]:
        role = _nbgrader(cell)
        if cell["cell_type"] == "markdown" and role.get("grade") and answers:
            cell["source"] = ANSWER
        else:
            cell["source"] = answers.get(role.get("grade_id", ""), "".join(cell["source"]))
    return notebooks


def hand_in(student: Student, release: Path, answers: Mapping[str, str], checkpoints: Path | None, folder: Path) -> Path:
    """Make one submission.

    Args:
        student: Who.
        release: The unpacked student release.
        answers: Solutions by grade id.
        checkpoints: Folder of the fitted checkpoints; None leaves them out.
        folder: Folder of the class.

    Returns:
        The submission: a folder, or a zip.

    Raises:
        DemoError: The mistake does not fit the solution any more.
    """
    work = folder / student.name
    shutil.copytree(release, work, ignore=shutil.ignore_patterns("*.ipynb"))
    done = {} if student.untouched else {name: source for name, source in answers.items() if name not in student.undone}
    try:
        write_submission(student.entry, fill_in(release, done), work)
    except CorpusError as error:
        raise DemoError(f"student {student.name}: {error}") from error
    for network, fitted in student.checkpoints.items() if checkpoints else ():
        source = Path(checkpoints or "", f"{fitted}.safetensors")
        if student.renamed and network in student.entry.cells:
            source = _rename_layers(source, student.renamed)
        _link(source, work / "checkpoints" / f"{network}.safetensors")
    return _zipped(work, folder) if student.zipped else work


def _link(source: Path, target: Path) -> None:
    """The same file under another name: a class's checkpoints lie on the disk once. A copy where links are impossible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _rename_layers(checkpoint: Path, renamed: Mapping[str, str]) -> Path:
    """Write a checkpoint beside another one, as a class with these layer names would have saved it."""
    target = checkpoint.with_name(f"{checkpoint.stem}_{'_'.join(renamed.values())}.safetensors")
    split = [(*key.partition("."), value) for key, value in read_state_dict(checkpoint).items()]
    save_checkpoint(target, {f"{renamed.get(layer, layer)}.{parameter}": value for layer, _, parameter, value in split})
    return target


def _zipped(work: Path, folder: Path) -> Path:
    built = build_submission(work, folder / f"{work.name}.zip", fast=True)
    if built.faults:
        raise DemoError(f"segkit submit found faults in a submission of the demo: {'; '.join(built.faults)}")
    shutil.rmtree(work)
    return built.path


def make_class(release: Path, notebooks: Path, checkpoints: Path | None, folder: Path, students: Iterable[Student]) -> list[Path]:
    """Make the submissions of a class from a release.

    Args:
        release: The unpacked student release.
        notebooks: The source notebooks, with solutions.
        checkpoints: Folder of the fitted checkpoints; None makes submissions without any.
        folder: Where they go; what was there is removed.
        students: Who.

    Returns:
        The submissions, in the order of the students.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    answers = solutions(notebooks)
    return [hand_in(student, release, answers, checkpoints, folder) for student in students]
