"""``export --into``: the file that a course system gave out, filled. Where its form is from: ``gradebook_files.py``."""

import codecs
import csv
import io

import gradebook_files as files
import pytest
from click.testing import CliRunner
from fake_class import fake_result
from gradebook_files import graded_folder, marked, slots

from autograder.cli import main

UTF16 = codecs.BOM_UTF16_LE


def export(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


@pytest.fixture
def graded(tmp_path):
    """Two with points, one with answers that wait for a person, nobody for dmitri."""
    return graded_folder(tmp_path / "graded", marked("ada", 92.5), marked("bjoern", 100), fake_result("chiara"))


# golden file, its encoding with mark, file name, and how 92.5 is written in it
FORMS = {
    "canvas": (files.CANVAS, "utf-8", b"", "2026-03-20_Grades-CV.csv", "92.5"),
    "canvas, with mark": (files.CANVAS, "utf-8", codecs.BOM_UTF8, "grades.csv", "92.5"),
    "moodle": (files.MOODLE, "utf-8", b"", "Grades-CV-FCN-77.csv", "92.5"),
    "moodle, german": (files.MOODLE_GERMAN, "utf-8", b"", "Bewertungen.csv", '"92,5"'),
    "moodle, german, windows": (files.MOODLE_GERMAN, "cp1252", b"", "Bewertungen.csv", '"92,5"'),
    "moodle, french": (files.MOODLE_FRENCH, "utf-8", codecs.BOM_UTF8, "Notes.csv", "92,5"),
    "moodle, spanish": (files.MOODLE_SPANISH, "utf-8", b"", "Calificaciones.csv", '"92,5"'),
    "brightspace": (files.BRIGHTSPACE, "utf-8", codecs.BOM_UTF8, "CV_GradesExport.csv", "92.5"),
    "blackboard": (files.BLACKBOARD, "utf-16-le", UTF16, "gc_cv_fullgc.xls", "92.5"),
    "blackboard, comma": (files.BLACKBOARD.replace("\t", ","), "utf-8", codecs.BOM_UTF8, "gc_cv.csv", "92.5"),
}


@pytest.mark.parametrize("form", FORMS)
def test_points_stand_in_the_file_of_each_system_and_no_other_byte_changed(graded, tmp_path, form):
    text, encoding, mark, name, points = FORMS[form]
    path = tmp_path / name
    before = mark + slots(text).encode(encoding)
    path.write_bytes(before)
    outcome = export(graded, "--into", path)
    assert outcome.exit_code == 0, outcome.output
    filled = tmp_path / f"{path.stem}.filled{path.suffix}"
    assert filled.read_bytes() == mark + slots(text, ada=points, bjoern="100").encode(encoding)
    assert path.read_bytes() == before
    assert "2 points in column" in outcome.output and f"of {form.partition(',')[0]}: {filled}" in outcome.output
    assert "1 have open points, their cells stay as they are: chiara" in outcome.output
    assert "1 lines of the file have no result: " in outcome.output and "Ivanov" in outcome.output


@pytest.mark.parametrize("form", FORMS)
def test_a_filled_file_is_read_again_and_nothing_changes(graded, tmp_path, form):
    text, encoding, mark, name, points = FORMS[form]
    path = tmp_path / name
    path.write_bytes(mark + slots(text, ada=points, bjoern="100,0" if "," in points else "100.00000").encode(encoding))
    outcome = export(graded, "--into", path, "--out", tmp_path / "new.csv")
    assert outcome.exit_code == 0 and "instead of others" not in outcome.output, outcome.output
    assert (tmp_path / "new.csv").read_bytes() == path.read_bytes()


def test_cells_of_a_class_of_sixty_are_compared_one_by_one(tmp_path):
    """The file is read by csv before and after, and what must stand where is said by hand."""
    people = [(f"student{n:02d}", f"Last{n}", f"First{n}") for n in range(60)]
    totals = {login: 40.5 + n for n, (login, _, _) in enumerate(people) if n % 10 not in (8, 9)}
    waiting = [login for n, (login, _, _) in enumerate(people) if n % 10 == 8]
    graded = graded_folder(tmp_path / "graded", *map(fake_result, waiting), *(marked(*pair) for pair in totals.items()))
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(["Student", "ID", "SIS Login ID", "Section", "FCN (1)", "Final Score"])
    table.writerow(["    Points Possible", "", "", "", "100.0", "(read only)"])
    table.writerows([f"{last}, {first}", 8000 + n, login, "A, B", "", "12.5"] for n, (login, last, first) in enumerate(people))
    (tmp_path / "g.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    outcome = export(graded, "--into", tmp_path / "g.csv")
    assert outcome.exit_code == 0 and "54 results, 48 points in column" in outcome.output, outcome.output
    before = list(csv.reader(io.StringIO(text.getvalue(), newline="")))
    with (tmp_path / "g.filled.csv").open(encoding="utf-8", newline="") as file:
        after = list(csv.reader(file))
    for old, new in zip(before[2:], after[2:], strict=True):
        assert new == [*old[:4], str(totals.get(old[2], "")), old[5]]
    assert after[:2] == before[:2]


def test_points_by_hand_from_a_table_are_taken_along(graded, tmp_path):
    (tmp_path / "g.csv").write_text(slots(files.CANVAS), encoding="utf-8", newline="")
    (tmp_path / "hand.csv").write_text("name,question_1,question_2\nchiara,10,2.5\n")
    outcome = export(graded, "--into", tmp_path / "g.csv", "--manual", tmp_path / "hand.csv")
    assert outcome.exit_code == 0, outcome.output
    expected = slots(files.CANVAS, ada="92.5", bjoern="100", chiara="82.5")
    assert (tmp_path / "g.filled.csv").read_bytes() == expected.encode()


def test_checks_go_into_columns_of_their_own(graded, tmp_path):
    text = slots(files.CANVAS, chiara="3").replace("100.00", "70")
    (tmp_path / "g.csv").write_text(text, encoding="utf-8", newline="")
    outcome = export(graded, "--into", tmp_path / "g.csv", "--without", "question_*")
    assert outcome.exit_code == 0, outcome.output
    expected = slots(files.CANVAS, ada="70", bjoern="70", chiara="70").replace("100.00", "70")
    assert (tmp_path / "g.filled.csv").read_bytes() == expected.encode()
    assert "1 of them instead of others: chiara 3 -> 70" in outcome.output
    text = slots(files.CANVAS).replace("100.00", "15")
    (tmp_path / "g.csv").write_text(text, encoding="utf-8", newline="")
    assert export(graded, "--into", tmp_path / "g.csv", "--only", "question_2").exit_code == 0
    expected = slots(files.CANVAS, ada="7.5", bjoern="15").replace("100.00", "15")
    assert (tmp_path / "g.filled.csv").read_bytes() == expected.encode()
    outcome = export(graded, "--into", tmp_path / "g.csv", "--only", "question_3")
    assert outcome.exit_code == 2 and "question_2, read_label, scores; found 'question_3'" in " ".join(outcome.output.split())


def test_another_maximum_is_refused_and_converted_where_that_is_asked_for(graded, tmp_path):
    path = tmp_path / "g.csv"
    path.write_text(slots(files.CANVAS).replace("100.00", "8.00"), encoding="utf-8", newline="")
    outcome = export(graded, "--into", path)
    assert outcome.exit_code == 2 and not (tmp_path / "g.filled.csv").exists()
    assert "its maximum is 8, that of the results is 100. Set it to 100 in the system" in " ".join(outcome.output.split())
    assert export(graded, "--into", path, "--scale").exit_code == 0
    assert (tmp_path / "g.filled.csv").read_bytes() == slots(files.CANVAS, ada="7.4", bjoern="8").replace("100.00", "8.00").encode()


def test_what_stands_in_a_cell_is_replaced_kept_or_said(tmp_path):
    """Numbers give way and are named; excused, not assigned and locked stay; an open result keeps what was there."""
    graded = graded_folder(tmp_path / "graded", marked("ada", 92.5), marked("bjoern", 100), fake_result("chiara"), marked("dmitri", 80))
    (tmp_path / "g.csv").write_text(slots(files.CANVAS, ada="EX", bjoern="55.50", chiara="40", dmitri="N/A"), encoding="utf-8", newline="")
    outcome = export(graded, "--into", tmp_path / "g.csv")
    assert outcome.exit_code == 1
    expected = slots(files.CANVAS, ada="EX", bjoern="100", chiara="40", dmitri="N/A")
    assert (tmp_path / "g.filled.csv").read_bytes() == expected.encode()
    assert "bjoern 55.50 -> 100" in outcome.output and "chiara (keeps '40' of before)" in outcome.output
    assert "ada: not exported: Lovelace, Ada (line 4): the cell says 'EX' (excused), which is kept" in outcome.output
    assert (
        "dmitri: not exported: Ivanov, Dmitri (line 8): the cell says 'N/A' (not assigned to this student), which is kept" in outcome.output
    )
    (tmp_path / "m.csv").write_text(slots(files.MOODLE), encoding="utf-8", newline="")
    outcome = export(graded, "--into", tmp_path / "m.csv")
    assert outcome.exit_code == 1 and "Dmitri Ivanov (line 6): Moodle says that this grade cannot be changed" in outcome.output
    assert (tmp_path / "m.filled.csv").read_bytes() == slots(files.MOODLE, ada="92.5", bjoern="100").encode()


def test_words_for_no_grade_yet_give_way(graded, tmp_path):
    text = slots(files.BLACKBOARD, ada="Needs Grading", bjoern="-")
    (tmp_path / "gc.xls").write_bytes(UTF16 + text.encode("utf-16-le"))
    assert export(graded, "--into", tmp_path / "gc.xls").exit_code == 0
    assert (tmp_path / "gc.filled.xls").read_bytes() == UTF16 + slots(files.BLACKBOARD, ada="92.5", bjoern="100").encode("utf-16-le")


def test_columns_of_canvas_without_a_number_and_in_another_language_take_points(graded, tmp_path):
    """A Swedish account has a decimal comma in a file with commas, and other words for what is read-only."""
    text = (
        'Student,ID,SIS Login ID,Section,Labb,Final Score\n    Points Possible,,,,"100,0",(läs endast)\n"Lovelace, Ada",1,ada,A,{},"0,0"\n'
    )
    (tmp_path / "g.csv").write_text(text.format(""), encoding="utf-8", newline="")
    outcome = export(graded, "--into", tmp_path / "g.csv")
    assert outcome.exit_code == 1 and "1 points in column 'Labb'" in outcome.output, outcome.output
    assert (tmp_path / "g.filled.csv").read_bytes() == text.format('"92,5"').encode()


def test_rows_that_a_spreadsheet_cut_short_are_made_longer(graded, tmp_path):
    text = slots(files.BRIGHTSPACE).replace(",,,,,#\r\n", "\r\n")
    (tmp_path / "g.csv").write_text(text, encoding="utf-8", newline="")
    assert export(graded, "--into", tmp_path / "g.csv").exit_code == 0
    assert "#ada,Lovelace,Ada,ada@example.org,92.5\r\n" in (tmp_path / "g.filled.csv").read_bytes().decode()
    (tmp_path / "g.csv").write_text(text.replace(",ada@example.org", ""), encoding="utf-8", newline="")
    assert export(graded, "--into", tmp_path / "g.csv").exit_code == 0
    assert "#ada,Lovelace,Ada,,92.5\r\n" in (tmp_path / "g.filled.csv").read_bytes().decode()
