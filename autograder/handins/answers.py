"""What a student wrote where a person gives the points: kept beside the result, so that the report can show it."""

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autograder.course.rubric import CheckRubric
from autograder.handins.submission import Submission
from segkit.atomic import disk_is_full, replacing
from segkit.handin import STUB_ANSWERS

__all__ = ["ANSWERS", "forget_answers", "keep_answers"]

ANSWERS = "answers.json"
MOST_TEXT = 20_000
MOST_CELLS = 4

# nbgrader's markers, as in the notebooks of an instructor, who may grade those too; without its end it goes to the end of the text
_INSTRUCTORS = re.compile(r"^[^\n]*BEGIN (MARK SCHEME|SOLUTION).*?(?:END \1[^\n]*|\Z)", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"!\[|<img\b", re.IGNORECASE)


def keep_answers(folder: Path, submission: Submission, checks: Mapping[str, CheckRubric]) -> None:
    """Write ``answers.json`` for the checks that a person grades. Whatever goes wrong here costs a line of the report, never a grade.

    Args:
        folder: The submission's result folder.
        submission: Read; of a check, the cells with its id as grade id (``-`` for ``.``) hold the answer.
        checks: By id.

    Raises:
        DiskFullError: There was no room.
    """
    try:
        entries = [_answer(submission, check.id) for check in checks.values() if check.manual]
        if entries:
            with replacing(folder / ANSWERS) as partial:
                partial.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    except Exception as error:
        if disk_is_full(error):
            raise


def forget_answers(folder: Path) -> None:
    """Remove those of an earlier submission, as far as that can be done."""
    with contextlib.suppress(OSError):
        (folder / ANSWERS).unlink(missing_ok=True)


def _answer(submission: Submission, check: str) -> dict[str, Any]:
    """All that was written for a check: nbgrader goes by the last cell, but whoever gives the points may want to see the others."""
    workbook, grade_id = submission.workbook, check.replace(".", "-")
    cells = [(f"{d.name}, cell {number}", text) for d in workbook.documents for number, text in d.texts.get(grade_id, [])]
    shown = [(where, _shown(text)) for where, text in reversed(cells)]
    written = {text: where for where, text in reversed(shown) if text.strip() not in STUB_ANSWERS}
    latest = list(dict.fromkeys(text for _, text in shown if text in written))[:MOST_CELLS]
    notes = []
    if not cells:
        others = " (the notes name the others)" if workbook.errors else ""
        notes.append(f"No answer was found: no notebook that was read has a cell {grade_id}{others}.")
    elif not written:
        notes.append(f"No answer was written: {cells[-1][0]}.")
    if len(written) > MOST_CELLS:
        notes.append(f"{len(cells)} cells have this grade id, with {len(written)} texts; here are the last {MOST_CELLS}.")
    if any(_INSTRUCTORS.search(text[:MOST_TEXT]) for _, text in cells):
        notes.append("What stands between the markers of an instructor's notebook was left out.")
    if any(_PICTURE.search(text) for text in written):
        notes.append("It points to pictures: they are in the notebook.")
    texts = [{"where": written[text], "text": text} for text in reversed(latest)]
    return {"check": check, "texts": texts, "note": "\n".join(notes)}


def _shown(text: str) -> str:
    """A text without what only instructors may read, and not endless."""
    shown = _INSTRUCTORS.sub("", text[:MOST_TEXT]).strip("\n")
    return f"{shown}\n[cut at {MOST_TEXT} characters: read the rest in the notebook]" if len(text) > MOST_TEXT else shown
