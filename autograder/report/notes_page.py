"""Whether notes to look at were written beside the class page; what they are is the affair of ``autograder.alike``."""

import json
from pathlib import Path

__all__ = ["NOTES", "count_notes"]

NOTES = "alike"
"""Stem of the files ``alike.html``, ``alike.json`` and ``alike.csv``."""


def count_notes(out: Path) -> int | None:
    """How many notes there are; None where nobody has looked yet, or the file cannot be read."""
    try:
        return len(json.loads((out / f"{NOTES}.json").read_text(encoding="utf-8"))["notes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
