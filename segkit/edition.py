"""The student edition of segkit: which files of the package students get, and writing them to a folder.

Two places need it: the release builder, and the grader, whose worker process runs student code over exactly these files
and nothing else. The list is an allow-list: a new file is left out until somebody decides that it belongs to students
(a test fails until the decision is written down here).

Three rooms are shared out: they have a module or folder for each assignment or data set. Of these a release, and the hash of what
results go through, take what is named by something that they take anyway; another assignment's come and go unnoticed.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

__all__ = [
    "INSTRUCTOR_PARTS", "NOT_GRADED_WITH", "STUDENT_PARTS", "EditionError", "edition_files", "named_parts", "shared_parts",
    "undecided_files", "write_edition",
]  # fmt: skip

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
    "datasets/",
    "download.py",
    "environment.py",
    "evaluation.py",
    "facades.py",
    "gradients.py",
    "handin.py",
    "history.py",
    "inference.py",
    "installs.py",
    "kit.py",
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
    "pretrain_config.py",
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

# What stays in the house, also of a students' package. The first holds all solutions; the others decode label files or make releases.
INSTRUCTOR_PARTS = (
    "reference/",
    "datasets/*/verifying.py",
    "datasets/survey.py",
    "edition.py",
)

# Students' parts that no worker of the grader has: what a check compares with earns nothing, be it a network that a loop builds from
# the table of layers, or the training step of the check.
NOT_GRADED_WITH = ("specification.py", "step_mistakes.py", "training_step.py")

# Rooms that are shared out. Of checks/ only the folders are: its modules are those of any network.
SHARED_OUT = ("checks", "datasets", "reference")
REGISTRY = "datasets/registry.py"  # names every data set, and needs none
GENERAL = {REGISTRY, *(f"{room}/__init__.py" for room in SHARED_OUT)}
NAMED = re.compile(rf"\bsegkit\.({'|'.join(SHARED_OUT)})(?:\.(\w+)| import (\([^)]*\)|.*))")


class EditionError(Exception):
    """The package lacks a file that the student edition needs."""


def package_folder() -> Path:
    """The folder of the package that is running."""
    return Path(__file__).resolve().parent


def edition_files(package: Path | None = None, readers: Iterable[Path] | None = None) -> list[str]:
    """List the files of the student edition.

    Args:
        package: the folder ``segkit/`` of the full kit; the running one if None.
        readers: the files of an assignment (notebooks, rubric), which need parts of it: the parts of other assignments and data sets
            are left out. None: all of it.

    Returns:
        Sorted paths relative to the package, with ``/`` (``"cli/train.py"``).

    Raises:
        EditionError: a listed file is not there.
    """
    package = package or package_folder()
    names: set[str] = set()
    for part in STUDENT_PARTS:
        found = _files_of(package, part)
        if not found:
            raise EditionError(
                f"{package / part}: expected this part of the student edition, found nothing. Restore it, or take it "
                "off the list in segkit/edition.py."
            )
        names.update(found)
    names -= _instructors(package)
    if readers is not None:
        parts = shared_parts(package)
        general = {package / name for name in names}.difference(*parts.values())
        taken = general | named_parts(parts, [*general - {package / REGISTRY}, *readers])
        names = {name for name in names if package / name in taken}
    return sorted(names)


def shared_parts(package: Path) -> dict[str, set[Path]]:
    """The parts of the rooms that are shared out: ``"reference.fcn"`` -> its files."""
    parts: dict[str, set[Path]] = {}
    for room in SHARED_OUT:
        for path in (package / room).rglob("*.py"):
            name, *inner = path.relative_to(package / room).with_suffix("").parts
            if f"{room}/{name}.py" not in GENERAL and (inner or room != "checks"):
                parts.setdefault(f"{room}.{name}", set()).add(path)
    return parts


def named_parts(parts: dict[str, set[Path]], readers: Iterable[Path], first: str = "") -> set[Path]:
    """Files of the parts that files name, in imports or in words, and of those that these name.

    Args:
        parts: From ``shared_parts``.
        readers: Python files, notebooks, rubrics.
        first: A part that is taken in any case; empty for none.
    """
    parts, found = dict(parts), set()
    wanted = [first, *_names(readers)]
    while wanted:
        part = parts.pop(wanted.pop(), set())
        found |= part
        wanted += _names(part)
    return found


def _names(readers: Iterable[Path]) -> Iterator[str]:
    for path in readers:
        for room, name, names in NAMED.findall(path.read_text(encoding="utf-8", errors="replace")):
            yield from (f"{room}.{word}" for word in re.findall(r"\w+", name or names))


def undecided_files(package: Path | None = None) -> list[str]:
    """List the Python files that are neither on the students' nor on the instructors' list."""
    package = package or package_folder()
    decided = {name for part in STUDENT_PARTS for name in _files_of(package, part)} | _instructors(package)
    every = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    return sorted(every - decided)


def write_edition(
    folder: Path, package: Path | None = None, for_workers: bool = False, readers: Iterable[Path] | None = None
) -> list[Path]:
    """Write the student edition as ``folder/segkit``.

    Args:
        folder: an existing folder; a ``segkit/`` in it must not be there yet.
        package: the folder ``segkit/`` of the full kit; the running one if None.
        for_workers: whether students' work is graded with it: then without ``NOT_GRADED_WITH``.
        readers: as of ``edition_files``.

    Returns:
        The files written.

    Raises:
        EditionError: a listed file is missing.
        FileExistsError: ``folder/segkit`` is there already (an old file in it would be published with the new ones).
    """
    package = package or package_folder()
    names = [name for name in edition_files(package, readers) if not (for_workers and name in NOT_GRADED_WITH)]
    target = Path(folder) / "segkit"
    target.mkdir()
    written = []
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / name, path)  # contents only: no modes, owners or times of this machine
        written.append(path)
    return written


def _instructors(package: Path) -> set[str]:
    names = [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    return {name for name in names for part in INSTRUCTOR_PARTS if fnmatch(name, f"{part}*" if part.endswith("/") else part)}


def _files_of(package: Path, part: str) -> list[str]:
    if part.endswith("/"):
        return sorted(path.relative_to(package).as_posix() for path in (package / part).rglob("*.py"))
    return [part] if (package / part).is_file() else []
