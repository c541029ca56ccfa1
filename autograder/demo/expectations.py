"""Compares the demo's grades with what was written down beside each student."""

from collections.abc import Mapping, Sequence
from typing import Any

from autograder.demo.students import Student

__all__ = ["lost_checks", "surprises"]


def lost_checks(result: Mapping[str, Any]) -> frozenset[str]:
    """Ids of the checks of a result that are not fully earned; what a person grades is no loss."""
    return frozenset(check["id"] for check in result["checks"] if check["status"] not in ("earned", "needs_manual"))


def surprises(students: Sequence[Student], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line for each result that differs from what was expected.

    Args:
        students: Who, with what is expected.
        results: Their results, in the same order.

    Returns:
        One line per surprise; none if all is as written down.
    """
    lines = []
    for student, result in zip(students, results, strict=True):
        if result["submission"] != student.name:
            lines.append(f"{student.name}: expected the result of this name, found {result['submission']}")
            continue
        lost = lost_checks(result)
        lines += [_line(student, result, name, "fully earned") for name in sorted(lost - student.lost)]
        lines += [f"{student.name}: expected {name} to be lost, but it was earned" for name in sorted(student.lost - lost)]
        stuck = [check["id"] for check in result["checks"] if check["status"] == "could_not_grade"]
        lines += [_line(student, result, name, "graded") for name in stuck if name in student.lost]
        if result["score"] != student.points:
            lines.append(f"{student.name}: expected {student.points:g} points, but got {result['score']:g}")
    return lines


def _line(student: Student, result: Mapping[str, Any], name: str, expected: str) -> str:
    check = next(check for check in result["checks"] if check["id"] == name)
    first = next(iter(check["message"].strip().splitlines()), "no message")
    return f"{student.name}: expected {name} to be {expected}, but it is {check['status']}: {first}"
