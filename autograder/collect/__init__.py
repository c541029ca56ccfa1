"""Clean copies of raw hand-ins for nbgrader (``python -m autograder collect RAW... --out submitted``)."""

from autograder.collect.command import collect_command

__all__ = ["collect_command"]
