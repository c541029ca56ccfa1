"""Class lists as they really come: with lines above the header and below the students, with staff, test accounts and other columns.

What each file means was written down from the systems' own pages, code and bug threads before it was read.
"""

import json

import pytest
from click.testing import CliRunner
from fake_class import fake_result

from autograder.cli import main
from autograder.handins.roster import RosterError, read_roster


def roster(tmp_path, text, encoding="utf-8-sig"):
    (tmp_path / "roster.csv").write_text(text, encoding=encoding)
    return read_roster(tmp_path / "roster.csv")


def names(people):
    return [student.name for student in people.students]


HEAD, ADA, BEN = "SID;Last Name;First Name;Email\n", "1001;Lovelace;Ada;ada@x\n", "1002;Okafor;Ben;ben@x\n"


# ------------------------------------------------------------------------------------------------- above and below the students
@pytest.mark.parametrize("line", [
    "Total: 2 students;;;", "Total: 2 students", "Gesamt: 2 Teilnehmer;;;", "Gesamt;2;;", "Summe;2", "Anzahl Teilnehmende: 2", "Anzahl;2;;",
    "Total : 2 étudiants;;;", "Nombre d'étudiants : 2", "Total: 2 estudiantes", ";Total: 2;;", "2 students;;;", "2 Teilnehmer/innen;;;",
    "Total students: 2", "Student count;2;;", "Número de estudiantes: 2", "Insgesamt 2 Personen", "endHISsheet;;;",
    "Erstellt am 03.03.2026 um 12:00 Uhr;;;", "Generated on 2026-03-03 by the registrar", ";;Exporté le 3 mars 2026;",
])  # fmt: skip
def test_a_remark_on_the_class_is_no_student_and_is_named(tmp_path, line):
    people = roster(tmp_path, f"{HEAD}{ADA}{BEN}{line}\n")
    assert names(people) == ["1001", "1002"]
    assert len(people.notes) == 1 and "line 4" in people.notes[0] and "no student" in people.notes[0]


@pytest.mark.parametrize(
    "line",
    [
        "1003;Total;Tara;tara@x",
        "1003;Total;;",
        "1003;;;",
        "AB 1003;;;",
        ";Jan van der Berg;;",
        ";Gesamt;Georg;",
        "total1;;;",
        "Total;Tara;;tara@x",
    ],
)
def test_a_student_with_such_a_name_or_with_an_id_alone_is_a_student(tmp_path, line):
    people = roster(tmp_path, f"{HEAD}{ADA}{line}\n")
    assert len(people.students) == 2 and people.notes == ()


@pytest.mark.parametrize("above", [
    "Course: CS 101, Section 2, Fall 2026\n\n", "Veranstaltung;Semantische Segmentierung\nSemester;WS 2026/27\n\n", "startHISsheet;;;\n",
    "Name;CS 101\nInstructor;Grace Hopper\n",
    "Liste des étudiants, cours INF-101, groupe 2, automne, campus nord\nÉdité le 3 mars 2026;;;\n",
    "# exported 2026-03-03, 23:59\n",
])  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_lines_above_the_header_are_passed_over_and_said(tmp_path, above, encoding):
    people = roster(tmp_path, f"{above}{HEAD}{ADA}{BEN}", encoding)
    assert names(people) == ["1001", "1002"] and people.students[0].email == "ada@x"
    assert len(people.notes) == 1 and "above the header" in people.notes[0]


def test_a_workbook_has_such_lines_too(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    rows = [["Teilnehmerliste"], [], ["Matrikelnummer", "Nachname", "Vorname"], [42, "Lovelace", "Ada"], ["Anzahl: 1"]]
    for number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            book.active.cell(number, column, value)
    book.save(tmp_path / "roster.xlsx")
    people = read_roster(tmp_path / "roster.xlsx")
    assert names(people) == ["42"] and len(people.notes) == 2 and "line 5" in " ".join(people.notes)


def test_two_lists_put_together_have_a_second_header(tmp_path):
    assert names(roster(tmp_path, f"{HEAD}{ADA}{HEAD}{BEN}")) == ["1001", "1002"]


def test_a_list_of_one_column_has_no_remarks_but_counts(tmp_path):
    people = roster(tmp_path, "Name\nAda Lovelace\nSector 7 G\nTotal: 2\n")
    assert names(people) == ["Ada_Lovelace", "Sector_7_G"] and len(people.notes) == 1


def test_a_file_without_any_header_is_refused_as_before(tmp_path):
    with pytest.raises(RosterError, match="expected a header with student_id, name .* found '1001,Lovelace,Ada,ada@x'"):
        roster(tmp_path, ADA.replace(";", ",") + BEN.replace(";", ","))


# ----------------------------------------------------------------------------------------------------------- staff and test accounts
@pytest.mark.parametrize(("head", "staff", "student"), [
    ("First Name,Last Name,SID,Email,Role,Section", ["Grace,Hopper,,g@x,Instructor,", "Tim,Tan,7,t@x,TA,A", "Rea,Da,,r@x,Reader,"],
     "Ada,Lovelace,1001,ada@x,Student,A"),
    ("type,action,username,org_defined_id,first_name,last_name,is_active,role_name,email",
     ["user,UPDATE,hopper,9,Grace,Hopper,1,Teacher,g@x", "user,UPDATE,par,8,Pat,Ent,1,Parent,p@x"],
     "user,UPDATE,ada,1001,Ada,Lovelace,1,Student,ada@x"),
    ("Vorname,Nachname,E-Mail-Adresse,ID-Nummer,Rollen",
     ["Grace,Hopper,g@x,9,Trainer/in", "Tim,Tan,t@x,8,Trainer/in ohne Bearbeitungsrecht", "Do,Zent,d@x,7,Dozent/in"],
     "Ada,Lovelace,ada@x,1001,Teilnehmer/in"),
    ("Status;Vorname;Nachname;Nutzernamen;Matrikelnummer;E-Mail", ["dozent;Grace;Hopper;gh;;g@x", "tutor;Tim;Tan;tt;7;t@x"],
     "autor;Ada;Lovelace;ada;1001;ada@x"),
    ("Prénom;Nom;Numéro d'étudiant;Courriel;Rôle", ["Grace;Hopper;9;g@x;Enseignant", "Tim;Tan;8;t@x;Enseignant non éditeur"],
     "Ada;Lovelace;1001;ada@x;Étudiant"),
    ("Nombre;Apellido(s);Número de ID;Correo;Roles", ["Grace;Hopper;9;g@x;Profesor", "Tim;Tan;8;t@x;Profesor sin permiso de edición"],
     "Ada;Lovelace;1001;ada@x;Estudiante"),
])  # fmt: skip
def test_staff_of_a_list_is_left_out_and_named(tmp_path, head, staff, student):
    people = roster(tmp_path, "\n".join([head, *staff, student]) + "\n")
    assert [one.email for one in people.students] == ["ada@x"]
    assert len(people.notes) == 1 and "Grace Hopper" in people.notes[0] and people.notes[0].count("line") == len(staff)


@pytest.mark.parametrize(
    "role",
    [
        "Student",
        "Student, Teacher",
        "",
        "Learner",
        "Auditor",
        "Étudiant",
        "active",
        "zugelassen",
        "S",
        "Administrative drop",
        "Submitted for grading - ",
        "Tarea enviada",
        "Staffed",
    ],
)
def test_who_learns_or_has_a_role_that_nobody_knows_stays(tmp_path, role):
    people = roster(tmp_path, f'SID,Name,Role\n1001,Ada Lovelace,"{role}"\n')
    assert names(people) == ["1001"] and people.notes == ()


def test_the_test_student_of_canvas_and_the_preview_user_of_blackboard_are_no_students(tmp_path):
    """Canvas also writes a line on which columns are posted by hand, and one with the points possible, before the first student."""
    people = roster(tmp_path, (
        "Student,ID,SIS User ID,SIS Login ID,Section,Project (77)\n"
        ",,,,,Manual Posting\n    Points Possible,,,,,100.0\n"
        '"Lovelace, Ada",4711,1001,ada,A,\n"Student, Test",4712,,57eb2fd0c9a0d25b6ad9f0e0cbb6a5b4e7d5a9f1,A,\n'
    ))  # fmt: skip
    assert names(people) == ["ada"] and "Test Student" in people.notes[0]
    people = roster(tmp_path, (
        '"Last Name"\t"First Name"\t"Username"\t"Student ID"\t"Last Access"\t"Availability"\n'
        '"Lovelace"\t"Ada"\t"ada"\t"1001"\t""\t"Yes"\n"Hopper_PreviewUser"\t"Grace"\t"ghopper_previewuser"\t"ghopper_previewuser"\t""\t"Yes"\n'
    ), "utf-16")  # fmt: skip
    assert [one.first_name for one in people.students] == ["Ada"] and "ghopper_previewuser" in people.notes[0]


# -------------------------------------------------------------------------------------------------------------------- columns
@pytest.mark.parametrize("text", [
    "STUDY_PROGRAMME;REGISTRATION_NUMBER;FAMILY_NAME_OF_STUDENT;FIRST_NAME_OF_STUDENT;GRADE;EMAIL_ADDRESS\nInf;1001;Lovelace;Ada;;ada@x\n",
    "Enrl Cd,Perm #,Grade,Student Last,Student First Middle,Quarter,Section,Email\n08235,1001,,Lovelace,Ada,F26,0100,ada@x\n",
    "Student,LastName,FirstName,ID,SIS User ID,SIS Login ID,Section\n\"Lovelace, Ada\",Lovelace,Ada,7,1001,ada@x,A\n",
    "StudentID;Zuname;Rufname;E-Mail\n1001;Lovelace;Ada;ada@x\n",
    "mtknr;nachname;vorname;email\n1001;Lovelace;Ada;ada@x\n",
    "MATRIKELNUMMER;Familien- oder Nachname;Vorname;E-Mail-Adresse\n1001;Lovelace;Ada;ada@x\n",
    "Student Number,FamilyName,GivenName,EmailAddress\n1001,Lovelace,Ada,ada@x\n",
    "EMPLID,Last Name,First Name,Email\n1001,Lovelace,Ada,ada@x\n",
    "UIN,Name,E-mail address\n1001,\"Lovelace, Ada\",ada@x\n",
])  # fmt: skip
def test_columns_of_campus_systems_are_understood(tmp_path, text):
    (student,) = roster(tmp_path, text).students
    assert (student.first_name, student.last_name) == ("Ada", "Lovelace")
    assert {"1001", "ada@x"} <= student.ids and student.name != "Ada_Lovelace"


def test_commands_say_who_of_a_list_was_left_out(tmp_path):
    roster(tmp_path, "Name,SID,Email,Role\nGrace Hopper,,g@x,Instructor\nAda Lovelace,ada,ada@x,Student\nTotal: 1 students,,,\n")
    (tmp_path / "graded" / "ada").mkdir(parents=True)
    (tmp_path / "graded" / "ada" / "result.json").write_text(json.dumps(fake_result("ada")))
    words = [str(tmp_path / "graded"), "--roster", str(tmp_path / "roster.csv")]
    done = CliRunner().invoke(main, ["mark", "--pages", *words])
    assert done.exit_code == 0 and "staff by their role: line 2 (g (Grace Hopper))" in done.output and "no student: line 4" in done.output
    assert "1 people of" in done.output
    assert "Hopper" not in (tmp_path / "graded" / "people.csv").read_text(encoding="utf-8-sig")
