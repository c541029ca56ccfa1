"""The exam's outcome for people and for machines."""

from collections.abc import Mapping, Sequence
from typing import Any

from autograder.exam.entries import KINDS, Entry
from autograder.exam.outcome import Outcome

__all__ = ["count_kinds", "count_real", "format_due", "format_real", "format_table", "markdown_table", "to_json"]

COLUMNS = ("kind", "entries", "as expected", "caught", "named", "false alarms", "parity")
MOST_NAMES = 40  # of a kind, in a list of what is due


def format_due(entries: Sequence[Entry]) -> str:
    """Names of entries that are to be sat: a line for each kind."""
    lines = []
    for kind in KINDS:
        names = [entry.name for entry in entries if entry.kind == kind]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        lines += [f"{kind}: {', '.join(names[:MOST_NAMES])}{more}"] if names else []
    return "\n".join(lines)


def _may_not_pass(entry: Entry) -> bool:
    """Generated mutants and planted leaks must be caught, whatever they lose."""
    return (entry.kind == "generated" and not entry.equivalent) or (entry.kind == "leaks" and bool(entry.build))


def _count_kind(outcomes: Sequence[Outcome], kind: str) -> dict[str, Any]:
    own = [o for o in outcomes if o.entry.kind == kind]
    losing = [o for o in own if o.entry.lost or o.entry.unreadable or _may_not_pass(o.entry)]
    named = [o for o in own if o.named is not None]
    parity = [o for o in own if o.parity is not None]
    return {
        "kind": kind, "entries": len(own), "as expected": sum(not o.problem for o in own),
        "caught": (sum(o.caught for o in losing), len(losing)), "named": (sum(bool(o.named) for o in named), len(named)),
        "false alarms": sum(o.false_alarm for o in own), "parity": (sum(bool(o.parity) for o in parity), len(parity)),
    }  # fmt: skip


def count_kinds(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Count the outcomes of each kind that was sat; pairs are (so many, of so many)."""
    return [_count_kind(outcomes, kind) for kind in KINDS if any(o.entry.kind == kind for o in outcomes)]


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        done, of = value
        return f"{done}/{of} ({100 * done / of:.0f} %)" if of else "-"
    return str(value)


def format_table(outcomes: Sequence[Outcome]) -> str:
    """One row for each kind that was sat."""
    rows = [COLUMNS, *(tuple(_cell(row[column]) for column in COLUMNS) for row in count_kinds(outcomes))]
    widths = [max(len(row[n]) for row in rows) for n in range(len(COLUMNS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def count_real(outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """What the section ``real`` says of the grader: points, and causes named right; None where none of it was sat."""
    own = [o for o in outcomes if o.entry.kind == "real"]
    named = [bool(o.named) for o in own if o.named is not None]
    return {
        "entries": len(own), "honest points lost": sum(o.points_lost for o in own), "undeserved points": sum(o.undeserved for o in own),
        "causes named": (sum(named), len(named)),
    } if own else None  # fmt: skip


def format_real(outcomes: Sequence[Outcome]) -> str:
    """The section ``real`` in a line; empty where none of it was sat."""
    found = count_real(outcomes)
    if found is None:
        return ""
    done, of = found["causes named"]
    return (f"real: {found['entries']} hand-ins as people make them, {found['honest points lost']:g} honest points lost, "
            f"{found['undeserved points']:g} undeserved points given, {done} of {of} causes named right")  # fmt: skip


KIND_WORDS = {
    "mutants": "mutants, written by hand", "visible": "the same before hand-in, by visible checks",
    "variants": "correct variants", "damaged": "damaged hand-ins",
    "real": "as people really hand in", "attacks": "attacks", "year": "a year with another padding", "generated": "generated mutants",
    "leaks": "leaks planted in a release",
}  # fmt: skip


def markdown_table(verdict: Mapping[str, Any]) -> str:
    """The table of a stored verdict as ``docs/design.md`` shows it, and the sentence on the section ``real`` below it."""

    def pair(value: Sequence[int]) -> str:
        return f"{value[0]} of {value[1]}" if value[1] else ""

    head = ("kind", "entries", "as expected", "caught", "named", "false alarms", "same points on all three ways")
    rows = [
        (KIND_WORDS[row["kind"]], row["entries"], row["as expected"], pair(row["caught"]), pair(row["named"]), row["false alarms"],
         pair(row["parity"])) for row in verdict["table"]
    ]  # fmt: skip
    lines = [head, ("---",) * len(head), *rows]
    table = "\n".join("| " + " | ".join(map(str, line)).replace("|  |", "| |") + " |" for line in lines).replace("|  |", "| |")
    if not (real := verdict.get("real")):
        return table
    return (f"{table}\n\nOver the section of what people really hand in: {real['honest points lost']:g} honest points lost, "
            f"{real['undeserved points']:g} undeserved points given, {pair(real['causes named'])} causes named right.")  # fmt: skip


def to_json(outcomes: Sequence[Outcome], about: dict[str, Any]) -> dict[str, Any]:
    """Everything, for machines.

    Args:
        outcomes: From ``sit``.
        about: What the exam was sat with (assignment, kit version, hash).
    """
    entries = [
        {
            "kind": o.entry.kind, "name": o.entry.name, "about": o.entry.about, "ok": not o.problem, "problem": o.problem,
            "exact": o.exact, "caught": o.caught, "named": o.named, "false_alarm": o.false_alarm, "parity": o.parity,
            "lost": o.points_lost, "undeserved": o.undeserved, "complaint": o.complaint, "seconds": round(o.seconds, 1), "notes": o.notes,
            "checks": [
                {key: result.get(key) for key in ("id", "points", "lost", "status", "cause", "measured", "message")}
                for result in o.results
            ],
        }
        for o in outcomes
    ]  # fmt: skip
    return {"schema": "segkit-selftest/1", **about, "table": count_kinds(outcomes), "real": count_real(outcomes), "entries": entries}
