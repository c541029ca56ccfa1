"""Results as people see them: with the points, comments and changes that a person gave. The files of the judge stay as they are."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.marking.books import BY_RUBRIC, Book, Mark
from autograder.marking.marks import Marks, mark_points, read_marks
from autograder.report.answers import read_answers

__all__ = ["Marked", "answer_hash", "marked", "override_check", "points_from", "summed", "with_points"]


@dataclass
class Marked:
    """Results with marks.

    Attributes:
        results: Folder name -> result. A check that a person gave points has the key ``hand`` beside those of the schema:
            ``{"kind": "mark" or "override", "by", "when", "was", "reason", "comment"}``.
        faults: What no result can take, a line each: an unknown check, too many points. It was left out.
        notices: What a person should look at: two marks of one answer, an answer that changed, points that changed under an override.
    """

    results: dict[str, dict[str, Any]]
    faults: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def marked(graded: Path, results: Mapping[str, Mapping[str, Any]], *, whole: bool = False, marks: Marks | None = None) -> Marked:
    """Apply the marks of a graded folder to results; every reader takes them from here.

    Args:
        graded: The folder.
        results: Folder name -> content of its ``result.json``.
        whole: Whether these are all results there are, so that marks of anybody else are a slip.
        marks: Those of the folder, where they are read already.

    Raises:
        MarksError: The marks cannot be used.
    """
    marks = read_marks(graded) if marks is None else marks
    found = Marked({name: dict(result) for name, result in results.items()})
    for name, result in results.items():
        if marks.checks(result["submission"]):
            found.results[name] = _Student(result, marks, read_answers(graded / name), found).applied()
    known = {result["submission"] for result in results.values()}
    if whole:
        for student, book in marks.students().items():
            if student not in known:
                place = next(table for table, rows in (("answers", book.answers), ("overrides", book.overrides)) if student in rows)
                found.notices.append(f"{book.where(place, student)}: there is no result of {student!r}; correct the name or take it out")
    return found


def answer_hash(answer: Mapping[str, Any] | None) -> str:
    """A hash of what a student wrote, by which a mark knows its answer; empty where it is not known."""
    if answer is None:
        return ""
    return hashlib.sha256("\0".join(item["text"] for item in answer["texts"]).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def with_points(check: Mapping[str, Any], points: float, message: str, **hand: Any) -> dict[str, Any]:
    """A check with points that a person gave.

    Args:
        check: As the judge left it.
        points: The points.
        message: What the student reads.
        **hand: What is kept of who, when and why.
    """
    status = "earned" if points == check["max_points"] else "partial" if points else "not_earned"
    cause = {"cause": None, "measured": None} if status == "earned" else {}
    return {**check, **cause, "points": points, "status": status, "message": message, "hand": {"was": check["points"], **hand}}


def override_check(check: Mapping[str, Any], points: float, reason: str, by: str = "", when: str = "") -> dict[str, Any]:
    """A check whose points a person changed; the judge's message stays below the reason."""
    message = f"Changed by hand from {_words(check['points'])} to {points:g} points: {reason.strip()}\n{check['message']}".rstrip()
    return with_points(check, points, message, kind="override", by=by, when=when, reason=reason.strip(), comment="")


def points_from(text: str, top: float) -> float:
    """Points as a person wrote them, with a comma or a point.

    Raises:
        ValueError: They are none from 0 to ``top`` in steps of half a point; the text says what was expected and found.
    """
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = -1.0
    if not 0 <= points <= top or points * 2 % 1:  # NaN fails this as well
        raise ValueError(f"expected points from 0 to {top:g} in steps of 0.5, found {text[:40]!r}.")
    return points


def summed(result: Mapping[str, Any], checks: list[dict[str, Any]]) -> dict[str, Any]:
    """A result with other checks, and the sums that follow from them."""
    waiting = sum(check["max_points"] for check in checks if check["status"] == "needs_manual")
    return {**result, "checks": checks, "score": sum(check["points"] or 0 for check in checks), "needs_manual": waiting}


class _Student:
    """One result on its way to its marks.

    Args:
        result: As the judge left it.
        marks: All marks.
        answers: What the student wrote, by check.
        found: Receives faults and notices.
    """

    def __init__(self, result: Mapping[str, Any], marks: Marks, answers: Mapping[str, Mapping[str, Any]], found: Marked) -> None:
        self.result, self.marks, self.answers, self.found = result, marks, answers, found
        self.name = str(result["submission"])

    def applied(self) -> dict[str, Any]:
        known = {check["id"] for check in self.result["checks"]}
        for check in sorted(self.marks.checks(self.name) - known):
            self._misplaced("answers", check, f"there is no check {check!r}; there is: {', '.join(sorted(known))}")
            self._misplaced("overrides", check, f"there is no check {check!r}; there is: {', '.join(sorted(known))}")
        return summed(self.result, [self._check(check) for check in self.result["checks"]])

    def _check(self, check: dict[str, Any]) -> dict[str, Any]:
        if check["status"] == "needs_manual":
            self._misplaced("overrides", check["id"], "a person marks this; put it under [answers...]")
            return self._answer(check)
        self._misplaced("answers", check["id"], "this is an automatic check; put it under [overrides...], with a reason")
        return self._override(check)

    def _misplaced(self, table: str, check: str, words: str) -> None:
        for book in self.marks.books:
            if check in getattr(book, table).get(self.name, {}):
                self.found.faults.append(f"{book.where(table, self.name, check)}: {words}")

    def _fits(self, check: Mapping[str, Any], points: float | None, book: Book, table: str) -> bool:
        if points is None or points <= check["max_points"]:
            return True
        where = book.where(table, self.name, check["id"])
        self.found.faults.append(f"{where}: expected points from 0 to {check['max_points']:g}, found {points:g}")
        return False

    def _notice(self, check: Mapping[str, Any], words: str) -> None:
        self.found.notices.append(f"{self.name}, {check['id']}: {words}")

    def _answer(self, check: dict[str, Any]) -> dict[str, Any]:
        """A check that a person marks, with the mark that holds; still open where none does."""
        said = self.marks.marks(self.name, check["id"])
        if not said or not said[0].what.given:
            return check
        one, mark, criteria = said[0], said[0].what, self.marks.criteria(check["id"])
        points, answer = mark_points(mark, criteria, check["max_points"]), self.answers.get(check["id"])
        if unknown := [name for name in (*(mark.criteria or ()), *mark.half) if name not in criteria]:
            there = ", ".join(criteria) or "none"
            where = one.book.where("answers", self.name, check["id"])
            self.found.faults.append(f"{where}: there is no criterion {unknown[0]!r} of {check['id']}; there is: {there}")
        elif not all(self._fits(check, other.what.points, other.book, "answers") for other in said):
            return check
        elif len(said) > 1:
            both = " and ".join(f"{other.by} {_words(mark_points(other.what, criteria, check['max_points']))}" for other in said)
            self._notice(check, f"open, since {both} were given without knowing of each other; decide in the marking room")
        elif points is None:
            self._notice(check, "open, since persons gave one of its criteria different points; decide in the marking room")
        elif mark.of and answer is not None and mark.of != answer_hash(answer):
            self._notice(check, f"open, since the answer was changed after {one.by} had marked it; mark it again")
        else:
            when = mark.when.isoformat() if mark.when else ""
            message = self._message(mark, points, check)
            return with_points(check, points, message, kind="mark", by=one.by, when=when, reason=mark.reason, comment=mark.comment.strip())
        return check

    def _message(self, mark: Mark, points: float, check: Mapping[str, Any]) -> str:
        """What the student reads: points, criteria, adjustment, comment."""
        lines = [f"Marked by hand: {points:g} of {check['max_points']:g} points."]
        of_rubric = {name for book in self.marks.books if book.by == BY_RUBRIC for name in book.criteria.get(check["id"], {})}
        for name, said in self.marks.criteria(check["id"]).items() if mark.criteria is not None else ():
            one = said[0].what
            share = 1.0 if name in (mark.criteria or ()) else 0.5 if name in mark.half else 0.0
            if one.points < 0 and share:
                lines.append(f"{one.points * share:g}  {one.text}")
            elif one.points >= 0 and (share or name in of_rubric):
                lines.append(f"{one.points * share:g} of {one.points:g}  {one.text}")
        if mark.reason:
            lines.append(f"{mark.adjust:+g}  {mark.reason}" if mark.adjust else mark.reason)
        return "\n".join([*lines, *([mark.comment.strip()] if mark.comment.strip() else [])])

    def _override(self, check: dict[str, Any]) -> dict[str, Any]:
        """An automatic check, with the override that holds."""
        changes = self.marks.overrides(self.name, check["id"])
        if len(changes) > 1:
            both = " and ".join(f"{one.by} {one.what.points:g}" for one in changes)
            self._notice(check, f"the judge's points stand, since {both} were given without knowing of each other; take one of them away")
        if len(changes) != 1:
            return check
        one, override = changes[0], changes[0].what
        if not self._fits(check, override.points, one.book, "overrides"):
            return check
        if override.was is not None and check["points"] != override.was:
            changed = f"{one.by} changed {override.was:g} to {override.points:g} points, which stand"
            self._notice(check, f"{changed}, but the judge gives {_words(check['points'])} now; look at it again, and correct `was`")
        return override_check(check, override.points, override.reason, one.by, override.when.isoformat())


def _words(points: float | None) -> str:
    return "open" if points is None else f"{points:g}"
