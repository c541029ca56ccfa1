"""Files that ``export --into`` cannot fill, or not certainly: said before anything is written."""

import io
import zipfile

import gradebook_files as files
import pytest
from click.testing import CliRunner
from gradebook_files import graded_folder, marked, slots

from autograder.cli import main


def export(tmp_path, content, *options, name="g.csv"):
    """Exit code and words; nothing may have been written after bad usage."""
    graded = tmp_path / "graded"
    if not graded.exists():
        graded_folder(graded, marked("ada", 92.5))
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = CliRunner().invoke(main, ["export", str(graded), "--into", str(tmp_path / name), *map(str, options)])
    if outcome.exit_code == 2:
        assert not list(tmp_path.glob("*.filled.*")) and not list(tmp_path.glob(".*"))
    return outcome.exit_code, " ".join(outcome.output.split())


WORKBOOK = io.BytesIO()
with zipfile.ZipFile(WORKBOOK, "w") as archive:
    archive.writestr("xl/workbook.xml", "<workbook/>")


@pytest.mark.parametrize(("content", "words"), [
    (WORKBOOK.getvalue(), "expected a table in text (CSV), found an Excel workbook"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "found a workbook of an old Excel"),
    (b"\n<html><table><tr><td>Student</td></tr></table></html>", "found a web page or XML"),
    (b"", "expected a header and rows below it, found an empty file"),
    (b"Student,ID,Section\x00\n", "found zero bytes"),
    (b"Student,\x81\xff\n", "line 1: expected text in UTF-8, UTF-16 or Windows-1252"),
    ("name,score\nada,1\n", "expected a gradebook file as one of these systems gives it out (canvas: Student, ID, SIS Login ID, Section"),
    ('Student,ID,SIS Login ID,Section,FCN (1)\n"A, Ada,1,ada,A,\n', "line 2: a quotation mark is opened and never closed"),
    ("Student,ID,SIS Login ID,Section,FCN (1)\n    Points Possible,,,,100\n", "expected a line for each student below the header"),
    ("Student,ID,Section,FCN (1),FCN (1)\nA,1,A,,\n", "expected each column once, found fcn (1) more than once"),
])  # fmt: skip
def test_files_that_are_no_gradebook_say_what_they_are(tmp_path, content, words):
    code, said = export(tmp_path, content)
    assert (code, words in said) == (2, True), said


COLUMNS = (
    "Student,ID,SIS Login ID,Section,Lab fcn (1),Lab old-fcn (2),Quiz (3),Quiz 2 (4),Final Score,Sum (5)\n"
    "    Points Possible,,,,100,100,100,100,(read only),(read only)\nA,1,ada,A,,,,,7,\n"
)


@pytest.mark.parametrize(("column", "words"), [
    ((), "which column takes the points? Name it with --column. Those that can: 'Lab fcn (1)', 'Lab old-fcn (2)', 'Quiz"),
    (("lab",), "--column 'lab': expected a part of one column's header; found 2 such: 'Lab fcn (1)', 'Lab old-fcn (2)'"),
    (("essay",), "found those that take points: 'Lab fcn (1)'"),
    (("final",), "the column 'Final Score' of canvas takes no points"),
    (("sum",), "the column 'Sum (5)' of canvas takes no points"),
    (("Section",), "found those that take points"),
])  # fmt: skip
def test_a_column_that_is_not_certain_is_asked_for(tmp_path, column, words):
    code, said = export(tmp_path, COLUMNS, *(option for name in column for option in ("--column", name)))
    assert (code, words in said) == (2, True), said


@pytest.mark.parametrize(("column", "place"), [("Quiz (3)", 6), ("quiz", 6), ("(4)", 7), ("old", 5), ("QUIZ 2 (4)", 7)])
def test_a_named_column_is_found_by_its_title_its_number_or_a_part(tmp_path, column, place):
    code, said = export(tmp_path, COLUMNS, "--column", column)
    assert code == 0, said
    assert (tmp_path / "g.filled.csv").read_text().splitlines()[2].split(",")[place] == "92.5"


def test_the_assignments_name_finds_its_column_among_others(tmp_path):
    code, said = export(tmp_path, COLUMNS.replace("Lab old-fcn", "Lab old"))
    assert code == 0 and "column 'Lab fcn (1)'" in said


@pytest.mark.parametrize("upto", ["Weighted Total", "Team", "Share"])
def test_columns_that_blackboard_computes_or_that_hold_text_take_no_points(tmp_path, upto):
    text = slots(files.BLACKBOARD).replace("Essay [Total Pts: 100 Score]", "Share [Total Pts: 100 Percentage]")
    code, said = export(tmp_path, text, "--column", upto)
    assert code == 2 and f"the column '{upto} [Total Pts" in said and "of blackboard takes no points. Columns that do: 'FCN [Total" in said


def test_files_without_any_column_for_points_say_so(tmp_path):
    code, said = export(tmp_path, slots(files.MOODLE).replace('"Maximum Grade"', "Scale"))
    assert code == 2 and "column of moodle that takes points, found none (it has 'Grade, for words of a scale')" in said
    text = slots(files.BRIGHTSPACE).replace("Points Grade <Numeric", "Points Grade <Formula")
    assert "found none (it has 'FCN Points Grade <Formula" in export(tmp_path, text)[1]


def test_a_system_can_be_named_and_must_fit(tmp_path):
    assert export(tmp_path, slots(files.CANVAS), "--system", "canvas")[0] == 0
    (tmp_path / "g.filled.csv").unlink()
    code, said = export(tmp_path, slots(files.CANVAS), "--system", "moodle")
    assert code == 2 and "expected the header of a gradebook of moodle (the grading worksheet, with Identifier" in said


def test_the_file_itself_is_never_written(tmp_path):
    code, said = export(tmp_path, slots(files.CANVAS), "--out", tmp_path / "g.csv")
    assert code == 2 and "expected another file than the one that the system gave out" in said
    assert (tmp_path / "g.csv").read_text(encoding="utf-8").count("92.5") == 0
    (tmp_path / "link.csv").symlink_to(tmp_path / "g.csv")
    assert export(tmp_path, slots(files.CANVAS), "--out", tmp_path / "link.csv")[0] == 2


def test_either_a_target_or_a_file_is_given(tmp_path):
    code, said = export(tmp_path, slots(files.CANVAS), "--to", "csv")
    assert code == 2 and "Expected either --to (gradescope, " in said


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    (tmp_path / "g.filled.csv").write_text("older")
    graded = graded_folder(tmp_path / "graded", marked("ada", 92.5))
    (tmp_path / "g.csv").write_text(slots(files.CANVAS), encoding="utf-8", newline="")
    outcome = CliRunner().invoke(main, ["export", str(graded), "--into", str(tmp_path / "g.csv")])
    assert outcome.exit_code == 1 and "no space left on the disk" in outcome.output
    assert (tmp_path / "g.filled.csv").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.csv", "g.filled.csv", "graded"]
