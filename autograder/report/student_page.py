"""The page that one student opens: what went wrong first, with its message; then pictures, then the rest."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autograder.report.answers import read_answer_pictures
from autograder.report.labels import cause_label, given_by_hand, marked_by_hand
from autograder.report.lateness import Late, late_of
from autograder.report.pictures import galleries
from autograder.report.rendering import render_page, write_page

__all__ = ["check_view", "same_page", "share", "write_student_page"]

_COLUMNS = re.compile(r"\S {2,}\S|^[ \t]", re.MULTILINE)  # words set below each other, or code: lines that need letters of one width
ISOLATION_WORDS = {
    "bubblewrap": "in a sealed process (bubblewrap: no network, read-only system)",
    "landlock": "in a restricted process (landlock: limited files and network)",
    "process": "in a separate process with limits on time and memory",
}


def write_student_page(
    result: dict[str, Any],
    folder: Path,
    *,
    titles: Mapping[str, str] | None = None,
    checks: Mapping[str, Mapping[str, Any]] | None = None,
    pictures: Sequence[dict[str, Any]] = (),
    answers: Mapping[str, Mapping[str, Any]] | None = None,
    late: Late | None = None,
) -> Path:
    """Write ``folder/report.html``, a page that stands alone: pictures inside, nothing loaded, no script.

    Args:
        result: content of ``result.json``, with or without marks.
        folder: folder of the submission, ``DIR/<name>``; made if it is not there.
        titles: cause -> words, from the rubric (see ``cause_label``).
        checks: check id -> ``{"title": ...}``, from the rubric; the id serves where a title is missing.
        pictures: entries of ``pictures.json`` (see ``galleries``), with paths relative to ``folder``.
        answers: check id -> what the student wrote for a person to grade (see ``read_answers``); shown as Markdown (see ``rendered``).
        late: how late it was handed in (see ``late_of``), if it was.

    Returns:
        The file written.
    """
    views = [check_view(check, titles or {}, checks or {}) for check in result["checks"]]
    shown = galleries(pictures, Path(folder))
    drawn = read_answer_pictures(folder)
    by_machine = [view for view in views if not marked_by_hand(view)]
    page = render_page(
        "student.html.j2",
        result=result,
        share=share(result),
        wrong=_by_message([view for view in by_machine if view["status"] in ("partial", "not_earned")]),
        stuck=_by_message([view for view in views if view["status"] == "could_not_grade"]),
        manual=[
            {**view, "answer": (answers or {}).get(view["id"]), "drawn": drawn.get(view["id"], {})} for view in views if given_by_hand(view)
        ],
        right=[view for view in by_machine if view["status"] == "earned"],
        galleries=[_titled(name, gallery, views) for name, gallery in shown.items() if gallery["rows"]],
        fingerprint=_fingerprint(result, late),
        late=late,
        isolation=ISOLATION_WORDS.get(result["isolation"], result["isolation"]),
    )
    return write_page(Path(folder) / "report.html", page)


def same_page(result: dict[str, Any], folder: Path) -> bool:
    """Whether ``folder/report.html`` was written from this result, and from what is known of its lateness."""
    try:
        with (Path(folder) / "report.html").open(encoding="utf-8", errors="replace") as page:
            return f'content="{_fingerprint(result, late_of(folder))}"' in page.read(4096)
    except OSError:
        return False


def _fingerprint(result: dict[str, Any], late: Late | None) -> str:
    facts = result if late is None else {**result, "late": vars(late)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def check_view(check: dict[str, Any], titles: Mapping[str, str], checks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One check as the page shows it: the result's keys, a title, its cause in words, the first line and the rest of its message."""
    head, _, rest = check["message"].strip("\r\n").partition("\n")
    return {
        "hand": None,
        "bonus": False,
        **check,
        "title": str(checks.get(check["id"], {}).get("title") or check["id"]),
        "label": cause_label(check["cause"], check["measured"], titles),
        "head": head.strip(),
        "rest": rest.rstrip(),
        "columns": bool(_COLUMNS.search(rest)),
    }


def share(result: dict[str, Any]) -> dict[str, float]:
    """Where the points went: earned, lost, stuck (not gradable), manual (open); ``auto``, all but those; ``hand``, given by a person.

    A bonus counts in none of these: ``bonus`` is what was earned of it, ``bonus_open`` what may come.
    """
    bonus = [check for check in result["checks"] if check.get("bonus")]
    checks = [check for check in result["checks"] if not check.get("bonus")]
    tops = dict.fromkeys(("needs_manual", "could_not_grade"), 0.0)
    for check in checks:
        if check["status"] in tops:
            tops[check["status"]] += check["max_points"]
    total = sum(check["max_points"] for check in checks)
    auto = total - tops["needs_manual"]
    earned = sum(check["points"] or 0.0 for check in checks)
    return {
        "earned": earned,
        "lost": auto - earned - tops["could_not_grade"],
        "stuck": tops["could_not_grade"],
        "manual": tops["needs_manual"],
        "auto": auto,
        "hand": sum(check["max_points"] for check in checks if marked_by_hand(check)),
        "bonus": sum(check["points"] or 0.0 for check in bonus),
        "bonus_open": sum(check["max_points"] for check in bonus if check["points"] is None),
        "total": total,
    }


def _by_message(views: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group the checks that failed with the same message, so that an empty cell is reported once, not eight times."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for view in views:
        words = (view["message"], view["label"]) if view["message"] else (view["id"],)
        groups.setdefault(words, []).append(view)
    return list(groups.values())


def _titled(name: str, gallery: dict[str, Any], views: Sequence[dict[str, Any]]) -> dict[str, Any]:
    view = next((view for view in views if view["id"] == name), None)
    return {"id": name, "title": view["title"] if view else name, "check": view, **gallery}
