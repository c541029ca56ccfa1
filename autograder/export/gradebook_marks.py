"""What people gave, between nbgrader's gradebook and the marks of a graded folder, in both directions."""

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.export.entries import ExportError, shown
from autograder.report.lateness import Late
from segkit.atomic import replacing

if TYPE_CHECKING:
    from nbgrader.api import Grade, SubmittedAssignment

__all__ = ["Given", "automatic", "read_ledger", "read_manual_scores", "write_by_hand", "write_ledger", "write_penalty"]

PENALTY = "late_submission_penalty"
HALF_A_CENT = 0.005


@dataclass(frozen=True)
class Given:
    """What a person gave in nbgrader.

    Attributes:
        student: Name of the submission.
        check: Id of the check.
        points: The manual score.
        comment: The comment of its cell, if it has one.
        extra: Extra credit, which no result can hold.
    """

    student: str
    check: str
    points: float
    comment: str
    extra: float


def automatic(check: Mapping[str, Any]) -> dict[str, Any]:
    """A check as the judge left it, without what a person gave."""
    hand = check.get("hand")
    return dict(check) if hand is None else {**check, "points": hand["was"]}


def write_by_hand(grade: "Grade", check: Mapping[str, Any], whose: str, ledger: MutableMapping[str, float]) -> bool | None:
    """Write what a person gave for a check into its cell; take it back where it was taken back.

    Args:
        grade: The cell's grade; its automatic score is written already.
        check: The check, with its marks.
        whose: The student.
        ledger: ``student/cell`` -> the manual score that an earlier export wrote; any other score was given in nbgrader and stays.

    Returns:
        Whether the cell changed; None where somebody gave other points in nbgrader.
    """
    key, now = f"{whose}/{grade.name}", grade.manual_score
    hand = check.get("hand")
    ours = now is None or now == ledger.get(key)
    if hand is None:
        if ledger.pop(key, None) is None or not ours:
            return False
        grade.manual_score, grade.needs_manual_grade = None, grade.auto_score is None
        return True
    points = float(check["points"])
    if not ours and now != points:
        return None
    before = (now, grade.needs_manual_grade)
    grade.manual_score, grade.needs_manual_grade, ledger[key] = points, False, points
    changed = before != (points, False)
    comment = next((one for one in grade.notebook.comments if one.name == grade.name), None)
    if comment is not None and hand["kind"] == "mark" and comment.manual_comment != (text := shown(check["message"])):
        comment.manual_comment, changed = text, True
    return changed


def write_penalty(submission: "SubmittedAssignment", late: Late | None, whose: str, ledger: MutableMapping[str, float]) -> bool | None:
    """Write what lateness takes off into nbgrader's own column of it, in shares of the notebooks, as it counts it by notebooks.

    Args:
        submission: The submission; its scores are written already, those that a person gave in nbgrader among them.
        late: How late it came, if it did.
        whose: The student.
        ledger: ``student/late_submission_penalty`` -> what an earlier export wrote; any other penalty was given in nbgrader and stays.

    Returns:
        Whether it changed; None where another one was given in nbgrader.
    """
    key, now = f"{whose}/{PENALTY}", submission.late_submission_penalty
    wanted = (late.taken({"score": submission.score, "max_score": submission.max_score}) or 0.0) if late else 0.0
    if not wanted and key not in ledger:
        return False
    if now and abs(now - ledger.get(key, 0.0)) > HALF_A_CENT and abs(now - wanted) > HALF_A_CENT:
        return None
    ledger.pop(key, None)
    if wanted:
        ledger[key] = wanted
    if abs(now - wanted) < HALF_A_CENT:
        return False
    notebooks = sorted(submission.notebooks, key=lambda one: one.score)
    shares = [round(wanted * one.score / submission.score, 2) if wanted else 0.0 for one in notebooks[:-1]]
    for notebook, share in zip(notebooks, [*shares, round(wanted - sum(shares), 2)], strict=True):
        notebook.late_submission_penalty = share or None
    return True


def read_manual_scores(db: Path, assignment: str, checks: Mapping[str, float]) -> list[Given]:
    """The manual scores of a gradebook, for the marks of a graded folder.

    Args:
        db: nbgrader's ``gradebook.db``.
        assignment: Name of the assignment.
        checks: Check id -> its points.

    Raises:
        ExportError: It is no gradebook, or knows no such assignment.
    """
    from nbgrader.api import Gradebook, MissingEntry
    from sqlalchemy.exc import DatabaseError

    from autograder.course.numbers import check_id_of
    from autograder.export.gradebook import look

    try:
        look(db, 30.0)
        with Gradebook(f"sqlite:///{db.resolve()}") as gradebook:
            gradebook.find_assignment(assignment)
            found = []
            for submission in gradebook.assignment_submissions(assignment):
                for notebook in submission.notebooks:
                    comments = {one.name: one.comment or "" for one in notebook.comments}
                    for grade in notebook.grades:
                        check = check_id_of(grade.name, checks)
                        if check is not None and grade.manual_score is not None:
                            points, extra = grade.manual_score, grade.extra_credit or 0.0
                            found.append(Given(submission.student.id, check, points, comments.get(grade.name, ""), extra))
            return found
    except MissingEntry:
        raise ExportError(f"{db}: the gradebook knows no assignment {assignment!r}.") from None
    except DatabaseError as error:
        raise ExportError(f"{db} cannot be read as nbgrader's gradebook: {getattr(error, 'orig', error)}.") from error


def read_ledger(path: Path) -> dict[str, float]:
    """What earlier exports wrote as manual scores; nothing where that is not known."""
    try:
        return {str(cell): float(points) for cell, points in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_ledger(path: Path, ledger: Mapping[str, float]) -> None:
    """Keep what this export wrote, if it is anything."""
    if ledger or path.is_file():
        with replacing(path) as partial:
            partial.write_text(json.dumps(dict(sorted(ledger.items())), indent=1), encoding="utf-8")
