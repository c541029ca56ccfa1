"""The points of a graded class into nbgrader's own gradebook, through nbgrader's API.

It uses one transaction in one process. The transaction begins as a writer, so that nbgrader, formgrader and a second export
wait, and is committed once, at the end. What a person gave there (manual scores, extra credit, comments, penalties for lateness, flags)
is never touched; marks of the graded folder become manual scores, and what the course's rule of lateness takes off a penalty. A check
without points (``needs_manual``, ``could_not_grade``) leaves its cell waiting for a person, not at 0.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.export.entries import Entry, ExportError, Options
from autograder.export.gradebook_marks import PENALTY, automatic, write_by_hand, write_penalty
from autograder.report.labels import given_by_hand, in_total

if TYPE_CHECKING:
    from nbgrader.api import Assignment, Grade, Gradebook, SubmittedAssignment

__all__ = ["GradebookError", "Written", "look", "write_gradebook"]

WAIT_SECONDS = 30.0


class GradebookError(ExportError):
    """The gradebook cannot be written just now: busy, full disk, another version. Nothing was written."""


@dataclass
class Written:
    """What an export did to a gradebook.

    Attributes:
        changed: Cells whose automatic score or waiting mark is another one now.
        unchanged: Cells that had it already.
        new_students: Names that the gradebook did not know before.
        kept: ``student: cell`` where somebody gave other points in nbgrader than the marks have; they stay.
        penalties: Students whose penalty for lateness is another one now.
        kept_penalties: Students whose penalty somebody set otherwise in nbgrader; it stays.
        again: ``student: cell`` where a manual score stands that was given for another automatic score; it was kept, and waits
            for a look as nbgrader does it.
    """

    changed: int = 0
    unchanged: int = 0
    new_students: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    penalties: list[str] = field(default_factory=list)
    kept_penalties: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.changed} cells written, {self.unchanged} were right already"]
        if self.new_students:
            lines.append(f"new in the gradebook: {', '.join(self.new_students)}")
        if self.again:
            lines.append(f"manual scores kept although the automatic score changed; look at them again: {', '.join(self.again)}")
        if self.kept:
            lines.append(f"manual scores that were given in nbgrader and differ from the marks, kept: {', '.join(self.kept)}")
        if self.penalties:
            lines.append(f"penalties for lateness written: {', '.join(self.penalties)}")
        if self.kept_penalties:
            lines.append(f"penalties that were set in nbgrader and differ from the course's rule, kept: {', '.join(self.kept_penalties)}")
        return "\n".join(lines)


def write_gradebook(path: Path, entries: Sequence[Entry], options: Options, wait: float = WAIT_SECONDS) -> Written:
    """Write the scores of results into a gradebook, all of them or none.

    Args:
        path: nbgrader's ``gradebook.db``.
        entries: The results.
        options: The roster names students that are new; ``handed_in`` gives the time of a submission that has none; ``exported`` is
            brought up to date.
        wait: How many seconds to wait while another program writes.

    Raises:
        GradebookError: The gradebook is busy, of another version, or on a full disk. Nothing was written.
        ExportError: There is no gradebook, or it does not fit the results; the text says what to do. Nothing was written.
    """
    from sqlalchemy.exc import DatabaseError

    if not path.is_file():
        raise ExportError(
            f"{path}: there is no gradebook. Run `nbgrader generate_assignment` in the course's folder first, or name its file: "
            "--db gradebook.db"
        )
    try:
        look(path, wait)
        with _writing(path, wait) as gradebook:
            written = Written()
            for entry in entries:
                _submission(gradebook, entry, options, written)
    except (DatabaseError, sqlite3.DatabaseError) as error:
        raise GradebookError(_reason(path, error, wait)) from error
    return written


def look(path: Path, wait: float) -> None:
    """Is it a gradebook? nbgrader would make one of any empty file.

    Raises:
        ExportError: It is none.
    """
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=wait)) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    if not {"assignment", "grade", "submitted_assignment"} <= tables:
        raise ExportError(f"{path}: expected nbgrader's gradebook, found a database without its tables. Name the right file: --db FILE")


@contextlib.contextmanager
def _writing(path: Path, wait: float) -> Iterator["Gradebook"]:
    """A gradebook in one transaction that ends with the context, although its methods call commit."""
    from nbgrader.api import Gradebook
    from sqlalchemy import event

    with Gradebook(f"sqlite:///{path.resolve()}?timeout={wait:g}") as gradebook:
        gradebook.db.remove()
        gradebook.engine.dispose()
        # the driver would begin as a reader, and two readers that both want to write fail in the middle
        event.listen(gradebook.engine, "connect", lambda raw, record: setattr(raw, "isolation_level", None))
        event.listen(gradebook.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with gradebook.engine.connect() as connection, connection.begin():
            gradebook.db.configure(bind=connection, join_transaction_mode="create_savepoint")
            try:
                yield gradebook
                gradebook.db.commit()
            finally:
                gradebook.db.remove()


def _reason(path: Path, error: Exception, wait: float) -> str:
    text = str(getattr(error, "orig", None) or error)
    if "locked" in text or "busy" in text:
        return (
            f"{path} is busy: another program (formgrader, nbgrader, a second export) has been writing to it for {wait:g} s. Nothing "
            "was written. Wait for that program or close it, and export again; --wait SECONDS waits longer."
        )
    if "no such column" in text or "no such table" in text:
        return f"{path} was made by another version of nbgrader ({text}). Nothing was written. Run `nbgrader db upgrade` first."
    return f"{path} cannot be written: {text}. Nothing was written."


def _submission(gradebook: "Gradebook", entry: Entry, options: Options, written: Written) -> None:
    """Write one result."""
    from autograder.course.numbers import check_id_of

    result = entry.result
    checks = {check["id"]: check for check in result["checks"]}
    assignment = _assignment(gradebook, result["assignment"])
    _fits(assignment, checks, entry.folder)
    submission = _find_or_add(gradebook, assignment, result["submission"], options, written)
    for notebook in submission.notebooks:
        for grade in notebook.grades:
            check = checks.get(check_id_of(grade.name, checks) or "")
            if check is None:
                continue
            if not given_by_hand(check):
                _write(grade, automatic(check), result["submission"], written)
            changed = write_by_hand(grade, check, result["submission"], options.exported)
            written.changed += bool(changed)
            if changed is None:
                written.kept.append(f"{result['submission']}: {grade.name}")
    if entry.late or f"{result['submission']}/{PENALTY}" in options.exported:
        gradebook.db.flush()
        gradebook.db.expire_all()  # scores of notebooks are sums that the database makes
        changed = write_penalty(submission, entry.late, result["submission"], options.exported)
        written.penalties += [result["submission"]] * bool(changed)
        written.kept_penalties += [result["submission"]] * (changed is None)


def _assignment(gradebook: "Gradebook", name: str) -> "Assignment":
    from nbgrader.api import MissingEntry

    try:
        return gradebook.find_assignment(name)
    except MissingEntry:
        known = ", ".join(sorted(assignment.name for assignment in gradebook.assignments)) or "none"
        raise ExportError(
            f"The gradebook knows no assignment {name!r} (known: {known}). Nothing was written. Run `nbgrader generate_assignment "
            f"{name}` in the course's folder first, or name another gradebook: --db FILE"
        ) from None


def _fits(assignment: "Assignment", checks: dict[str, dict[str, Any]], whose: str) -> None:
    """Has the gradebook one cell for each check, worth as much?"""
    from autograder.course.numbers import check_id_of

    cells = [cell for notebook in assignment.notebooks for cell in notebook.grade_cells]
    found = {check_id_of(cell.name, checks): cell for cell in cells}
    faults = [f"no cell for the check {name}" for name in checks if name not in found]
    for name in checks.keys() & found.keys():
        cell, top = found[name], in_total(checks[name])
        if abs(cell.max_score - top) > 1e-9:
            faults.append(f"the cell {cell.name} is worth {cell.max_score:g} points, the check {name} {top:g}")
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise ExportError(
            f"{whose}: the assignment {assignment.name!r} of the gradebook does not fit this result: {shown}. Nothing was written. Run "
            f"`nbgrader generate_assignment {assignment.name}` with the kit that graded, or grade again with the kit that released."
        )


def _find_or_add(gradebook: "Gradebook", assignment: "Assignment", name: str, options: Options, written: Written) -> "SubmittedAssignment":
    """The submission of a student with a grade for every cell of the assignment; made where the gradebook has none."""
    from nbgrader.api import Comment, Grade, MissingEntry, SubmittedNotebook

    try:
        gradebook.find_student(name)
    except MissingEntry:
        person = options.roster.by_name(name)
        facts = {key: getattr(person, key) or None for key in ("first_name", "last_name", "email")} if person else {}
        gradebook.add_student(name, **facts)
        written.new_students.append(name)
    with gradebook.db.no_autoflush:
        submission = gradebook.update_or_create_submission(assignment.name, name)
        if submission.timestamp is None and options.handed_in.get(name):
            gradebook.update_or_create_submission(assignment.name, name, timestamp=options.handed_in[name])
        # nbgrader can forget a notebook of a submission, and knows no cells that a later version of the assignment added
        there = {notebook.notebook_id: notebook for notebook in submission.notebooks}
        for notebook in assignment.notebooks:
            own = there.get(notebook.id) or SubmittedNotebook(notebook=notebook, assignment=submission)
            graded, commented = ({part.cell_id for part in parts} for parts in (own.grades, own.comments))
            gradebook.db.add_all(Grade(cell_id=cell.id, notebook=own) for cell in notebook.grade_cells if cell.id not in graded)
            gradebook.db.add_all(Comment(cell_id=cell.id, notebook=own) for cell in notebook.solution_cells if cell.id not in commented)
    gradebook.db.flush()
    gradebook.db.expire_all()
    return submission


def _write(grade: "Grade", check: dict[str, Any], whose: str, written: Written) -> None:
    """Set the automatic score of a cell as nbgrader's autograde would; a second time it changes nothing."""
    points = None if check["points"] is None else float(check["points"])
    waits = points is None
    if grade.auto_score == points and (grade.manual_score is not None or grade.needs_manual_grade == waits):
        written.unchanged += 1
        return
    if grade.manual_score is not None:
        written.again.append(f"{whose}: {grade.name}")
        waits = True
    grade.auto_score, grade.needs_manual_grade = points, waits
    written.changed += 1
