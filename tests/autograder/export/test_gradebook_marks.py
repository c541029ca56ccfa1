"""Marks and nbgrader's gradebook: they become manual scores, what was given there stays, and it can be taken into the marks."""

import pytest
from gradebooks import entry, grades, mark_by_hand

from autograder.export import Entry, ExportError, Options
from autograder.export.gradebook import write_gradebook
from autograder.export.gradebook_marks import read_manual_scores
from autograder.marking.applying import override_check, summed, with_points

TOPS = {"double": 4, "last.value": 6, "question_1": 5}


def marked_entry(question=None, comment="", double=None, **points):
    """``entry`` with a mark of the question, and an override of the double."""
    result = entry(**points).result
    checks = []
    for check in result["checks"]:
        if check["id"] == "question_1" and question is not None:
            check = with_points(check, question, f"Marked by hand.\n{comment}", kind="mark", by="ada", when="", reason="", comment=comment)
        if check["id"] == "double" and double is not None:
            check = override_check(check, double, "an appeal", "ada")
        checks.append(check)
    return Entry("ada", summed(result, checks))


def comments(db):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{db}") as book:
        return book.find_comment("question_1", "2_second", "tiny", "ada").manual_comment


def test_marks_become_manual_scores_and_comments(db):
    write_gradebook(db, [marked_entry(4.5, "Well argued.", last=3)], Options())
    assert grades(db)["question_1"] == (None, 4.5, None, False)
    assert comments(db) == "Marked by hand.\nWell argued."


def test_an_override_leaves_the_automatic_score_beside_it(db):
    written = write_gradebook(db, [marked_entry(double=3.0)], Options())
    assert grades(db)["double-check"] == (4.0, 3.0, None, False) and written.kept == []


def test_a_mark_that_changes_or_is_taken_back_reaches_the_gradebook(db):
    exported = {}
    for points in (4.5, 2.0):
        write_gradebook(db, [marked_entry(points)], Options(exported=exported))
        assert grades(db)["question_1"] == (None, points, None, False)
    assert write_gradebook(db, [marked_entry(2.0)], Options(exported=exported)).changed == 0
    write_gradebook(db, [marked_entry()], Options(exported=exported))
    assert grades(db)["question_1"] == (None, None, None, True) and exported == {}


def test_other_points_that_were_given_in_nbgrader_stay_and_are_named(db):
    exported = {}
    write_gradebook(db, [marked_entry(2.0)], Options(exported=exported))
    mark_by_hand(db)
    written = write_gradebook(db, [marked_entry(3.0)], Options(exported=exported))
    assert grades(db)["question_1"] == (None, 4.0, 1.0, False) and comments(db) == "Well argued."
    assert written.kept == ["ada: question_1"] and "differ from the marks, kept: ada: question_1" in str(written)


def test_manual_scores_are_read_for_the_marks(db):
    write_gradebook(db, [entry()], Options())
    mark_by_hand(db)
    given = {one.check: one for one in read_manual_scores(db, "tiny", TOPS)}
    assert (given["question_1"].points, given["question_1"].comment, given["question_1"].extra) == (4.0, "Well argued.", 1.0)
    assert (given["double"].student, given["double"].points) == ("ada", 3.5)
    with pytest.raises(ExportError, match="knows no assignment 'fcn'"):
        read_manual_scores(db, "fcn", TOPS)
