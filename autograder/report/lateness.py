"""Who was late, and what the course's rule takes off: read from ``handins.csv``, beside results that hold none of it.

Points stay what the checks gave. What is taken off stands beside them, in columns and lines of its own, and follows when points change.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.report.rendering import own_rows

__all__ = ["HANDINS", "Late", "late_in", "late_of"]

HANDINS = "handins.csv"
PENALTY = re.compile(r"(?P<amount>\d+(?:\.\d+)?)(?P<unit>%| points|% of score)")


@dataclass(frozen=True)
class Late:
    """A hand-in that came late.

    Attributes:
        by: ``"1 d 2 h"``, or ``"late"`` where nobody knows how much.
        penalty: ``"20%"`` of the maximum, ``"20% of score"``, ``"5 points"``; empty for nothing.
        submitted, due: ISO 8601, or empty.
    """

    by: str
    penalty: str = ""
    submitted: str = ""
    due: str = ""

    def taken(self, result: Mapping[str, Any]) -> float | None:
        """Points that are taken off a result, never more than it has; None where the penalty is none that can be read."""
        match = PENALTY.fullmatch(self.penalty.strip()) if self.penalty else None
        if not match:
            return None if self.penalty else 0.0
        score = float(result["score"])
        whole = {"%": float(result["max_score"]), "% of score": score, " points": 100.0}[match["unit"]]
        return min(round(float(match["amount"]) / 100 * whole, 2), score)

    def left(self, result: Mapping[str, Any]) -> float | None:
        """The points that remain."""
        taken = self.taken(result)
        return None if taken is None else round(result["score"] - taken, 2)


def late_in(out: Path) -> dict[str, Late]:
    """Name -> how late, of the hand-ins of a class that were late; empty where no hand-ins are listed."""
    words = ("lateness", "penalty", "submitted", "due")
    rows = own_rows(Path(out) / HANDINS) or ()
    return {row["name"]: Late(*(row.get(word, "") for word in words)) for row in rows if row.get("name") and row.get("lateness")}


def late_of(folder: Path) -> Late | None:
    """How late the hand-in of this folder of results was, if it was."""
    folder = Path(folder).absolute()
    return late_in(folder.parent).get(folder.name)
