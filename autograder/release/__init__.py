"""The student release: built, leak-checked and tried (``python -m autograder release fcn --out DIR``)."""

from autograder.release.command import release_command

__all__ = ["release_command"]
