"""The notes as a page, as JSON and as CSV, beside the class page."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from autograder.alike.code import Link, Passage
from autograder.alike.gaps import LEAST_NETWORKS, Gap, Gaps
from autograder.alike.notes import Note
from autograder.report.notes_page import NOTES
from autograder.report.rendering import render_page, report_link, write_page
from autograder.report.summary import csv_line

__all__ = ["write_notes"]

MOST_LINES, AROUND, LONGEST_LINE = 80, 2, 300  # of a passage
MOST_NOTES = 100  # on the page; the other files have all
WIDTH, SIDE, DOT, ROW, FOOT = 720, 20, 8, 10, 38  # of the picture of gaps
HEAD = ("kind", "what", "one", "other", "share", "where_one", "where_other", "says")
KINDS = {
    "code": "Code", "checkpoint": "Checkpoints", "answer": "Written answers", "gate": "Gates that do not fit",
    "gap": "Training and test pictures",
}  # fmt: skip


def write_notes(notes: Sequence[Note], out: Path, assignment: str, lines: Sequence[str] = (), gaps: Sequence[Gaps] = ()) -> Path:
    """Write ``alike.html``, ``alike.json`` and ``alike.csv``.

    Args:
        notes: From ``find_notes``.
        out: The graded folder.
        assignment: Its name, for the title.
        lines: What could not be looked at.
        gaps: Of each gate those between training and test pictures, where they were measured.

    Returns:
        The page.
    """
    content = [
        {"kind": note.kind, "what": note.what, "names": list(note.names), "says": note.says, "links": [_json(link) for link in note.links]}
        for note in notes
    ]
    write_page(out / f"{NOTES}.csv", "".join(csv_line(row) for row in [HEAD, *(row for note in notes for row in _rows(note))]))
    groups = [(KINDS[kind], list(map(_view, some))) for kind, some in groupby(notes[:MOST_NOTES], key=lambda note: note.kind)]
    page = render_page(
        "alike.html.j2", assignment=assignment, groups=groups, count=len(notes), more=len(notes) - MOST_NOTES, lines=lines,
        link=report_link, gaps=[(gate, _strip(gate)) for gate in gaps], least=LEAST_NETWORKS,
    )  # fmt: skip
    written = write_page(out / f"{NOTES}.html", page)
    kept = {"notes": content, "left_out": list(lines), **({"gaps": [_gate_json(gate) for gate in gaps]} if gaps else {})}
    write_page(out / f"{NOTES}.json", json.dumps(kept, indent=1))  # last: the class page goes by it
    return written


def _json(link: Link) -> dict[str, Any]:
    passages = [[{"where": side.where, "text": side.text, "lines": sorted(side.lines)} for side in both] for both in link.passages]
    return {"one": link.one, "other": link.other, "share": round(link.share, 3), "says": link.says, "passages": passages}


def _gate_json(gate: Gaps) -> dict[str, Any]:
    found = {gap.name: {"training": gap.training, "test": gap.test, "gap": round(gap.size, 4)} for gap in gate.found}
    return {"check": gate.check, "what": gate.what, "pictures": gate.pictures or None, "median": round(gate.middle, 4),
            "limit": gate.limit, "found": found, "nothing": dict(gate.nothing)}  # fmt: skip


def _strip(gate: Gaps) -> dict[str, Any]:
    """A dot for each gap on a line, those of one place above each other; the median, and between which gaps nobody is far off."""
    limit = gate.limit or 0.0
    edges = [0.0, gate.middle - limit, gate.middle + limit, *(gap.size for gap in gate.found)]
    low, span = min(edges), max(max(edges) - min(edges), 0.02)
    far = set(gate.far())

    def across(size: float) -> float:
        return SIDE + (WIDTH - 2 * SIDE) * (size - low) / span

    stacks: dict[int, list[Gap]] = {}
    for gap in gate.found:
        stacks.setdefault(round(across(gap.size) / ROW), []).append(gap)
    floor = max(6, *map(len, stacks.values()), 0) * ROW + DOT if stacks else 0
    dots = [
        {"x": place * ROW - DOT / 2, "y": floor - (number + 1) * ROW, "gap": gap, "far": gap in far}
        for place, stack in sorted(stacks.items()) for number, gap in enumerate(stack)
    ]  # fmt: skip
    band = (across(gate.middle - limit), across(gate.middle + limit)) if limit else None
    ticks = [(across(size), f"{size:+.2f}") for size in dict.fromkeys((low, 0.0, gate.middle, low + span))]
    shown: list[tuple[float, str]] = []
    for x, text in sorted(ticks):  # a tick that would run into the one before is left out
        shown += [(x, text)] if not shown or x - shown[-1][0] > 56 else []
    return {"dots": dots, "floor": floor, "width": WIDTH, "height": floor + FOOT, "size": DOT, "middle": across(gate.middle), "band": band,
            "ticks": shown}  # fmt: skip


def _rows(note: Note) -> Iterable[list[str]]:
    if not note.links:
        yield [note.kind, note.what, note.names[0], "", "", "", "", note.says]
    for link in note.links:
        one, other = link.passages[0] if link.passages else (Passage("", ""), Passage("", ""))
        yield [note.kind, note.what, link.one, link.other, f"{link.share:.2f}", one.where, other.where, link.says or note.says]


def _view(note: Note) -> dict[str, Any]:
    links = [
        {
            "one": link.one, "other": link.other, "says": link.says or f"{link.share:.0%} in common",
            "passages": [[_side(link.one, one), _side(link.other, other)] for one, other in link.passages],
        }
        for link in note.links
    ]  # fmt: skip
    return {"what": note.what, "names": note.names, "says": note.says, "links": links}


def _side(name: str, passage: Passage) -> dict[str, Any]:
    """A passage as lines of the page: from a little above what is alike to a little below it, and not endless."""
    texts = passage.text.split("\n")
    first = max(1, min(passage.lines, default=1) - AROUND)
    last = min(len(texts), max(passage.lines, default=len(texts)) + AROUND, first + MOST_LINES - 1)
    rows = [(number, _cut(texts[number - 1]), number in passage.lines) for number in range(first, last + 1)]
    cut = last < max(passage.lines, default=len(texts))
    return {"name": name, "where": passage.where, "rows": rows, "code": bool(passage.lines), "cut": cut}


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
