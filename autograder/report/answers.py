"""What students wrote for a person to grade, as it was kept beside the result, with the pictures that it shows."""

import json
from pathlib import Path
from typing import Any

from autograder.report.pictures import data_uri

__all__ = ["PICTURES", "read_answer_pictures", "read_answers"]

PICTURES = "answer_pictures.json"
LONGEST_SIDE = 1600


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


def read_answer_pictures(folder: Path) -> dict[str, dict[str, str]]:
    """The pictures of the answers; nothing where there are none or the list cannot be read.

    Returns:
        check id -> target of a picture, as the text names it -> its data URI.
    """
    try:
        entries = json.loads((Path(folder) / PICTURES).read_text(encoding="utf-8"))
        found = {
            str(check): {str(target): data_uri(folder, str(path), LONGEST_SIDE) for target, path in shown.items()}
            for check, shown in entries.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {check: {target: uri for target, uri in shown.items() if uri} for check, shown in found.items()}
