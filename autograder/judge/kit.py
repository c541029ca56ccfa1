"""Which kit it is: a hash over the code that results of an assignment go through."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy
import torch

from autograder.course.assignment import Assignment
from segkit.datasets.registry import DATASETS, DEFAULT
from segkit.edition import NOT_GRADED_WITH, edition_files, named_parts, shared_parts

__all__ = ["digest_of", "digest_of_kit", "kit_digest"]

PACKAGES = Path(__file__).resolve().parents[2]

# Rooms of autograder/ that results go through; the arrows between rooms (tests/test_rooms.py) let them import no other but report, which
# reads tables and cleans text for them. The files of an assignment are hashed by themselves, where a result of it is looked for.
ROOMS = ("course", "handins", "judge", "sandbox", "segmentation")
# Of segkit/, lists that have a line for each assignment or data set: what they say is hashed, as far as it is of this assignment.
LISTS = frozenset({"datasets/registry.py", "edition.py"})


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
    parts = shared_parts(segkit)
    files = {path for room in ROOMS for path in (grader / room).rglob("*.py")}
    files |= set(segkit.rglob("*.py")).difference({segkit / name for name in LISTS}, *parts.values())
    own = DATASETS.get(dataset or DEFAULT, "").removeprefix("segkit.")
    return files | named_parts(parts, [*files, *assignment.rglob("*.py")], own)


def digest_of(folder: Path, files: Iterable[Path]) -> str:
    """Hash of names and contents of files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
