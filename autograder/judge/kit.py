"""Which kit it is: a hash over the code that results of an assignment go through."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy
import torch

from autograder.course.assignment import Assignment
from segkit.datasets.registry import DATASETS, DEFAULT
from segkit.edition import NOT_GRADED_WITH, edition_files

__all__ = ["digest_of", "digest_of_kit", "kit_digest"]

PACKAGES = Path(__file__).resolve().parents[2]

# Of autograder/, what no result goes through; a new file counts until it is written down here. The files of an assignment are
# hashed by themselves, where a result of it is looked for.
NO_RESULT = frozenset({
    "__main__.py", "assignments", "batch", "cli", "demo", "exam", "export", "gradebook", "release", "report",
})  # fmt: skip
# Of segkit/, lists that have a line for each assignment or data set: what they say is hashed, as far as it is of this assignment.
LISTS = frozenset({"datasets/registry.py", "edition.py"})
# Rooms of segkit/ with a module or folder for each assignment or data set: one counts if code that counts imports it.
SHARED_OUT = ("datasets", "reference")
IMPORT = re.compile(rf"\bsegkit\.({'|'.join(SHARED_OUT)})(?:\.(\w+)| import (\([^)]*\)|.*))")


def kit_digest(assignment: Assignment) -> str:
    """Hash of segkit, the judge, the sandbox, and of the versions of the libraries that compute.

    What belongs to other assignments and data sets alone is left out: adding one grades nothing again.
    """
    return _kept(assignment.folder, assignment.rubric.dataset)


@cache
def _kept(folder: Path, dataset: str) -> str:
    return digest_of_kit(PACKAGES, folder, dataset)


def digest_of_kit(packages: Path, assignment: Path, dataset: str) -> str:
    """The hash of ``kit_digest``, of the kit that lies in a folder.

    Args:
        packages: Folder that holds ``autograder/`` and ``segkit/``.
        assignment: The assignment's folder.
        dataset: Name of its data set; empty for the default.
    """
    segkit, files = packages / "segkit", _counting(packages, assignment, dataset)
    workers = {segkit / name for name in edition_files(segkit) if name not in NOT_GRADED_WITH}
    seen = [path.relative_to(packages).as_posix() for path in sorted(files & workers)]
    versions = f"torch {torch.__version__} numpy {numpy.__version__}"
    return hashlib.sha256(f"{digest_of(packages, files)} {seen} {versions}".encode()).hexdigest()


def _counting(packages: Path, assignment: Path, dataset: str) -> set[Path]:
    """The files that results of an assignment go through."""
    grader, segkit = packages / "autograder", packages / "segkit"
    files = {path for path in grader.rglob("*.py") if path.relative_to(grader).parts[0] not in NO_RESULT}
    parts: dict[str, set[Path]] = {}  # "reference.fcn" -> its files
    for path in set(segkit.rglob("*.py")) - {segkit / name for name in LISTS}:
        room, *rest = path.relative_to(segkit).with_suffix("").parts
        if room in SHARED_OUT and rest != ["__init__"]:
            parts.setdefault(f"{room}.{rest[0]}", set()).add(path)
        else:
            files.add(path)
    wanted = [DATASETS.get(dataset or DEFAULT, "").removeprefix("segkit."), *_imports([*files, *assignment.rglob("*.py")])]
    while wanted:
        found = parts.pop(wanted.pop(), set())
        files |= found
        wanted += _imports(found)
    return files


def _imports(files: Iterable[Path]) -> Iterator[str]:
    """What of ``SHARED_OUT`` files name: in imports, and in words too."""
    for path in files:
        for room, name, names in IMPORT.findall(path.read_text(encoding="utf-8", errors="replace")):
            yield from (f"{room}.{word}" for word in re.findall(r"\w+", name or names))


def digest_of(folder: Path, files: Iterable[Path]) -> str:
    """Hash of names and contents of files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
