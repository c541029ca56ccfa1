"""Words for results: the first fault, the cause behind a check, points, and text that is safe to show."""

import re
import string
from collections.abc import Mapping
from typing import Any

__all__ = [
    "STATUS_WORDS", "cause_label", "clean_text", "first_fault", "first_line", "given_by_hand", "in_total", "marked_by_hand",
    "points_text", "shift_words",
]  # fmt: skip

STATUS_WORDS = {
    "earned": "earned",
    "partial": "partly earned",
    "not_earned": "not earned",
    "needs_manual": "graded by hand",
    "could_not_grade": "could not be graded",
}

# Colour codes of tracebacks first, so that no "[31m" is left; then what is not text at all.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff]")  # 202d, 202e: all that follows backwards


def clean_text(text: str) -> str:
    """Remove terminal colour codes; show other control characters and broken Unicode as U+FFFD."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def points_text(points: float | None) -> str:
    """``4``, ``2.5``; empty for a check that has no points yet, never 0."""
    return "" if points is None else f"{points:g}"


def in_total(check: Mapping[str, Any]) -> float:
    """What a check adds to the maximum: nothing, if it is a bonus."""
    return 0.0 if check.get("bonus") else check["max_points"]


def marked_by_hand(check: Mapping[str, Any]) -> bool:
    """Whether a person gave points for an answer: a result with marks has the key ``hand`` in such a check (``autograder.marking``)."""
    return bool((check.get("hand") or {}).get("kind") == "mark")


def given_by_hand(check: Mapping[str, Any]) -> bool:
    """Whether it is a person's part to give the points of a check, be they given or not."""
    return check["status"] == "needs_manual" or marked_by_hand(check)


def first_line(text: str) -> str:
    """The first line of a text that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def first_fault(result: dict[str, Any]) -> str:
    """``"<check id>: <first line of its message>"`` of the first check in rubric order that went wrong; else empty.

    Checks graded by hand are skipped, marked or not. A check that could not be graded counts as a fault, too.
    """
    for check in result["checks"]:
        if check["status"] not in ("earned", "needs_manual") and not marked_by_hand(check):
            line = first_line(clean_text(check["message"]))
            return f"{check['id']}: {line or STATUS_WORDS[check['status']]}"
    return ""


def cause_label(cause: str | None, measured: Mapping[str, Any] | None, titles: Mapping[str, str]) -> str:
    """A cause in words, such as ``output one row too low``; equal labels are one cause to the class page.

    Args:
        cause: stable code such as ``crop.shift``, or None.
        measured: what was measured for it; its keys can stand in the title.
        titles: cause -> title in the rubric, with ``str.format`` fields: ``"output moved by ({dy}, {dx})"``.
            ``{shift}`` is ``dy`` and ``dx`` in words. A field that was not measured becomes ``?``.

    Returns:
        The filled title; without one the code itself, with the shift if there is one; empty without a cause.
    """
    if not cause:
        return ""
    values = dict(measured or {})
    shift = shift_words(values.get("dy"), values.get("dx"))
    title = titles.get(cause)
    if title is None:
        return f"{cause}: {shift}" if shift else cause
    try:
        return _Tolerant().vformat(title, (), {"shift": shift or "moved", **values})
    except ValueError:  # one wrong brace in the rubric must not prevent the page of a class
        return title


def shift_words(dy: Any, dx: Any) -> str:
    """``one row too low, 2 columns too far left``; positive is lower and further right than it should be.

    Args:
        dy: rows, dx: columns; anything that is not a number is left out.

    Returns:
        The words, or an empty text where nothing moved.
    """
    parts = []
    for amount, unit, positive, negative in (
        (dy, "row", "too low", "too high"),
        (dx, "column", "too far right", "too far left"),
    ):
        if isinstance(amount, int | float) and not isinstance(amount, bool) and amount:
            count = "one" if abs(amount) == 1 else f"{abs(amount):g}"
            plural = "" if abs(amount) == 1 else "s"
            parts.append(f"{count} {unit}{plural} {positive if amount > 0 else negative}")
    return ", ".join(parts)


class _Tolerant(string.Formatter):
    """``str.format`` for which a missing or unfitting value is a question mark instead of an error."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, str]:
        try:
            found: tuple[Any, str] = super().get_field(field_name, args, kwargs)
            return found
        except (KeyError, IndexError, AttributeError, TypeError):
            return "?", field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return "?"
        try:
            text: str = super().format_field(value, format_spec)
            return text
        except (ValueError, TypeError):
            return str(value)
