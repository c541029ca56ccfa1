"""Classroom 50's ``result.json`` (``classroom50/result/v1``), one per submission.

Its points are integers, so ours are doubled (they come in halves). There is no way to say "open" in this format: a submission
with a check that could not be graded gets no file, and the command exits 1, which Classroom 50's runner shows as an error of the
grader. Checks that a person grades are in it where their points are given.
"""

import datetime
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from autograder.export.entries import Entry, ExportError, Options, counted_checks, shown, why_no_total
from autograder.report.labels import in_total

__all__ = ["FACTOR", "FACTS", "classroom50_result", "environment_facts", "write_classroom50"]

FACTOR = 2

# what only Classroom 50 knows -> the environment variable in which its runner says it
FACTS = {
    "classroom": "CLASSROOM",
    "assignment": "ASSIGNMENT",
    "assignment_type": "ASSIGNMENT_TYPE",
    "owner": "OWNER",
    "submission": "SUBMISSION_TAG",
    "commit": "COMMIT_URL",
    "release": "RELEASE_URL",
    "review": "REVIEW_URL",
}


def environment_facts(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The facts that Classroom 50's runner gives."""
    return {fact: environment[variable] for fact, variable in FACTS.items() if environment.get(variable)}


def classroom50_result(result: Mapping[str, Any], facts: Mapping[str, str], by_hand: bool = False) -> dict[str, Any]:
    """Translate one result.

    Args:
        result: Content of a ``result.json``.
        facts: Those of ``FACTS``; ``{owner}`` in a value becomes the owner. The owner defaults to the submission's name, the
            assignment to the result's, its type to ``individual``, the review to the commit.
        by_hand: Whether the checks that a person grades are in it.

    Raises:
        ExportError: A counted check is open, or a fact is missing; the text names it and the way to give it.
    """
    if reason := why_no_total(result, by_hand):
        raise ExportError(f"{shown(result['submission'])}: {reason}.")
    owner = facts.get("owner") or result["submission"]
    known = {"assignment": result["assignment"], "assignment_type": "individual", "review": facts.get("commit", ""), **facts}
    known = {name: value.replace("{owner}", owner) for name, value in known.items()} | {"owner": owner}
    missing = [name for name in FACTS if not known.get(name)]
    if missing:
        ways = ", ".join(f"{FACTS[name]} or --fact {name}=..." for name in missing)
        raise ExportError(f"Classroom 50's result.json needs {', '.join(missing)}. Its runner sets them; elsewhere give: {ways}.")
    tests = [_test(check) for check in counted_checks(result, by_hand)]
    return {
        "schema": "classroom50/result/v1",
        **{name: known[name] for name in FACTS},
        "datetime": _utc(result["started"]),
        "score": sum(test["score"] for test in tests),
        "max-score": sum(test["max-score"] for test in tests),
        "tests": tests,
    }


def _test(check: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "test-name": check["id"], "passed": check["status"] == "earned",
        "score": _doubled(check["points"]), "max-score": _doubled(in_total(check)),
    }  # fmt: skip


def _doubled(points: float) -> int:
    return round(points * FACTOR)


def _utc(text: str) -> str:
    moment = datetime.datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def write_classroom50(entries: Iterable[Entry], options: Options) -> Iterator[tuple[PurePosixPath, str]]:
    """One ``result.json`` per submission; none where points are open."""
    for entry in entries:
        if reason := why_no_total(entry.result, options.by_hand):
            options.say(f"{entry.folder}: not exported: {reason}")
            continue
        content = classroom50_result(entry.result, options.facts, options.by_hand)
        late = entry.late_line(counted_checks(entry.result, options.by_hand))
        if late and options.late_penalty != "leave":
            words = "for which this format has no place: say --late-penalty leave if that is right"
            options.say(f"{entry.folder}: exported without its late penalty, {words}. {late}")
        yield PurePosixPath(entry.folder, "result.json"), json.dumps(content, indent=2, allow_nan=False) + "\n"
