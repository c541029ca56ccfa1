"""The page that an instructor opens: how the class did, what most got wrong, and everybody's points."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from autograder.report.labels import first_fault
from autograder.report.lateness import late_in
from autograder.report.notes_page import NOTES, count_notes
from autograder.report.people import Person, mail_link, read_people
from autograder.report.rendering import render_page, report_link, write_page
from autograder.report.statistics import (
    CauseGroup,
    Histogram,
    cause_groups,
    histogram,
    identical,
    middle,
    note_groups,
    stuck_groups,
)
from autograder.report.student_page import check_view, share
from autograder.report.summary import check_order

__all__ = ["write_class_page"]

# The plot's own units; the page scales it to the width of the screen.
PLOT_WIDTH, PLOT_HEIGHT, PLOT_FLOOR = 640, 190, 30
MOST_CHECKS = 3


def write_class_page(
    results: Sequence[dict[str, Any]],
    out: Path,
    *,
    titles: Mapping[str, str] | None = None,
    checks: Mapping[str, Mapping[str, Any]] | None = None,
    changes: Sequence[Sequence[str]] | None = None,
) -> Path:
    """Write ``out/index.html``: distribution of points, causes over the class, and a table with links to the reports.

    Names, sections and who is missing come from ``out/people.csv``, who was late from ``out/handins.csv``, where they are there.

    Args:
        results: contents of the ``result.json`` files, with or without marks.
        out: folder of the class; the report of a submission is expected at ``out/<name>/report.html``.
        titles: cause -> words, from the rubric (see ``cause_label``).
        checks: check id -> ``{"title", "points"}``, from the rubric, in its order.
        changes: rows ``(name, check, points before, points after, why)`` of a class that was graded again; None where nothing is known
            of it.

    Returns:
        The file written. It stands alone and can be used without its few lines of script.
    """
    titles, checks = titles or {}, checks or {}
    ids = check_order(results, checks)
    people, late = read_people(out), late_in(out)
    rows = [_row(result, ids, titles, checks, people.get(result["submission"])) for result in results]
    there = {result["submission"] for result in results}
    missing = [person for person in people.values() if person.name not in there]
    behind = [people[name] for name in late if name in there]
    copies = identical(results)
    idle = {row["name"] for row in rows if not row["score"]}
    tops = {check["id"]: check["max_points"] for result in results for check in result["checks"]}
    page = render_page(
        "class.html.j2",
        script="table.js.j2",
        assignment=results[0]["assignment"] if results else "",
        assignments=sorted({result["assignment"] for result in results}),
        count=len(results),
        plot=_plot(results),
        median=middle([result["score"] for result in results]),
        top=max((row["share"]["auto"] for row in rows), default=0),
        full=sum(row["share"]["earned"] == row["share"]["auto"] for row in rows),
        hand=any(row["share"]["hand"] for row in rows),
        changed=any(check.get("hand", {}).get("kind") == "override" for result in results for check in result["checks"]),
        manual=max((row["share"]["manual"] for row in rows), default=0),
        stuck=[_cause(group, len(results)) for group in stuck_groups(results)],
        stuck_count=sum(row["share"]["stuck"] > 0 for row in rows),
        causes=[_cause(group, len(results)) for group in cause_groups(results, titles)],
        notes=note_groups(results),
        identical=[names for names in copies if not idle.issuperset(names)],
        untouched=[names for names in copies if idle.issuperset(names)],
        looked=count_notes(Path(out)),
        notes_page=f"./{NOTES}.html",
        letters=[_letter(words, some) for words, some in (("handed in nothing", missing), ("handed in late", behind)) if some],
        missing=missing,
        sections=sorted({section for person in people.values() for section in person.section.split(", ") if section}),
        mailed=any(person.email for person in people.values()),
        link=report_link,
        heads=[
            {
                "id": name,
                "short": name.split(".", 1)[-1],
                "title": str(checks.get(name, {}).get("title") or name),
                "top": tops.get(name, checks.get(name, {}).get("points")),
            }
            for name in ids
        ],
        families=_families(ids),
        rows=rows,
        changes=changes,
        late=[(result["submission"], result, late[result["submission"]]) for result in results if result["submission"] in late],
    )
    return write_page(Path(out) / "index.html", page)


def _letter(words: str, people: Sequence[Person]) -> dict[str, Any]:
    """People to write to, and how."""
    addresses = [person.email for person in people if person.email]
    return {"words": words, "people": people, "addresses": ", ".join(addresses), "link": mail_link(addresses)}


def _row(
    result: dict[str, Any], ids: Sequence[str], titles: Mapping[str, Any], checks: Mapping[str, Any], person: Person | None
) -> dict[str, Any]:
    """One line of the table; a check that this submission lacks has the view None."""
    views = {check["id"]: check_view(check, titles, checks) for check in result["checks"]}
    return {
        "name": result["submission"],
        "person": person or Person(result["submission"]),
        "score": result["score"],
        "share": share(result),
        "first_fault": first_fault(result),
        "cells": [(name, views.get(name)) for name in ids],
        "notes": len(result["notes"]),
    }


def _families(ids: Sequence[str]) -> list[tuple[str, int]]:
    """Neighbours with the same part before the dot share a heading: ``("fcn32s", 4)``; others get an empty one."""
    pairs = [(name.split(".")[0] if "." in name else "") for name in ids]
    return [(family, len(list(group))) for family, group in groupby(pairs)]


def _cause(group: CauseGroup, count: int) -> dict[str, Any]:
    """A cause as a bar: its words, the names behind it, and the checks it cost most often."""
    counted = group.checks.most_common()
    words = [f"{name} ({many})" if many > 1 and len(counted) > 1 else name for name, many in counted]
    if len(words) > MOST_CHECKS + 1:
        words = [*words[:MOST_CHECKS], f"{len(words) - MOST_CHECKS} more checks"]
    return {
        "label": group.label,
        "names": group.names,
        "checks": ", ".join(words),
        "percent": round(100 * len(group.names) / max(count, 1), 2),
    }


def _plot(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The histogram as rectangles and ticks in the units of the plot."""
    scores = [result["score"] for result in results]
    found = histogram(scores, max((share(result)["auto"] for result in results), default=0.0))
    step = PLOT_WIDTH / len(found.counts)
    room = PLOT_HEIGHT - PLOT_FLOOR - 24
    highest = max(found.counts) or 1
    bars = []
    for index, count in enumerate(found.counts):
        height = room * count / highest
        bars.append(
            {
                "x": index * step + 2,
                "y": PLOT_HEIGHT - PLOT_FLOOR - height,
                "width": step - 4,
                "height": height,
                "count": count,
                "range": _range(found, index),
            }
        )
    ticks = [{"x": min(index * step, PLOT_WIDTH), "text": f"{edge:g}"} for index, edge in enumerate(found.edges)]
    return {"bars": bars, "ticks": ticks, "width": PLOT_WIDTH, "height": PLOT_HEIGHT, "floor": PLOT_HEIGHT - PLOT_FLOOR}


def _range(found: Histogram, index: int) -> str:
    low, high = found.edges[index], found.edges[index + 1]
    last = index == len(found.counts) - 1
    return f"{low:g} to {high:g} points" if last else f"{low:g} to below {high:g} points"
