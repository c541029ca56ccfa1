"""What students get back: Moodle's zip of feedback files, and pages with addresses for a mail merge."""

import csv
import io
import json
import re
import zipfile

import gradebook_files as files
import pytest
from click.testing import CliRunner
from fake_class import HOSTILE, fake_result, set_check
from gradebook_files import graded_folder, marked, slots

from autograder.cli import main
from autograder.course.assignment import open_assignment
from autograder.export.feedback import moodle_folder
from autograder.export.lms import Line
from autograder.report import write_student_page


def export(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def as_moodle_reads_it(path):
    """Participant -> (file name, content), by the rule of Moodle's importer: a part of the path is split at underscores into five at most;
    the second is the participant's number, the third and fourth are a plugin, and the rest is the path of the file."""
    found = {}
    with zipfile.ZipFile(path) as bundle:
        for name in bundle.namelist():
            parts = name.split("/")
            while parts:
                info = parts.pop(0).split("_", 4)
                if len(info) >= 4 and info[1].isdigit() and info[2:4] == ["assignsubmission", "file"]:
                    found[info[1]] = "/".join([*info[4:], *parts]).strip("/"), bundle.read(name).decode()
                    break
            else:
                raise AssertionError(f"Moodle would ignore {name}")
    return found


@pytest.mark.parametrize("form", ["MOODLE", "MOODLE_GERMAN", "MOODLE_FRENCH", "MOODLE_SPANISH"])
def test_moodle_gets_a_page_for_each_whose_points_are_written(tmp_path, form):
    graded = graded_folder(tmp_path / "graded", marked("ada", 92.5), marked("bjoern", 100), fake_result("chiara"), marked("dmitri", 80))
    path = tmp_path / "worksheet.csv"
    path.write_text(slots(getattr(files, form)), encoding="utf-8", newline="")
    outcome = export(graded, "--into", path, "--feedback")
    assert outcome.exit_code == 1 and "2 pages of feedback, 0.0 MiB: " in outcome.output, "dmitri's grade is locked"
    found = as_moodle_reads_it(tmp_path / "worksheet.feedback.zip")
    assert {number: name for number, (name, _) in found.items()} == {"1001": "feedback.html", "1002": "feedback.html"}
    assert ">ada<" in found["1001"][1] and ">92.5<" in found["1001"][1] and ">bjoern<" in found["1002"][1]


@pytest.mark.parametrize(("names", "folder"), [
    (("Ada Lovelace",), "Ada Lovelace_1001_assignsubmission_file_"), ((), "Participant_1001_assignsubmission_file_"),
    (("Zoë_d'Arc-Smith Jr.",), "Zoë d'Arc-Smith Jr._1001_assignsubmission_file_"),
    (("a/../b\\c:d",), "a .. b c d_1001_assignsubmission_file_"),
])  # fmt: skip
def test_a_folder_is_called_as_in_downloads_of_moodle(names, folder):
    assert moodle_folder(Line(1, 2, {"id": "Teilnehmer/in1001"}, names), "id") == folder


def test_other_systems_take_no_zip_of_feedback(tmp_path):
    graded = graded_folder(tmp_path / "graded", marked("ada", 92.5))
    (tmp_path / "g.csv").write_text(slots(files.CANVAS), encoding="utf-8", newline="")
    outcome = export(graded, "--into", tmp_path / "g.csv", "--feedback")
    assert outcome.exit_code == 2 and "this is a file of canvas. Use --to mail." in outcome.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.csv", "graded"]


@pytest.fixture
def mailed(tmp_path):
    """The folder and the output of an export for a mail merge: ada with points, chiara with open ones, zoe who is not on the roster."""
    zoe = set_check(marked("=zoe", 50), "scores", 0, message=HOSTILE)
    graded = graded_folder(tmp_path / "graded", marked("ada", 92.5), fake_result("chiara"), zoe)
    (tmp_path / "roster.csv").write_text(files.ROSTER.replace("Ada,", "=Ada,"), encoding="utf-8")
    return graded / "exports/mail", export(graded, "--to", "mail", "--roster", tmp_path / "roster.csv")


def test_a_mail_merge_gets_a_page_and_a_line_for_each_with_an_address(mailed):
    folder, outcome = mailed
    assert outcome.exit_code == 1
    assert "2_=zoe: no mail address on the roster: its page is written, but it is not in addresses.csv" in outcome.output
    content = (folder / "addresses.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf") and content.endswith(b"\r\n")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [tuple(row.values()) for row in rows] == [
        ("ada@example.org", "'=Ada", "Lovelace", "ada", "92.5", "100", "0", "0_ada/feedback.html"),
        ("chiara@example.org", "Chiara", "O'Neill", "chiara", "", "100", "30", "1_chiara/feedback.html"),
    ]
    assert all(">" + row["name"] + "<" in (folder / row["file"]).read_text() for row in rows)
    assert {path.name for path in folder.iterdir()} == {"addresses.csv", "0_ada", "1_chiara", "2_=zoe"}


def test_pages_stand_alone_and_show_what_students_wrote_as_text(mailed):
    page = (mailed[0] / "2_=zoe/feedback.html").read_text()
    assert "&lt;script&gt;alert(1)" in page and "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_a_name_that_is_an_address_needs_no_roster(tmp_path):
    graded = graded_folder(tmp_path / "graded", marked("ada@example.org", 92.5))
    outcome = export(graded, "--to", "mail", "--out", tmp_path / "mail")
    assert outcome.exit_code == 0, outcome.output
    assert '"ada@example.org","","","ada@example.org","92.5"' in (tmp_path / "mail" / "addresses.csv").read_text(encoding="utf-8-sig")


def test_the_page_that_lies_there_is_taken_unless_points_were_given_since(tmp_path):
    graded = graded_folder(tmp_path / "graded", fake_result("ada@x.org"))
    (folder,) = graded.iterdir()
    (folder / "answers.json").write_text(
        json.dumps([{"check": "question_1", "texts": [{"where": "5.ipynb", "text": "Because."}], "note": ""}])
    )
    write_student_page(fake_result("ada@x.org"), folder, titles={}, checks={"scores": {"title": "A title of its own"}})
    assert export(graded, "--to", "mail").exit_code == 0
    assert (graded / f"exports/mail/{folder.name}/feedback.html").read_bytes() == (folder / "report.html").read_bytes()
    (tmp_path / "hand.csv").write_text("name,question_1,question_2\nada@x.org,15,7.5\n")
    assert export(graded, "--to", "mail", "--manual", tmp_path / "hand.csv").exit_code == 0
    page = (graded / f"exports/mail/{folder.name}/feedback.html").read_text()
    assert ">92.5<" in page and open_assignment("fcn").rubric.checks["question_2"].title in page, (
        "with the titles of the assignment's rubric"
    )
    assert ">70<" in (folder / "report.html").read_text()
