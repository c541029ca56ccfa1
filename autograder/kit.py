"""Which kit it is: a hash over the code that results go through."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy
import torch

__all__ = ["digest_of", "kit_digest"]

PACKAGES = Path(__file__).resolve().parents[1]


@cache
def kit_digest() -> str:
    """Hash of segkit, the judge, the sandbox, and of the versions of the libraries that compute."""
    grader = PACKAGES / "autograder"
    files = [*(PACKAGES / "segkit").rglob("*.py"), *grader.glob("*.py"), *(grader / "sandbox").glob("*.py")]
    versions = f"torch {torch.__version__} numpy {numpy.__version__}"
    return hashlib.sha256(f"{digest_of(PACKAGES, files)} {versions}".encode()).hexdigest()


def digest_of(folder: Path, files: Iterable[Path]) -> str:
    """Hash of names and contents of files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
