"""Comments beside the points: what was lost and why, for Moodle and Blackboard; a person's own stay."""

import csv
import html
import io

import gradebook_files as files
import pytest
from click.testing import CliRunner
from fake_class import HOSTILE, set_check
from gradebook_files import graded_folder, marked, slots

from autograder.cli import main
from autograder.export.comments import comment_on, is_ours
from autograder.report.sheets import parse_sheet


def export(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


@pytest.fixture
def graded(tmp_path):
    ada = set_check(marked("ada", 100), "fcn32s.crop", 2, "crop.shift", message="One row too low, \N{PILE OF POO}.\nexpected 19")
    return graded_folder(tmp_path / "graded", ada, marked("bjoern", 100))


ADA = "<p>fcn: 98 of 100 points.</p><p><b>fcn32s.crop</b>: 2 of 4. One row too low, \N{PILE OF POO}.</p>"


def test_moodle_gets_comments_and_a_persons_own_is_kept(graded, tmp_path):
    path = tmp_path / "g.csv"
    path.write_text(slots(files.MOODLE), encoding="utf-8", newline="")
    outcome = export(graded, "--into", path, "--comments")
    assert outcome.exit_code == 0 and "1 had a comment already, which is kept: bjoern" in outcome.output, outcome.output
    expected = slots(files.MOODLE, ada="98", bjoern="100").replace('10:10 PM",-,\n', f'10:10 PM",-,"{ADA}"\n')
    assert (tmp_path / "g.filled.csv").read_bytes() == expected.encode()


def test_our_own_comment_gives_way_to_a_newer_one(graded, tmp_path):
    path = tmp_path / "g.csv"
    older = "<p>fcn: 57.5 of 100 points.</p><p><b>scores</b>: 0 of 4. Old, and<br>more.</p>"
    path.write_text(slots(files.MOODLE).replace('10:10 PM",-,\n', f'10:10 PM",-,"{older}"\n'), newline="")
    assert export(graded, "--into", path, "--comments").exit_code == 0
    rows = list(csv.reader(io.StringIO((tmp_path / "g.filled.csv").read_text(), newline="")))
    assert rows[1][-1] == ADA
    (tmp_path / "again.csv").write_bytes((tmp_path / "g.filled.csv").read_bytes())
    assert export(graded, "--into", tmp_path / "again.csv", "--comments").exit_code == 0
    assert (tmp_path / "again.filled.csv").read_bytes() == (tmp_path / "g.filled.csv").read_bytes()


def test_blackboard_gets_comments_with_their_format(graded, tmp_path):
    """The download of one column with its comments; rows that end early are made longer by more than one cell."""
    head = '"Username","FCN [Total Pts: 100 Score] |7","Grading Notes","Notes Format","Feedback to Learner","Feedback Format"\n'
    (tmp_path / "g.csv").write_text(head + '"ada","","","","",""\n"bjoern"\n', encoding="utf-8", newline="")
    assert export(graded, "--into", tmp_path / "g.csv", "--comments").exit_code == 0
    expected = head + f'"ada","98","","","{ADA}","HTML"\n"bjoern",100,,,<p>fcn: 100 of 100 points.</p>,HTML\n'
    assert (tmp_path / "g.filled.csv").read_text(encoding="utf-8") == expected


def test_letters_that_the_file_cannot_hold_do_not_stop_the_class(graded, tmp_path):
    """What a student's code says may hold any letter; a Windows-1252 file has 256."""
    text = slots(files.MOODLE_GERMAN)
    (tmp_path / "g.csv").write_bytes(text.encode("cp1252"))
    assert export(graded, "--into", tmp_path / "g.csv", "--comments").exit_code == 0
    comment = parse_sheet((tmp_path / "g.filled.csv").read_bytes(), "g").texts[1][-1]
    assert comment == ADA.replace("\N{PILE OF POO}", "&#128169;") and html.unescape(comment) == ADA


def test_what_a_student_wrote_is_text_in_the_comment_and_bounded():
    result = set_check(marked("x", 100), "scores", 0, message=f"{HOSTILE} {'long ' * 500}\nsecond")
    comment = comment_on(result, result["checks"])
    assert "<script" not in comment and "&lt;script&gt;" in comment and len(comment) < 800
    assert comment.startswith("<p>fcn: 96 of 100 points.</p><p><b>scores</b>: 0 of 4. ") and "second" not in comment


def test_what_a_person_wrote_by_hand_is_in_the_comment_even_with_all_points():
    result = set_check(marked("x", 100), "question_1", 15, message="Marked by hand: 15 of 15 points.\n\nNames <both> reasons.")
    by_hand = {check["id"]: check for check in result["checks"]}["question_1"]
    by_hand["hand"] = {"kind": "mark", "comment": "Names <both> reasons."}
    assert comment_on(result, result["checks"]).endswith("15 of 15. Marked by hand: 15 of 15 points.<br>Names &lt;both&gt; reasons.</p>")
    by_hand |= {"hand": {"kind": "override", "comment": ""}, "message": "Changed by hand from 2 to 15 points: a slip.\nThe judge's words."}
    assert comment_on(result, result["checks"]).endswith("15 of 15. Changed by hand from 2 to 15 points: a slip.</p>")


@pytest.mark.parametrize(("text", "ours"), [
    ("", True), (" \n", True), ("<p>fcn: 57.5 of 100 points.</p>", True), ("<p>fcn: 57.5 of 100 points.</p><p>x</p>", False),
    ("<p>Fine.</p>", False), ("fcn: 57.5 of 100 points.", False),
    ("<p>See fcn: 57.5 of 100 points.</p>", False), (ADA, True), (ADA + "<p>Talk to me!</p>", False),
    ("Hello <p>fcn: 57.5 of 100 points.</p>", False),
])  # fmt: skip
def test_our_comments_are_known_by_their_first_line(text, ours):
    assert is_ours(text) is ours


def test_files_without_a_column_for_comments_say_so(graded, tmp_path):
    (tmp_path / "g.csv").write_text(slots(files.CANVAS), encoding="utf-8", newline="")
    outcome = export(graded, "--into", tmp_path / "g.csv", "--comments")
    assert outcome.exit_code == 2 and "--comments needs Moodle's Feedback comments" in " ".join(outcome.output.split())
    assert not (tmp_path / "g.filled.csv").exists()
