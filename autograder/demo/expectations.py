"""Compares the demo's grades with what was written down beside each student."""

from collections.abc import Mapping, Sequence
from typing import Any

from autograder.course.rubric import Rubric
from autograder.demo.students import Student

__all__ = ["losses_table", "lost_checks", "surprises"]


def lost_checks(result: Mapping[str, Any]) -> frozenset[str]:
    """Ids of the checks of a result that are not fully earned; what a person grades is no loss."""
    return frozenset(check["id"] for check in result["checks"] if check["status"] not in ("earned", "needs_manual"))


def expected_points(student: Student, rubric: Rubric) -> dict[str, float]:
    """Points by check that a student must get, of those that a machine grades."""
    return {check.id: student.expected(check) for check in rubric.checks.values() if not check.manual}


def losses_table(students: Sequence[Student], rubric: Rubric) -> str:
    """A table of what each student did, the points that must come out, and the checks that it must cost."""
    rows = []
    for student in students:
        points = expected_points(student, rubric)
        lost = [f"{name} {rubric.checks[name].points - value:g}" for name, value in points.items() if value < rubric.checks[name].points]
        shown = "everything" if not any(points.values()) else ", ".join(lost) or "nothing"
        rows.append((student.name, student.story, f"{sum(points.values()):g}", shown))
    rows.insert(0, ("name", "what this student did", "points", "must lose"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows)


def surprises(students: Sequence[Student], results: Sequence[Mapping[str, Any]], rubric: Rubric) -> list[str]:
    """Return one line for each check that came to other points than expected.

    Args:
        students: Who, with what is expected.
        results: Their results, in the same order.
        rubric: Of the assignment.

    Returns:
        One line per surprise; none if all is as written down.
    """
    lines = []
    for student, result in zip(students, results, strict=True):
        if result["submission"] != student.name:
            lines.append(f"{student.name}: expected the result of this name, found {result['submission']}")
            continue
        found = {check["id"]: check for check in result["checks"]}
        for name, points in expected_points(student, rubric).items():
            check = found[name]
            if check["points"] != points or check["status"] == "could_not_grade":
                first = next(iter(check["message"].strip().splitlines()), "no message")
                got = "no points" if check["points"] is None else f"{check['points']:g}"
                lines.append(f"{student.name}: expected {points:g} points of {name}, but got {got} ({check['status']}): {first}")
    return lines
