"""The student edition of segkit: which files of the package students get, and writing them to a folder.

Two places need it: the release builder, and the grader, whose worker process runs student code over exactly these files
and nothing else. The list is an allow-list: a new file is left out until somebody decides that it belongs to students
(a test fails until the decision is written down here).
"""

import shutil
from pathlib import Path

__all__ = ["INSTRUCTOR_PARTS", "NOT_GRADED_WITH", "STUDENT_PARTS", "EditionError", "edition_files", "undecided_files", "write_edition"]

# Modules, and packages (ending in "/") of which every Python file belongs to students.
STUDENT_PARTS = (
    "__init__.py",
    "__main__.py",
    "assignment.py",
    "atomic.py",
    "checkpoint_files.py",
    "checkpoints.py",
    "checking.py",
    "checks/",
    "cli/__init__.py",
    "cli/check.py",
    "cli/common.py",
    "cli/data.py",
    "cli/evaluate.py",
    "cli/guard.py",
    "cli/pretrain.py",
    "cli/submit.py",
    "cli/train.py",
    "datasets/__init__.py",
    "datasets/facades/__init__.py",
    "datasets/facades/archives.py",
    "datasets/facades/drawing.py",
    "datasets/facades/house.py",
    "datasets/facades/painting.py",
    "datasets/facades/street.py",
    "datasets/pairs.py",
    "datasets/registry.py",
    "datasets/satellite.py",
    "datasets/spec.py",
    "download.py",
    "environment.py",
    "evaluation.py",
    "facades.py",
    "gradients.py",
    "handin.py",
    "history.py",
    "inference.py",
    "lab.py",
    "layer.py",
    "layers.py",
    "malloc.py",
    "memory_errors.py",
    "mistakes.py",
    "models.py",
    "notebooks/",
    "outputs.py",
    "pictures.py",
    "plots/",
    "precision.py",
    "progress.py",
    "specification.py",
    "state_files.py",
    "step_mistakes.py",
    "student_errors.py",
    "subject.py",
    "submit.py",
    "synthetic.py",
    "tracing.py",
    "training/",
    "training_step.py",
    "transforms.py",
    "trying.py",
    "upsampling.py",
    "values.py",
    "vgg.py",
)

# What stays in the house. The first holds all solutions; the others decode label files or make releases.
INSTRUCTOR_PARTS = (
    "reference/",
    "datasets/facades/verifying.py",
    "datasets/survey.py",
    "edition.py",
)


# Students' parts that no worker of the grader has: what a check compares with earns nothing, be it a network that a loop builds from
# the table of layers, or the training step of the check.
NOT_GRADED_WITH = ("specification.py", "step_mistakes.py", "training_step.py")


class EditionError(Exception):
    """The package lacks a file that the student edition needs."""


def package_folder() -> Path:
    """The folder of the package that is running."""
    return Path(__file__).resolve().parent


def edition_files(package: Path | None = None) -> list[str]:
    """List the files of the student edition.

    Args:
        package: the folder ``segkit/`` of the full kit; the running one if None.

    Returns:
        Sorted paths relative to the package, with ``/`` (``"cli/train.py"``).

    Raises:
        EditionError: a listed file is not there.
    """
    package = package or package_folder()
    names: list[str] = []
    for part in STUDENT_PARTS:
        found = _files_of(package, part)
        if not found:
            raise EditionError(
                f"{package / part}: expected this part of the student edition, found nothing. Restore it, or take it "
                "off the list in segkit/edition.py."
            )
        names += found
    return sorted(names)


def undecided_files(package: Path | None = None) -> list[str]:
    """List the Python files that are neither on the students' nor on the instructors' list."""
    package = package or package_folder()
    decided = {name for part in STUDENT_PARTS + INSTRUCTOR_PARTS for name in _files_of(package, part)}
    every = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    return sorted(every - decided)


def write_edition(folder: Path, package: Path | None = None, for_workers: bool = False) -> list[Path]:
    """Write the student edition as ``folder/segkit``.

    Args:
        folder: an existing folder; a ``segkit/`` in it must not be there yet.
        package: the folder ``segkit/`` of the full kit; the running one if None.
        for_workers: whether students' work is graded with it: then without ``NOT_GRADED_WITH``.

    Returns:
        The files written.

    Raises:
        EditionError: a listed file is missing.
        FileExistsError: ``folder/segkit`` is there already (an old file in it would be published with the new ones).
    """
    package = package or package_folder()
    names = [name for name in edition_files(package) if not (for_workers and name in NOT_GRADED_WITH)]
    target = Path(folder) / "segkit"
    target.mkdir()
    written = []
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / name, path)  # contents only: no modes, owners or times of this machine
        written.append(path)
    return written


def _files_of(package: Path, part: str) -> list[str]:
    if part.endswith("/"):
        return sorted(path.relative_to(package).as_posix() for path in (package / part).rglob("*.py"))
    return [part] if (package / part).is_file() else []
