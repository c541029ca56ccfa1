"""Whose line is it? Points never land on somebody else's, and who is not certain is named."""

import csv
import zipfile

import gradebook_files as files
import pytest
from click.testing import CliRunner
from gradebook_files import graded_folder, marked, slots

from autograder.cli import main
from autograder.handins.bulk.handins import read_bulk
from autograder.handins.bulk.known import Known

CANVAS = "Student,ID,SIS User ID,SIS Login ID,Section,FCN (1)\n    Points Possible,,,,,100\n"
WORKSHEET = "Identifier,Full name,Email address,Grade,Maximum Grade,Last modified (grade),Username\n"


def fill(tmp_path, header, lines, results, *options, roster=""):
    """The points per line, and what was said."""
    graded = graded_folder(tmp_path / "graded", *(marked(name, 100 - n) for n, name in enumerate(results)))
    (tmp_path / "g.csv").write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    if roster:
        (tmp_path / "roster.csv").write_text(roster, encoding="utf-8")
        options = (*options, "--roster", tmp_path / "roster.csv")
    outcome = CliRunner().invoke(main, ["export", str(graded), "--into", str(tmp_path / "g.csv"), *map(str, options)])
    if outcome.exit_code == 2:
        return None, " ".join(outcome.output.split())
    before, after = (list(csv.reader((tmp_path / name).read_text(encoding="utf-8").splitlines())) for name in ("g.csv", "g.filled.csv"))
    new = [[text for text, old in zip(*rows, strict=True) if text != old] for rows in zip(after, before, strict=True)]
    points = ["".join(texts) for texts in new[header.count("\n") :]]
    assert outcome.exit_code == (1 if "not exported" in outcome.output else 0), outcome.output
    return points, " ".join(outcome.output.split())


def test_results_are_found_by_any_id_of_canvas_whatever_its_case(tmp_path):
    lines = ['"Lovelace, Ada",4711,S1,ada@x.edu,A,', '"Müller, Björn",4712,S2,Bjoern,A,', '"Li, Wei",4713,S3,wei,A,']
    points, said = fill(tmp_path, CANVAS, lines, ["s3", "bjoern", "ada@x.edu"])
    assert points == ["98", "99", "100"] and "alone" not in said


def test_names_of_downloads_without_a_roster_are_found_by_their_number(tmp_path):
    """Canvas writes its id into the names of a bulk download, Moodle the number of the participant."""
    lines = ['"Lovelace, Ada",4711,,ada,A,', '"Lovelace, Ada",4712,,ada2,A,']
    assert fill(tmp_path / "c", CANVAS, lines, ["lovelaceada_4712", "lovelaceada_4711"])[0] == ["99", "100"]
    lines = ["Participant 1001,Ada Lovelace,,,100,-", "Participant 11001,Ada Lovelace,,,100,-"]
    assert fill(tmp_path / "m", WORKSHEET, lines, ["Ada_Lovelace_11001", "Ada_Lovelace_1001"])[0] == ["99", "100"]


@pytest.mark.parametrize(("header", "lines", "members"), [
    (CANVAS, ['"Lovelace, Ada",4711,,x1,A,', '"Müller, Björn",4712,,x2,A,'],
     ["lovelaceada_4711_90210_fcn.zip", "mullerbjorn_LATE_4712_90211_fcn.zip"]),
    (WORKSHEET, ["Participant 1001,Ada Lovelace,,,100,-,", "Participant 1002,Björn Müller,,,100,-,"],
     ["Ada Lovelace_1001_assignsubmission_file_/a.ipynb", "Björn Müller_1002_assignsubmission_file_/a.ipynb"]),
    (WORKSHEET, ["Participant 1001,,,,100,-,", "Participant 1002,,,,100,-,"],
     ["Participant_1001_assignsubmission_file_/a.ipynb", "Participant_1002_assignsubmission_file_/a.ipynb"]),
])  # fmt: skip
def test_what_grade_bulk_calls_students_without_a_roster_is_found_in_the_gradebook(tmp_path, header, lines, members):
    with zipfile.ZipFile(tmp_path / "bulk.zip", "w") as bundle:
        for name in members:
            bundle.writestr(name, "x")
    names = [found.name for found in read_bulk(tmp_path / "bulk.zip", tmp_path / "in", Known())[0]]
    points, said = fill(tmp_path, header, lines, names)
    assert points == ["100", "99"] and "alone" not in said


def test_blind_worksheets_are_found_by_the_participant(tmp_path):
    lines = ["Participant 1001,,,,100,-", "Participant 1002,,,,100,-"]
    assert fill(tmp_path, WORKSHEET, lines, ["Participant_1002"])[0] == ["", "100"]
    assert fill(tmp_path / "g", WORKSHEET.replace("Identifier", "ID"), ["Teilnehmer/in1002,,,,100,-"], ["Teilnehmer_in1002"])[0] == ["100"]


@pytest.mark.parametrize(("lines", "results", "points", "words"), [
    # an id that is two people's
    (['"A, Ada",4711,S1,ada,A,', '"B, Ben",4712,4711,ben,A,'], ["4711"], ["", ""], "4711: not exported: fits 2 lines: A, Ada (line 3), B"),
    # a number of a download that is somebody else's id
    (['"Byron, Ben",4711,S1,ben,A,'], ["lovelaceada_4711"], [""], "but the name there is another than lovelaceada"),
    # two results on one line
    (['"A, Ada",4711,S1,ada,A,'], ["ada", "4711"], [""], "4711: not exported: fits A, Ada (line 3), and so does ada"),
    # nobody
    (['"A, Ada",4711,S1,ada,A,'], ["zoe"], [""], "zoe: not exported: is not in the file; decide with --match zoe=ID"),
    # a matriculation number that is, of all things, another one's id in Canvas
    (['"A, Ada",303,101,ada,A,', '"B, Ben",9,102,ben,A,'], ["101", "102", "303"], ["100", "99"],
     "by id, but the other results are found by sis user id"),
    # leading zeros: one and the same, or another? That is not guessed
    (['"A, Ada",1,12345,ada,A,'], ["0012345"], [""], "A, Ada (line 3) differs by leading zeros alone: a spreadsheet takes them away"),
])  # fmt: skip
def test_who_is_not_certain_gets_nothing_and_is_named(tmp_path, lines, results, points, words):
    found, said = fill(tmp_path, CANVAS, lines, results)
    assert found == points
    assert words in said


ROSTER = "student_id,first_name,last_name,email\n"


def test_a_roster_knows_ids_that_results_do_not_carry(tmp_path):
    lines = ["Participant 1001,Ada Lovelace,ada@x.edu,,100,-", "Participant 1002,Ada Lovelace,ada2@x.edu,,100,-"]
    roster = f"{ROSTER}4711,Ada,Lovelace,ADA2@x.edu\n4712,Ada,Lovelace,ada@x.edu\n"
    points, said = fill(tmp_path, WORKSHEET, lines, ["4711", "4712"], roster=roster)
    assert points == ["99", "100"] and "alone" not in said


def test_results_with_a_login_for_name_are_known_to_a_roster_of_other_ids(tmp_path):
    lines = ["Participant 1001,Ada Lovelace,al@x.edu,,100,-,", "Participant 1002,Ben Byron,bb@x.edu,,100,-,"]
    roster = "student_id,login,first_name,last_name,email\n4711,ada1,Ada,Lovelace,al@x.edu\n4712,ben1,Ben,Byron,bb@x.edu\n"
    points, said = fill(tmp_path, WORKSHEET, lines, ["ben1", "ada1"], roster=roster)
    assert points == ["99", "100"] and "alone" not in said


@pytest.mark.parametrize(("lines", "roster", "points", "words"), [
    # by name alone, which is said
    (["Participant 1,Ada King Lovelace,,,100,-"], "4711,Ada King,Lovelace,a@x\n", ["100"], "by full name alone: Ada King"),
    (["Participant 1,LOVELACE Ada,,,100,-"], "4711,Ada,Lovelace,a@x\n", ["100"], "found by full name alone"),
    # a name that was encoded twice on its way
    (["Participant 1,BjÃ¶rn MÃ¼ller,,,100,-"], "4711,Björn,Müller,a@x\n", ["100"], "found by full name alone"),
    # nearly the same mail address
    (["Participant 1,Ada Lovelace,ada@mail.x.edu,,100,-"], "4711,Ada,Lovelace,ada@x.edu\n", [""], "the mail address there is another"),
    # the same name, another mail address
    (["Participant 1,Ada Lovelace,al@y,,100,-"], "4711,Ada,Lovelace,ada@x\n", [""], "but the mail address there is another"),
    # two of one name on the roster, one in the file: whose is it?
    (["Participant 1,Ada Lovelace,,,100,-"], "4711,Ada,Lovelace,\n4712,Ada,Lovelace,\n", [""], "4711: not exported: is not in the file"),
    # two of one name in the file
    (["Participant 1,Ada Lovelace,,,100,-", "Participant 2,Ada Lovelace,,,100,-"], "4711,Ada,Lovelace,\n", ["", ""], "fits 2 lines"),
    # the roster's id is in the file, with another's name
    (["Participant 1,Ben Byron,4711,,100,-"], "4711,Ada,Lovelace,\n", [""], "the name there is another than Ada"),
    # a login that is like the mail address before its @, of somebody else in the file
    (["Participant 1,Ada Byron,al@y,,100,-,ada"], "4711,Ada,Lovelace,ada@x\n", [""], "but the mail address there is another"),
    (["Participant 1,Ada Lovelace,,,100,-,ada"], "4711,Ada,Lovelace,ada@x\n", ["100"], "1 points in column"),
    # letters that cannot be compared are no contradiction
    (["Participant 1,Wei Li,4711,,100,-"], "4711,伟,李,\n", ["100"], "1 points in column"),
])  # fmt: skip
def test_names_count_where_nothing_contradicts_them(tmp_path, lines, roster, points, words):
    found, said = fill(tmp_path, WORKSHEET, lines, ["4711"], roster=ROSTER + roster)
    assert (found, words in said) == (points, True), said


def test_mail_addresses_count_up_to_their_host_if_they_are_all_there_is(tmp_path):
    points, said = fill(tmp_path, WORKSHEET, ["Participant 1,Ada Lovelace,ada@x.edu,,100,-"], ["ada"])
    assert points == ["100"] and "ada was found by the mail address before its @ alone" in said
    lines = ["Participant 1,Ada Lovelace,ada@x.edu,,100,-", "Participant 2,Ada Byron,ada@y.edu,,100,-"]
    assert fill(tmp_path / "2", WORKSHEET, lines, ["ada"])[0] == ["", ""]
    points, said = fill(tmp_path / "3", CANVAS, ['"Lovelace, Ada",4711,S1,ada@x.edu,A,'], ["ada"])
    assert points == ["100"] and "ada was found by the mail address before its @ alone" in said, "Canvas has mail addresses as logins"


def test_zeros_in_front_are_no_matter_of_guessing_behind_the_mark_of_brightspace_either(tmp_path):
    header = "OrgDefinedId,Username,Email,FCN Points Grade <Numeric MaxPoints:100>,End-of-Line Indicator\n"
    points, said = fill(tmp_path, header, ["#004711,#ada,ada@x.edu,,#"], ["4711"])
    assert points == [""] and "004711 (line 2) differs by leading zeros alone" in said


def test_a_person_decides(tmp_path):
    lines = ['"Lovelace, Ada",4711,S1,ada,A,', '"Lovelace, Ada",4712,S2,al,A,']
    points, said = fill(tmp_path / "1", CANVAS, lines, ["Ada Lovelace"], "--match", "Ada Lovelace=S2")
    assert points == ["", "100"] and "not exported" not in said
    assert "--match x=S2: expected the name of a result" in fill(tmp_path / "2", CANVAS, lines, ["ada"], "--match", "x=S2")[1]
    assert "of one line of the file; it fits none" in fill(tmp_path / "3", CANVAS, lines, ["ada"], "--match", "ada=S9")[1]
    assert "it fits 2: Lovelace, Ada (line 3)" in fill(tmp_path / "4", CANVAS, lines, ["ada"], "--match", "ada=Ada Lovelace")[1]
    assert "expected NAME=ID, found 'ada'" in fill(tmp_path / "5", CANVAS, lines, ["ada"], "--match", "ada")[1]
    points, said = fill(tmp_path / "6", CANVAS, lines, ["ada", "x"], "--match", "x=ada")
    assert points == ["", ""] and "and so does" in said, "a decision does not take a line from its owner"


def test_two_results_of_one_name_are_both_refused(tmp_path):
    points, said = fill(tmp_path, CANVAS, ['"Lovelace, Ada",4711,S1,ada,A,'], ["ada", "ada"])
    assert points == [""] and "ada: not exported: 2 results have this name" in said


def test_who_handed_in_nothing_and_who_is_not_in_the_file_are_both_listed(tmp_path):
    lines = ['"Lovelace, Ada",4711,S1,ada,A,', '"Müller, Björn",4712,S2,bjoern,A,', '"Student, Test",9,,t,A,']
    points, said = fill(tmp_path, CANVAS, lines, ["ada", "zoe"])
    assert points == ["100", "", ""]
    assert "zoe: not exported: is not in the file" in said
    assert "1 lines of the file have no result: Müller, Björn (line 4)" in said and "Student, Test" not in said


def test_the_class_of_the_golden_files_is_found_by_its_roster(tmp_path):
    for number, text in enumerate((files.CANVAS, files.MOODLE, files.BRIGHTSPACE)):
        graded = graded_folder(tmp_path / str(number), marked("ada", 92.5), marked("bjoern", 100), marked("chiara", 61))
        (tmp_path / "g.csv").write_text(slots(text), encoding="utf-8", newline="")
        (tmp_path / "roster.csv").write_text(files.ROSTER, encoding="utf-8")
        arguments = ["export", str(graded), "--into", str(tmp_path / "g.csv"), "--roster", str(tmp_path / "roster.csv")]
        outcome = CliRunner().invoke(main, arguments)
        assert outcome.exit_code == 0, outcome.output
        assert (tmp_path / "g.filled.csv").read_bytes() == slots(text, ada="92.5", bjoern="100", chiara="61").encode()
