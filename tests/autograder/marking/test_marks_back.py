"""Marks and changed points reach the course system's own file, its comments, and the pages that students get; a regrade keeps them."""

import csv
import json
import zipfile

import pytest
from click.testing import CliRunner
from fake_class import set_check
from marked_class import graded_class, put_marks
from test_marks_everywhere import MARKS

from autograder.cli import main

WORKSHEET = (
    "Identifier,Full name,Username,Grade,Maximum Grade,Last modified (grade),Feedback comments\n"
    "Participant 1,Ada,ada,,100.00,-,\nParticipant 2,Ben,ben,41,100.00,-,\n"
)


@pytest.fixture
def graded(tmp_path):
    graded = graded_class(tmp_path / "graded")
    put_marks(graded, MARKS)
    return graded


def export(graded, *arguments):
    outcome = CliRunner().invoke(main, ["export", str(graded), *map(str, arguments)])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def fill(graded, tmp_path):
    (tmp_path / "w.csv").write_text(WORKSHEET)
    said = export(graded, "--into", tmp_path / "w.csv", "--comments", "--feedback")
    with (tmp_path / "w.filled.csv").open(newline="") as file:
        return {row["Username"]: row for row in csv.DictReader(file)}, said


def test_marks_are_in_moodles_worksheet_its_comments_and_its_feedback_files(graded, tmp_path):
    rows, said = fill(graded, tmp_path)
    assert (rows["ada"]["Grade"], rows["ben"]["Grade"]) == ("95", "73.5") and "ben 41 -> 73.5" in said
    assert "8 of 8 two reasons" in rows["ada"]["Feedback comments"] and "Where is the evidence?" in rows["ada"]["Feedback comments"]
    first, crop, question, *_ = rows["ben"]["Feedback comments"].split("</p>")
    assert (first, question) == ("<p>fcn: 73.5 of 100 points.", "<p><b>question_1</b>: 0 of 15. Marked by hand: 0 of 15 points.")
    assert crop == "<p><b>fcn32s.crop</b>: 4 of 4. Changed by hand from 2 to 4 points: The sheet said 18."
    with zipfile.ZipFile(tmp_path / "w.feedback.zip") as bundle:
        pages = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert "Where is the evidence?" in pages["Ada_1_assignsubmission_file_/feedback.html"]
    assert "The sheet said 18." in pages["Ben_2_assignsubmission_file_/feedback.html"]


def test_an_appeal_survives_a_regrade_in_the_worksheet(graded, tmp_path):
    file = graded / "ben" / "result.json"
    again = set_check(json.loads(file.read_text()), "scores", 2, message="Another finding.")
    file.write_text(json.dumps(again))
    rows, _ = fill(graded, tmp_path)
    assert rows["ben"]["Grade"] == "71.5", "two points less for scores, and the crop's four still"


def test_an_answer_that_waits_leaves_its_cell(tmp_path):
    graded = graded_class(tmp_path / "graded")
    put_marks(graded, MARKS.replace("[answers.ben.question_2]\npoints = 3.5\n", ""))
    rows, said = fill(graded, tmp_path)
    assert (rows["ada"]["Grade"], rows["ben"]["Grade"]) == ("95", "41") and "ben (keeps '41' of before)" in said
    rows, said = fill(graded, tmp_path)
    assert rows["ben"]["Feedback comments"] == "" and "1 pages of feedback" in said
