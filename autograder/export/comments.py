"""What a result says, as the comment that a student reads beside the points in Moodle or Blackboard.

Both take HTML; what students and their code wrote is in it as text. A comment of ours begins with the assignment and the points, so that
it is known again, and a person's own is never replaced.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from autograder.export.entries import shown
from autograder.report.labels import first_line, in_total

__all__ = ["comment_on", "is_ours"]

MAX_LINE, MAX_LINES = 300, 12
OURS = re.compile(
    r"<p>[^<>\s]{1,200}: [\d.]+ of [\d.]+ points\.</p>(?:<p>Late[^<>]*</p>)?(<p><b>[^<>]+</b>: [\d.]+ of [\d.]+\. (?:[^<>]|<br>)*</p>)*"
)


def comment_on(result: Mapping[str, Any], checks: Sequence[Mapping[str, Any]], late: str = "") -> str:
    """The points, what lateness takes off, what was lost and why, and what a person wrote.

    Args:
        result: A result.
        checks: Those of its checks that count; all have points.
        late: What lateness takes off, as a line.
    """
    points, top = sum(check["points"] for check in checks), sum(in_total(check) for check in checks)
    lines = [f"<p>{escape(shown(result['assignment']))[:200]}: {points:g} of {top:g} points.</p>"]
    lines += [f"<p>{escape(late)}</p>"] * bool(late)
    for check in checks:
        by_hand = (check.get("hand") or {}).get("kind")
        if check["points"] != check["max_points"] or by_hand:
            said = shown(check["message"]).splitlines()[:MAX_LINES] if by_hand == "mark" else [first_line(shown(check["message"]))]
            words = "<br>".join(_cut(text) for text in said if text.strip())
            lines.append(f"<p><b>{escape(check['id'])}</b>: {check['points']:g} of {check['max_points']:g}. {words}</p>")
    return "".join(lines)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return escape(text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}\N{HORIZONTAL ELLIPSIS}")


def is_ours(text: str) -> bool:
    """Whether a comment is one that ``comment_on`` made and nobody has changed, or none at all."""
    return not text.strip() or OURS.fullmatch(text.strip()) is not None
