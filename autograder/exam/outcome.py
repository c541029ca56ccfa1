"""What became of one entry of the exam."""

from dataclasses import dataclass, field
from typing import Any

from autograder.exam.entries import Entry

__all__ = ["Outcome"]


@dataclass
class Outcome:
    """What became of one entry.

    Attributes:
        entry: The entry.
        exact: Whether every check lost just the expected parts.
        caught: Whether any check lost points, of an entry that must lose some; of the kind ``visible``, whether a visible check complains.
        by: Of a generated mutant: the check that caught it.
        named: Whether cause and words are those expected; None where nothing was to be named.
        false_alarm: Whether honest work lost points.
        points_lost: Points that it deserved and did not get; what could not be graded is lost whole.
        undeserved: Points that it got and did not deserve.
        parity: Whether nbgrader and plain pytest give the points of the command line; None where that was not asked.
        problem: What is not as it must be, in words; empty if all is well.
        complaint: The line of the visible check.
        results: Of the graded checks.
        notes: The result's notes.
        seconds: How long it took.
    """

    entry: Entry
    exact: bool = False
    caught: bool = False
    by: str = ""
    named: bool | None = None
    false_alarm: bool = False
    points_lost: float = 0.0
    undeserved: float = 0.0
    parity: bool | None = None
    problem: str = ""
    complaint: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
