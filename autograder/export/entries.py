"""What every target starts from: the results of a graded folder, and which of their points are known."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autograder.handins.roster import Roster
from autograder.marking import MarksError, marked
from autograder.report.labels import clean_text, given_by_hand, in_total
from autograder.report.lateness import Late, late_in
from autograder.report.result_schema import ResultSchemaError, read_result

__all__ = [
    "Entry", "ExportError", "Options", "any_marked", "counted_checks", "given_checks", "open_checks", "open_words", "read_entries",
    "read_results", "shown", "why_no_total",
]  # fmt: skip

MAX_TEXT = 20_000


class ExportError(Exception):
    """A result cannot be exported; the text says which, why, and what to do."""


@dataclass(frozen=True)
class Entry:
    """One result.

    Attributes:
        folder: Name of its folder in the graded folder; safe as a file name, unlike the name in the result.
        result: Content of its ``result.json``, with what a person gave (``autograder.marking``).
        late: How late it came, and what the course's rule takes off for that, where it came late.
    """

    folder: str
    result: Mapping[str, Any]
    late: Late | None = None

    def penalty(self, checks: Sequence[Mapping[str, Any]]) -> float | None:
        """Points that the rule of lateness takes off those of some checks, never more than they have; None where it cannot be read."""
        return self.late.taken(_sums(checks)) if self.late else 0.0

    def late_line(self, checks: Sequence[Mapping[str, Any]]) -> str:
        """What lateness takes off, as a line for people; empty where it takes nothing."""
        taken, late = self.penalty(checks), self.late
        if late is None or taken == 0:
            return ""
        by = "Late" if late.by == "late" else f"Late by {late.by}"
        if taken is None:
            return f"{by}: handins.csv says {late.penalty!r}, which is no penalty that can be read."
        how = "" if late.penalty.endswith(" points") else f" ({late.penalty})"
        return f"{by}: the course's rule takes {taken:g} points off{how}; {_sums(checks)['score'] - taken:g} remain."


def _sums(checks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {"score": sum(check["points"] or 0 for check in checks), "max_score": sum(in_total(check) for check in checks)}


@dataclass(frozen=True)
class Options:
    """What a writer is told beside the results.

    Attributes:
        facts: Values that only the other system knows (``{"classroom": ...}``); ``{owner}`` in them is filled in.
        visibility: When students see Gradescope's tests.
        roster: The class, for names and mail addresses.
        due: When the work was due, ISO 8601, or empty.
        handed_in: Submission name -> when it was handed in, ISO 8601.
        by_hand: Whether totals hold the points by hand; otherwise they are those of the automatic checks, for the whole class.
        late_penalty: ``"leave"`` where a person said that the other system takes off what lateness costs.
        exported: Gradebook: ``student/cell`` -> the manual score that an earlier export wrote.
        page: Gives the page of a result that a student gets.
        say: Where notices go (such as a result that cannot be exported); the other results are exported nevertheless.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    visibility: str = "visible"
    roster: Roster = field(default_factory=Roster)
    due: str = ""
    handed_in: Mapping[str, str] = field(default_factory=dict)
    by_hand: bool = False
    late_penalty: str = ""
    exported: MutableMapping[str, float] = field(default_factory=dict)
    page: Callable[[Entry], str] = lambda entry: ""
    say: Callable[[str], None] = lambda text: None


def read_entries(graded: Path, say: Callable[[str], None]) -> list[Entry]:
    """Read the results of a graded folder, with what people gave (see ``read_results``).

    Raises:
        ExportError: There is no result at all, or there are marks that cannot be used.
    """
    problems: list[str] = []
    entries = read_results(graded, problems.append)
    for problem in problems:
        say(problem)
    return _with_marks(graded, entries, say, whole=not problems)


def read_results(graded: Path, say: Callable[[str], None]) -> list[Entry]:
    """Read the results of a graded folder as the judge wrote them.

    Args:
        graded: What ``grade --out`` wrote, or the folder of one submission in it.
        say: Receives a line for each result that cannot be used.

    Returns:
        The valid results, in the order of their folders.

    Raises:
        ExportError: There is no result at all.
    """
    files = [graded / "result.json"] if (graded / "result.json").is_file() else sorted(graded.glob("*/result.json"))
    if not files:
        raise ExportError(f"{graded}: expected results (NAME/result.json), found none. Run `python -m autograder grade` first.")
    entries, late = [], late_in(files[0].resolve().parents[1])
    for file in files:
        try:
            result = read_result(file)
            entries.append(Entry(file.resolve().parent.name, result, late.get(result["submission"])))
        except ResultSchemaError as error:
            say(f"{file}: not exported: {error}")
    return entries


def _with_marks(graded: Path, entries: Sequence[Entry], say: Callable[[str], None], whole: bool) -> list[Entry]:
    """Results with the marks of their folder; what somebody must look at is said."""
    single = (graded / "result.json").is_file()
    try:
        found = marked(graded.resolve().parent if single else graded, {e.folder: e.result for e in entries}, whole=whole and not single)
    except MarksError as error:
        raise ExportError(str(error)) from None
    if found.faults:
        raise ExportError("\n".join(found.faults))
    for notice in found.notices:
        say(notice)
    return [replace(entry, result=found.results[entry.folder]) for entry in entries]


def given_checks(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The checks whose points are known."""
    return [check for check in result["checks"] if check["points"] is not None]


def open_checks(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The checks whose points nobody has given yet: by hand, or not gradable."""
    return [check for check in result["checks"] if check["points"] is None]


def any_marked(entries: Iterable[Entry]) -> bool:
    """Whether somebody gave points for an answer; then points by hand count in totals."""
    return any(given_by_hand(check) and check["points"] is not None for entry in entries for check in entry.result["checks"])


def counted_checks(result: Mapping[str, Any], by_hand: bool) -> list[Mapping[str, Any]]:
    """The checks that count in a total. They depend on the assignment alone, so the maximum is the same for all submissions.

    Args:
        result: Content of a ``result.json``.
        by_hand: Whether the checks that a person grades are among them.
    """
    return [check for check in result["checks"] if by_hand or not given_by_hand(check)]


def why_no_total(result: Mapping[str, Any], by_hand: bool) -> str:
    """Why the total of a result is not known yet: the counted checks that are open, and what to do; nothing if it is known."""
    counted = counted_checks(result, by_hand)
    if not counted:
        return "all its points are given by hand (`python -m autograder mark`, or --manual)"
    waiting = [check for check in counted if check["points"] is None]
    if not waiting:
        return ""
    listed = ", ".join(f"{check['id']} ({check['max_points']:g})" for check in waiting[:5]) + (", ..." if len(waiting) > 5 else "")
    points = sum(check["max_points"] for check in waiting)
    return f"{points:g} points are open: {listed}; grade it again, or give them by hand (`python -m autograder mark`, or --manual)"


def open_words(check: Mapping[str, Any]) -> str:
    """Why a check has no points, for students."""
    if check["status"] == "needs_manual":
        return f"up to {check['max_points']:g} points, given by hand"
    return f"could not be graded: up to {check['max_points']:g} points are open, none is lost"


def shown(text: str) -> str:
    """A message that other systems can show: no terminal codes, no characters that XML or browsers refuse, limited length."""
    text = clean_text(text).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}\n[cut at {MAX_TEXT} characters]"
