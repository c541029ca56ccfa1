"""Results of the small course, and what its gradebook holds, for the tests of the export into it."""

import sqlite3

from fake_class import fake_result
from nbgrader.api import Gradebook
from small_course import POINTS

from autograder.export import Entry

__all__ = ["dump", "entry", "grades", "mark_by_hand"]


def entry(name="ada", folder=None, **points):
    """A result of the small course; ``None`` is a check that could not be graded, question_1 waits for a person."""
    checks = []
    for check, top in POINTS.items():
        value = points.get(check.partition(".")[0], top)
        status = "could_not_grade" if value is None else "earned" if value == top else "partial" if value else "not_earned"
        if check == "question_1":
            value, status = None, "needs_manual"
        checks.append({"id": check, "points": value, "max_points": top, "status": status, "cause": None, "measured": None,
                       "message": "", "seconds": 0.1})  # fmt: skip
    score = sum(check["points"] or 0 for check in checks)
    result = fake_result(name, assignment="tiny", checks=checks, score=score, max_score=15.0, needs_manual=5.0)
    return Entry(folder or name, result)


def grades(db, student="ada"):
    """Cell -> (automatic, manual, extra credit, waits), read past nbgrader."""
    query = """
        select base_cell.name, grade.auto_score, grade.manual_score, grade.extra_credit, grade.needs_manual_grade from grade
        join base_cell on grade.cell_id = base_cell.id join submitted_notebook on grade.notebook_id = submitted_notebook.id
        join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id
        where submitted_assignment.student_id = ?"""
    with sqlite3.connect(db) as database:
        return {cell: (auto, manual, extra, bool(waits)) for cell, auto, manual, extra, waits in database.execute(query, [student])}


def dump(db):
    with sqlite3.connect(db) as database:
        return list(database.iterdump())


def mark_by_hand(db):
    """A grader at work in formgrader: another score, extra credit, comment, penalty, flag."""
    with Gradebook(f"sqlite:///{db}") as book:
        grade = book.find_grade("double-check", "1_first", "tiny", "ada")
        grade.manual_score, grade.needs_manual_grade = 3.5, False
        grade = book.find_grade("question_1", "2_second", "tiny", "ada")
        grade.manual_score, grade.extra_credit, grade.needs_manual_grade = 4.0, 1.0, False
        book.find_comment("question_1", "2_second", "tiny", "ada").manual_comment = "Well argued."
        notebook = book.find_submission_notebook("1_first", "tiny", "ada")
        notebook.late_submission_penalty, notebook.flagged = 2.0, True
        book.db.commit()
