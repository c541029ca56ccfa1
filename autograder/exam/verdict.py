"""The stored verdict of the exam: written after a complete one, committed with the assignment, asked for by ``release``."""

import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.exam.fingerprint import PARTS, total
from autograder.exam.sitting import Outcome
from autograder.exam.table import count_kinds, count_real

__all__ = ["COMMAND", "Standing", "changed_parts", "make_verdict", "read_standing", "verdict_file", "write_verdict"]

SCHEMA = "segkit-exam-verdict/1"
COMMAND = "python -m autograder selftest {} --all"


def verdict_file(material: Path) -> Path:
    """Where the verdict of an assignment lies."""
    return material / "corpus" / "verdict.json"


@dataclass(frozen=True)
class Standing:
    """Whether an assignment has passed its exam as it is now.

    Attributes:
        guarded: Whether there is an exam at all (a corpus).
        valid: Whether a complete exam without surprises was sat on just these files.
        text: Why not, or when it was.
        changed: Parts that differ from those of the exam.
    """

    guarded: bool
    valid: bool
    text: str
    changed: tuple[str, ...] = field(default=())


def make_verdict(
    outcomes: Sequence[Outcome], assignment: str, parts: Mapping[str, str], seconds: float, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Sum up a complete exam.

    Args:
        outcomes: Of every entry.
        assignment: Its name.
        parts: Hashes of what was examined, from ``fingerprint``.
        seconds: How long it took.
        about: More to be kept (isolation, entries that were tried again).
    """
    import torch

    import segkit

    surprises = [f"{outcome.entry.kind}/{outcome.entry.name}" for outcome in outcomes if outcome.problem]
    return {
        "schema": SCHEMA, "assignment": assignment, "valid": not surprises, "entries": len(outcomes), "surprises": surprises,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "seconds": round(seconds),
        "kit_version": segkit.__version__, "python": platform.python_version(), "torch": torch.__version__, **about,
        "table": count_kinds(outcomes), "real": count_real(outcomes), "hash": total(parts), "parts": dict(parts),
    }  # fmt: skip


def write_verdict(verdict: Mapping[str, Any], path: Path) -> None:
    """Write a verdict, whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(json.dumps(verdict, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the parts whose hashes differ, in the order of ``PARTS``."""
    names = [*PARTS, *sorted((set(before) | set(now)) - set(PARTS))]
    return tuple(name for name in names if before.get(name) != now.get(name))


def read_standing(material: Path, assignment: str, now: Mapping[str, str]) -> Standing:
    """Hold the stored verdict against the present files.

    Args:
        material: The assignment's folder.
        assignment: Its name.
        now: Present hashes, from ``fingerprint``.
    """
    path = verdict_file(material)
    again = f"run: {COMMAND.format(assignment)}"
    if not (path.parent / "corpus.toml").is_file():
        return Standing(False, False, f"{assignment} has no corpus ({path.parent}): no exam guards its releases.")
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
        date, valid, surprises = verdict["date"], verdict["valid"] is True, list(verdict["surprises"])
        changed = changed_parts(verdict["parts"], now)
        sums_up = verdict["schema"] == SCHEMA and verdict["hash"] == total(verdict["parts"])
    except FileNotFoundError:
        return Standing(True, False, f"There is no verdict of the grader's exam ({path}).\n{again}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Standing(True, False, f"{path}: cannot be read as a verdict ({type(error).__name__}: {error}).\n{again}")
    if not sums_up:
        return Standing(True, False, f"{path}: is of another schema, or was edited: its hash is not that of its parts.\n{again}")
    if changed:
        return Standing(True, False, f"Since the grader's exam of {date} these have changed: {', '.join(changed)}.\n{again}", changed)
    if not valid or surprises:
        names = ", ".join(map(str, surprises[:5])) + (", ..." if len(surprises) > 5 else "")
        text = f"The grader's exam of {date} had {len(surprises)} surprises ({names}): repair the grader or the corpus.\n{again}"
        return Standing(True, False, text)
    return Standing(True, True, f"The grader's exam of {date} was passed: {verdict.get('entries')} entries, no surprise.")
