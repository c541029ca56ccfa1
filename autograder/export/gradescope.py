"""Gradescope's ``results.json``, one per submission.

Gradescope shows a test that has a ``max_score`` and no ``score`` as 0 points; so a check without points gets neither. How many
points there are at most is set in Gradescope, not here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from autograder.export.entries import Entry, Options, given_checks, open_checks, open_words, shown
from autograder.report.labels import in_total

__all__ = ["VISIBILITIES", "gradescope_results", "write_gradescope"]

VISIBILITIES = ("visible", "after_due_date", "after_published", "hidden")


def gradescope_results(result: Mapping[str, Any], visibility: str = "visible", late: str = "") -> dict[str, Any]:
    """Translate one result.

    Args:
        result: Content of a ``result.json`` with at least one check that has points.
        visibility: When students see the tests; one of ``VISIBILITIES``.
        late: What lateness takes off, as a line; it is said and not taken off, since Gradescope has rules of its own for that.

    Returns:
        The content of ``results.json``. The score is the sum of the points given so far; the text at its top names what is
        open. Standard output of the grader is never shown: it is not written for students.
    """
    return {
        "score": sum(check["points"] for check in given_checks(result)),
        "execution_time": round(result["seconds"]),
        "output": _head(result, late),
        "output_format": "text",
        "visibility": visibility,
        "stdout_visibility": "hidden",
        "tests": [_test(number, check, visibility) for number, check in enumerate(result["checks"], 1)],
    }


def _test(number: int, check: Mapping[str, Any], visibility: str) -> dict[str, Any]:
    test = {
        "name": check["id"], "number": str(number), "output": shown(check["message"]), "output_format": "text",
        "visibility": visibility, "tags": [check["status"]],
    }  # fmt: skip
    if check["points"] is None:
        return {**test, "name": f"{check['id']} ({open_words(check)})"}
    points = {"score": check["points"], "max_score": in_total(check)}
    return {**points, "status": "passed" if check["status"] == "earned" else "failed", **test}


def _head(result: Mapping[str, Any], late: str) -> str:
    """What concerns the whole submission: points so far of all there are, what lateness takes off, what is open, what was repaired."""
    top, waiting = result["max_score"], open_checks(result)
    lines = [f"{sum(c['points'] for c in given_checks(result)):g} of {top:g} points"]
    lines[0] += f" so far; {sum(c['max_points'] for c in waiting):g} are still open, not lost." if waiting else "."
    lines += [f"{late} They are not taken off the points here."] * bool(late)
    lines += [f"{check['id']}: {open_words(check)}." for check in waiting]
    return shown("\n".join([*lines, *(f"Note: {note}" for note in result["notes"])]))


def write_gradescope(entries: Iterable[Entry], options: Options) -> Iterator[tuple[PurePosixPath, str]]:
    """One ``results.json`` per submission; none where nothing could be graded (Gradescope would take it for a 0)."""
    for entry in entries:
        if not given_checks(entry.result):
            options.say(f"{entry.folder}: not exported: no check of it has points; grade it again or by hand")
            continue
        content = gradescope_results(entry.result, options.visibility, entry.late_line(given_checks(entry.result)))
        yield PurePosixPath(entry.folder, "results.json"), json.dumps(content, indent=1, allow_nan=False) + "\n"
