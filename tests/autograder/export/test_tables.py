"""Class lists and points by hand, as spreadsheets and course systems leave them: read, straightened and said, or refused."""

import datetime
import json

import pytest
from click.testing import CliRunner
from fake_class import fake_result
from gradebook_files import graded_folder, marked
from openpyxl import Workbook

from autograder.cli import main
from autograder.handins.roster import RosterError, read_roster
from autograder.report.sheets import TableError
from autograder.report.tables import lost_zeros, read_table, repaired

HEAD = "student_id,first_name,last_name,email\n"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def workbook(path, *sheets, formats=None):
    book = Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"Sheet {number}")
        for row in rows:
            sheet.append(row)
    for cell, number_format in (formats or {}).items():
        book.worksheets[0][cell].number_format = number_format
    book.save(path)
    return path


PLAIN = "student_id,first_name,note\n4711,Zoë,a\n"


@pytest.mark.parametrize("content", [
    PLAIN.encode("utf-8"), PLAIN.encode("utf-8-sig"), PLAIN.encode("utf-16"), PLAIN.encode("utf-16-le"), PLAIN.encode("utf-16-be"),
    PLAIN.encode("cp1252"), PLAIN.replace(",", ";").encode(), PLAIN.replace(",", "\t").encode("utf-16"), PLAIN.replace("\n", "\r").encode(),
    f'"sep=;"\n{PLAIN.replace(",", ";")}'.encode(), f"sep=;\r\n{PLAIN.replace(',', ';')}".encode("cp1252"),
    f"sep=|\n{PLAIN.replace(',', '|')}".encode(), f"\n\n{PLAIN}\n,,\n".encode(),
    b'"student_id","first_name","note"\r\n"4711","Zo\xeb","a"\r\n',
    'student_id,first_name,note,\n4711,Zoë,a,\n'.encode(), 'student_id,first_name,note\n="4711",Zoë,"=""a"""\n'.encode(),
])  # fmt: skip
def test_every_form_of_one_table_is_the_same_table(tmp_path, content):
    table = read_table(write(tmp_path / "t.csv", content))
    assert table.header == ("student_id", "first_name", "note")
    assert table.rows == ({"student_id": "4711", "first_name": "Zoë", "note": "a"},) and table.notes == ()


def test_workbooks_are_read_as_they_show_their_cells(tmp_path):
    rows = [
        ["id", "name", "points", "when", "code"],
        [4711, "Zoë", 7.5, datetime.date(2026, 3, 14), 42],
        [4712.0, None, None, None, 7],
        [None, None, ""],
    ]
    path = workbook(tmp_path / "t.xlsx", rows, [["more"], [1]], formats={"E2": "00000", "E3": "00000"})
    table = read_table(path)
    assert [list(row.values()) for row in table.rows] == [
        ["4711", "Zoë", "7.5", "2026-03-14", "00042"],
        ["4712", "", "", "", "00007"],
    ]
    assert table.lines == (2, 3) and table.notes == (f"{path}: of 2 worksheets the first was read, 'Sheet 0'",)


@pytest.mark.parametrize(("content", "words"), [
    (b"", "expected a header and rows below it, found an empty file"), (b",,\n1,2,3\n", "expected a header and rows below it"),
    ("id,name\n1,Lovelace, Ada\n", "line 2: expected 2 cells, as the header has, found 3 (beyond them: ' Ada'). A name with a comma"),
    ("id,name\n4.71108E+11,Ada\n", "line 2: found '4.71108E+11', an id that a spreadsheet has rounded"),
    ("id;name\n4,71108E+11;Ada\n", "line 2: found '4,71108E+11', an id that a spreadsheet has rounded"),
    (b"PK\x03\x04 no workbook", "expected an Excel workbook (.xlsx), found one that cannot be read"),
    (b"\xd0\xcf\x11\xe0", "found a workbook of an old Excel"), (b"<table></table>", "found a web page or XML"),
    ('id,name\n"1,Ada\n', "line 2: a quotation mark is opened and never closed"),
    ("id,name\n1,Ada\n2,\u00e9".encode("cp1252") + b"\x81", "line 3: expected text in UTF-8, UTF-16 or Windows-1252"),
])  # fmt: skip
def test_what_is_no_table_says_where_and_what_to_do(tmp_path, content, words):
    with pytest.raises(TableError) as error:
        read_table(write(tmp_path / "t.csv", content))
    assert words in str(error.value) and str(tmp_path / "t.csv") in str(error.value)


def test_numbers_with_more_digits_than_a_spreadsheet_keeps_are_refused(tmp_path):
    with pytest.raises(TableError, match=r"line 2: found '1.23457E\+17', an id that a spreadsheet has rounded"):
        read_table(workbook(tmp_path / "t.xlsx", [["id"], [123456789012345678]]))
    with pytest.raises(TableError, match="found an empty workbook"):
        read_table(workbook(tmp_path / "t.xlsx", []))
    with pytest.raises(TableError, match="cannot be opened: No such file"):
        read_table(tmp_path / "absent.csv")


def test_letters_that_were_encoded_twice_are_read_as_meant_and_said(tmp_path):
    right = f"{HEAD}1,Björn,Müller,b@x\n2,Ada,O’Neill,a@x\n3,Zoë,Łoś,z@x\n".encode()
    twice = "".join(bytes([byte]).decode("latin-1" if byte in b"\x81\x8d\x8f\x90\x9d" else "cp1252") for byte in right).encode()
    roster = read_roster(write(tmp_path / "t.csv", twice))
    assert [f"{student.first_name} {student.last_name}" for student in roster.students] == ["Björn Müller", "Ada O’Neill", "Zoë Łoś"]
    assert "3 rows held letters that were encoded twice" in roster.notes[0]
    assert [repaired(text) for text in ("Zoë", "Ã", "ÄÖ", "李", "a")] == ["Zoë", "Ã", "ÄÖ", "李", "a"], "names that are none of this stay"


@pytest.mark.parametrize("head", [
    "Matrikelnummer;Vorname;Nachname;E-Mail-Adresse", "Nom d'utilisateur;Prénom;Nom;Adresse de courriel",
    "ID-Nummer;Vorname;Nachname;E-Mail", "Nombre de usuario;Nombre;Apellido(s);Dirección de correo",
    "SIS Login ID;FirstName;LastName;Email",
    "OrgDefinedId;First Name;Last Name;Email",
])  # fmt: skip
def test_headers_of_four_languages_are_understood(tmp_path, head):
    roster = read_roster(write(tmp_path / "t.csv", f"{head}\n#4711;Ada;Lovelace;Ada@x.edu\n".encode("utf-16")))
    (student,) = roster.students
    assert (student.name, student.first_name, student.last_name, student.email) == ("4711", "Ada", "Lovelace", "Ada@x.edu")
    assert student.ids == {"4711", "ada@x.edu", "ada"} and roster.notes == ()


def test_a_gradebook_of_canvas_is_a_class_list(tmp_path):
    text = 'Student,ID,SIS Login ID,Section,Hw (1),Sum,Sum\n   Points Possible,,,,9,,\n"Lovelace, Ada",4711,ada,A,1,2,3\nBo,4712,bo,A,,,\n'
    roster = read_roster(write(tmp_path / "t.csv", text))
    assert [(s.name, s.first_name, s.last_name) for s in roster.students] == [("ada", "Ada", "Lovelace"), ("bo", "", "Bo")]


def test_a_student_in_two_sections_is_one_student_and_two_of_one_id_are_an_error(tmp_path):
    head = "student_id,name,section\n"
    roster = read_roster(write(tmp_path / "t.csv", f"{head}4711,Ada Lovelace,A\n4711,Ada Lovelace,B\n"))
    assert [student.name for student in roster.students] == ["4711"]
    with pytest.raises(RosterError, match="found 4711 more than once, with other names or ids: lines 2 and 3"):
        read_roster(write(tmp_path / "t.csv", f"{head}4711,Ada Lovelace,A\n4711,Ben Byron,B\n"))
    with pytest.raises(RosterError, match="expected each column once, found name more than once"):
        read_roster(write(tmp_path / "t.csv", "student_id,name,name\n1,a,b\n"))
    with pytest.raises(RosterError, match="expected a header with student_id, name .* found 'colour,size'"):
        read_roster(write(tmp_path / "t.csv", "colour,size\nred,1\n"))


def test_zeros_that_a_spreadsheet_took_away_are_suspected(tmp_path):
    ids = ["4711123", "4711124", "4711125", "4711126", "4711127", "711128"]
    roster = read_roster(write(tmp_path / "t.csv", "student_id,name\n" + "".join(f"{text},Name{text}\n" for text in ids)))
    assert (
        len(roster.notes) == 1
        and "column 'student_id': shorter than the others: 711128. If a spreadsheet has taken zeros" in roster.notes[0]
    )
    assert lost_zeros([*ids, "0711129"]) == [], "with a zero there nothing was taken away"
    assert lost_zeros([*ids, "ada"]) == [] and lost_zeros(ids[4:]) == []
    assert lost_zeros([str(n) for n in range(95, 115)]) == [], "numbers that count up through 100 are no matriculation numbers"


def export(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_a_roster_as_a_workbook_gives_names_to_the_csv(tmp_path):
    graded = graded_folder(tmp_path / "graded", marked("4711", 92.5))
    path = workbook(tmp_path / "class.xlsx", [["Matrikelnummer", "Vorname", "Nachname"], [4711, "Ada", "=SUM(1)"]])
    outcome = export(graded, "--to", "csv", "--roster", path)
    assert outcome.exit_code == 0, outcome.output
    assert '"4711","","Ada",""' in (graded / "exports/csv/grades.csv").read_text()


def test_points_by_hand_can_be_a_workbook(tmp_path):
    graded = graded_folder(tmp_path / "graded", fake_result("ada"))
    path = workbook(tmp_path / "points.xlsx", [["name", "question_1", "question_2"], ["ada", 15, 7.5]])
    assert export(graded, "--to", "gradescope", "--manual", path).exit_code == 0
    content = json.loads(next(graded.rglob("results.json")).read_text())
    assert content["score"] == 92.5
    workbook(path, [["name", "question_1", "question_1"], ["ada", 15, 7.5]])
    outcome = export(graded, "--to", "gradescope", "--manual", path)
    assert outcome.exit_code == 2 and "expected each column once, found 'question_1' more than once" in " ".join(outcome.output.split())
