"""What students wrote for a person to grade, as the judge kept it beside the result."""

import json
from pathlib import Path
from typing import Any

__all__ = ["read_answers"]


def read_answers(folder: Path) -> dict[str, dict[str, Any]]:
    """The answers in ``folder/answers.json``; nothing where there is no such file or it cannot be read.

    Returns:
        check id -> ``{"texts": [{"where", "text"}], "note"}``.
    """
    try:
        entries = json.loads((Path(folder) / "answers.json").read_text(encoding="utf-8"))
        return {
            str(entry["check"]): {
                "texts": [{"where": str(item["where"]), "text": str(item["text"])} for item in entry["texts"]],
                "note": str(entry["note"]),
            }
            for entry in entries
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
