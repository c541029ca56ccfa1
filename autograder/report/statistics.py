"""What a class has in common: the distribution of points, the causes behind lost points, repeated notes."""

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autograder.report.labels import STATUS_WORDS, cause_label, first_line

__all__ = ["CauseGroup", "Histogram", "NoteGroup", "cause_groups", "histogram", "identical", "middle", "note_groups", "stuck_groups"]

_SHARED = re.compile(r"\b(duplicate[sd]?|identical|shared?|same (file|checkpoint|bytes|network|hash))\b", re.IGNORECASE)


@dataclass(frozen=True)
class Histogram:
    """Counts of submissions per range of points; a range holds its lower end, the last one both."""

    width: float
    top: float
    counts: list[int]

    @property
    def edges(self) -> list[float]:
        """Lower ends of the ranges, and the end of the last one."""
        return [min(index * self.width, self.top) for index in range(len(self.counts) + 1)]


@dataclass
class CauseGroup:
    """One cause over the class: its words, who has it, and in which checks."""

    label: str
    cause: str | None
    names: list[str] = field(default_factory=list)
    checks: Counter[str] = field(default_factory=Counter)


@dataclass
class NoteGroup:
    """A note and everybody who got it; ``shared`` if it speaks of work that two submissions have in common."""

    text: str
    shared: bool
    names: list[str] = field(default_factory=list)


def histogram(scores: Sequence[float], top: float, most_bins: int = 16) -> Histogram:
    """Sort scores into ranges of a round width.

    Args:
        scores: points of each submission, 0 to ``top``.
        top: the most points there are.
        most_bins: the width is the smallest of 0.5, 1, 2, 5, 10, 20, 50, ... that needs no more ranges.
    """
    widths = [0.5] + [base * 10**power for power in range(7) for base in (1, 2, 5)]
    width = next((w for w in widths if w * most_bins >= top), widths[-1])
    counts = [0] * max(1, -int(-top // width))
    for score in scores:
        counts[min(int(score // width), len(counts) - 1)] += 1
    return Histogram(width=width, top=top, counts=counts)


def middle(scores: Sequence[float]) -> float:
    """Median; 0 for nobody."""
    return statistics.median(scores) if scores else 0.0


def cause_groups(results: Sequence[dict[str, Any]], titles: Mapping[str, str]) -> list[CauseGroup]:
    """Count causes over a class, most frequent first.

    Checks belong together when their cause and the words for it are equal, so a title decides by its fields how
    finely a cause is split: with ``{dy}`` in it, every shift is a cause of its own. A submission counts once.

    Args:
        results: contents of the ``result.json`` files.
        titles: cause -> words.
    """
    groups: dict[tuple[Any, ...], CauseGroup] = {}
    for name, check in _checks_with(results, ("partial", "not_earned")):
        label = cause_label(check["cause"], check["measured"], titles)
        # Without a cause, different checks have nothing in common and stay separate.
        key = (check["cause"], label) if label else (None, check["id"])
        _count(groups, key, CauseGroup(label or "no single cause found", check["cause"]), name, check)
    return _by_frequency(groups)


def stuck_groups(results: Sequence[dict[str, Any]]) -> list[CauseGroup]:
    """What could not be graded, grouped by the first line of the message, most frequent first; not the students' fault."""
    groups: dict[tuple[Any, ...], CauseGroup] = {}
    for name, check in _checks_with(results, ("could_not_grade",)):
        text = first_line(check["message"]) or STATUS_WORDS["could_not_grade"]
        _count(groups, (text,), CauseGroup(text, check["cause"]), name, check)
    return _by_frequency(groups)


def _checks_with(results: Sequence[dict[str, Any]], statuses: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for result in results:
        checks = [check for check in result["checks"] if check["status"] in statuses and not _of_a_person(check)]
        yield from ((result["submission"], check) for check in checks)


def _of_a_person(check: Mapping[str, Any]) -> bool:
    """Whether points are lost by what a person gave, not by a mistake that was found."""
    return bool(check.get("hand")) and not check["cause"]


def _count(groups: dict[tuple[Any, ...], CauseGroup], key: tuple[Any, ...], new: CauseGroup, name: str, check: dict[str, Any]) -> None:
    group = groups.setdefault(key, new)
    group.checks[check["id"]] += 1
    if name not in group.names:
        group.names.append(name)


def _by_frequency(groups: dict[tuple[Any, ...], CauseGroup]) -> list[CauseGroup]:
    return sorted(groups.values(), key=lambda group: (-len(group.names), group.label))


def note_groups(results: Sequence[dict[str, Any]]) -> list[NoteGroup]:
    """Equal notes together; those about shared work first, then by how many have them."""
    groups: dict[str, NoteGroup] = {}
    for result in results:
        for note in dict.fromkeys(result["notes"]):
            group = groups.setdefault(note, NoteGroup(note, bool(_SHARED.search(note))))
            group.names.append(result["submission"])
    return sorted(groups.values(), key=lambda group: (not group.shared, -len(group.names), group.text))


def identical(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Names of submissions that are equal byte for byte, group by group."""
    by_hash: dict[str, list[str]] = {}
    for result in results:
        if result["submission_sha256"]:
            by_hash.setdefault(result["submission_sha256"], []).append(result["submission"])
    return [names for names in by_hash.values() if len(names) > 1]
