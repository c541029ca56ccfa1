"""The control: an honest submission, graded before all attacks and after each of them, by the same judge in the same run.

What an attack earns says little of what it did to the judge, to the process that workers are forked from, and to what all of them
share. If it did anything, the next submission feels it: so the result of the control must be the same to the byte, times left out.
And a check that an attack has not touched must have just the verdict that the honest submission has in it.
"""

import copy
import dataclasses
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autograder.batch.writing import write_result
from autograder.exam.building import solved_notebooks, write_submission
from autograder.exam.entries import Entry
from autograder.judge.grade import grade_path
from autograder.judge.run import Run
from autograder.sandbox.leftovers import owned_prefix

__all__ = ["compare_controls", "compare_kept", "grade_control", "write_and_read"]

OF_THE_SUBMISSION = ("submission", "submission_sha256", "notes", "score", "max_score", "needs_manual", "checks")


def grade_control(run: Run, checks: Sequence[str], source: Path) -> dict[str, Any]:
    """Grade the solved notebooks.

    Args:
        run: The open run; its settings are changed.
        checks: Ids of cheap checks.
        source: Folder of the source notebooks.

    Returns:
        The result without times: all else must be the same every time.
    """
    run.settings = dataclasses.replace(run.settings, only=tuple(checks))
    with tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-control-")) as place:
        path = write_submission(Entry("variants", "control"), solved_notebooks(source), Path(place) / "control")
        return without_times(grade_path(run, path, "control"))


def without_times(result: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a result, and leave out when and how long."""
    left = {key: copy.deepcopy(value) for key, value in result.items() if key not in ("started", "seconds")}
    left["checks"] = [{key: value for key, value in verdict.items() if key != "seconds"} for verdict in left["checks"]]
    return left


def compare_controls(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say where the control came out otherwise than before all attacks.

    Args:
        before: From ``grade_control``.
        after: The same, after an attack.
    """
    lost = [verdict["id"] for verdict in before["checks"] if verdict["points"] != verdict["max_points"]]
    if lost:
        return [f"the honest submission loses points without any attack: {', '.join(lost)}"]
    if _text(before) == _text(after):
        return []
    keys = [key for key in {**before, **after} if _text(before.get(key)) != _text(after.get(key))]
    return [f"an honest submission is graded otherwise after it ({', '.join(keys)}): {_text(after)[:600]}"]


def compare_kept(result: Mapping[str, Any], control: Mapping[str, Any], touched: Iterable[str]) -> list[str]:
    """Say where an attack's own result differs from the control's in what the attack should not reach.

    Args:
        result: Of the attack.
        control: From ``grade_control``.
        touched: Ids of checks in which the attack loses points; what it says of itself is left out too.
    """
    touched, result = set(touched), without_times(result)
    honest = {verdict["id"]: verdict for verdict in control["checks"] if verdict["id"] not in touched}
    lines = [
        f"{verdict['id']}: its verdict is not that of the honest submission: {_text(verdict)[:400]}"
        for verdict in result["checks"] if verdict["id"] in honest and _text(verdict) != _text(honest[verdict["id"]])
    ]  # fmt: skip
    general = [key for key in control if key not in OF_THE_SUBMISSION and _text(control[key]) != _text(result.get(key))]
    return lines + [f"the result's {key} is {_text(result.get(key))[:100]}, not {_text(control[key])[:100]}" for key in general]


def write_and_read(result: Mapping[str, Any], folder: Path, run: Run) -> list[str]:
    """Write result and report as a run of a class does; says what goes wrong.

    Args:
        result: Of the attack.
        folder: Made for them.
        run: For the rubric.
    """
    folder.mkdir()
    try:
        write_result(dict(result), folder, run.rubric)
        found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except Exception as error:  # one student's words must not keep a class from its results
        return [f"its result cannot be written: {type(error).__name__}: {error}"]
    return [] if found["score"] == result["score"] else [f"the written result has {found['score']} points, not {result['score']}"]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
