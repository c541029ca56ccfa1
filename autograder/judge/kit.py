"""Which kit it is: a hash over the code that results go through."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy
import torch

__all__ = ["digest_of", "kit_digest"]

PACKAGES = Path(__file__).resolve().parents[2]

# Of autograder/, what no result goes through; a new file counts until it is written down here. The files of an assignment are
# hashed by themselves, where a result of it is looked for.
NO_RESULT = frozenset({
    "__main__.py", "assignments", "batch", "cli", "demo", "exam", "export", "gradebook", "release", "report",
})  # fmt: skip


@cache
def kit_digest() -> str:
    """Hash of segkit, the judge, the sandbox, and of the versions of the libraries that compute."""
    grader = PACKAGES / "autograder"
    files = [path for path in grader.rglob("*.py") if path.relative_to(grader).parts[0] not in NO_RESULT]
    files += (PACKAGES / "segkit").rglob("*.py")
    versions = f"torch {torch.__version__} numpy {numpy.__version__}"
    return hashlib.sha256(f"{digest_of(PACKAGES, files)} {versions}".encode()).hexdigest()


def digest_of(folder: Path, files: Iterable[Path]) -> str:
    """Hash of names and contents of files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
