"""A class with difficult names in the download of each system: every file is its student's, as ``golden`` says."""

import golden
import pytest
from downloads import by_name, content

from autograder.handins.bulk import read_bulk
from autograder.handins.bulk.known import know
from autograder.handins.bulk.times import zone_named
from autograder.handins.bulk.unpacking import BulkError, Problem


@pytest.fixture
def course(tmp_path):
    """A folder with a roster, and what is read of it."""

    def make(roster=golden.CLASS, decisions="", **terms):
        (tmp_path / "roster.csv").write_text(roster, encoding="utf-8-sig")
        if decisions:
            (tmp_path / "decisions.csv").write_text(decisions, encoding="utf-8")
        return know(tmp_path / "roster.csv", zone=zone_named("Europe/Berlin"), **terms)

    return make


def problems(handins, notes):
    return [note for note in [*notes, *(note for handin in handins for note in handin.notes)] if isinstance(note, Problem)]


SYSTEMS = {
    "Canvas": (golden.CLASS, golden.CANVAS, golden.CANVAS_HOLDS),
    "Moodle": (golden.WORKSHEET, golden.MOODLE, golden.MOODLE_HOLDS),
    "Gradescope": (golden.CLASS, golden.GRADESCOPE, golden.GRADESCOPE_HOLDS),
    "Blackboard": (golden.CLASS, golden.BLACKBOARD, golden.BLACKBOARD_HOLDS),
    "Brightspace": (golden.CLASS, golden.BRIGHTSPACE, golden.BRIGHTSPACE_HOLDS),
    "nbgrader's exchange": (golden.CLASS, golden.EXCHANGE, golden.EXCHANGE_HOLDS),
    "nbgrader's folder submitted": (golden.CLASS, golden.SUBMITTED, golden.SUBMITTED_HOLDS),
}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("unpacked", [False, True])
def test_every_file_of_a_download_is_its_students(tmp_path, export, course, system, unpacked):
    roster, files, holds = SYSTEMS[system]
    source = export(files)
    if unpacked:
        source = unpack(tmp_path / next(iter(files)).partition("/")[0] if system.startswith("nbgrader") else tmp_path / "unpacked", files)
    handins, notes = read_bulk(source, tmp_path / "out", course(roster))
    assert {handin.name: content(handin.path) for handin in handins} == holds
    assert notes[0] == f"a bulk download of {system}" and problems(handins, notes) == []


def unpack(folder, files):
    for name, text in files.items():
        place = folder / (name.partition("/")[2] if name.startswith(f"{folder.name}/") else name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_names_of_a_zip_that_does_not_say_that_they_are_utf8_are_read_as_it(tmp_path, export, course):
    archive = export(golden.CANVAS)
    data = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        position = -1
        while (position := data.find(mark, position + 1)) >= 0:
            data[position + place] &= ~8  # the flag of UTF-8
    archive.write_bytes(data)
    handins, _ = read_bulk(archive, tmp_path / "out", course())
    assert {handin.name: content(handin.path) for handin in handins} == golden.CANVAS_HOLDS


def test_an_id_without_its_zeros_is_found_where_only_one_fits_and_said(tmp_path, export, course):
    known = course("student_id\n0042\n0043\n043\n")
    handins, notes = read_bulk(export({"x_42_1_a.ipynb": "x", "y_43_2_a.ipynb": "y"}), tmp_path / "out", known)
    found = by_name(handins)
    assert list(found) == ["0042", "y_43"]
    assert found["0042"].notes == ("'x_42' differs from the id of 0042 by zeros in front alone: a spreadsheet takes them away",)
    assert "fits 2 students of the roster (0043, 043)" in problems(handins, notes)[0]


# --- two readings


TEAM = {"team_7_4711_90001_1_data.ipynb": "whose?", "lovelaceada_4711_90002_2_fcn.ipynb": "ada's own"}


def test_a_group_whose_name_ends_like_an_id_is_decided_by_hand(tmp_path, export, course):
    """Read as Canvas's own code would, the hand-in of team_7 would be Åse's, whose id is 7."""
    archive = export(TEAM)
    handins, notes = read_bulk(archive, tmp_path / "out", course())
    assert {handin.name: content(handin.path) for handin in handins} == {
        "ada": {"2_fcn.ipynb": "ada's own"}, "team_7": {"90001_1_data.ipynb": "whose?"},
    }  # fmt: skip
    (problem,) = problems(handins, notes)
    assert problem == (
        f"'team_7' fits 2 students of the roster (m (Åse Ng), ada (Ada Lovelace)): decide by hand. Write one of these lines into "
        f"{tmp_path / 'decisions.csv'} (its first line is handin,student): team_7,m or team_7_4711,ada"
    )


@pytest.mark.parametrize(("line", "holds"), [
    ("team_7,m", {"m": {"90001_1_data.ipynb": "whose?"}, "ada": {"2_fcn.ipynb": "ada's own"}}),
    ("team_7_4711,chiara", {"chiara": {"1_data.ipynb": "whose?"}, "ada": {"2_fcn.ipynb": "ada's own"}}),
    ("team_7_4711,4712\nteam_7_4711,lena", {"bjoern_m": {"1_data.ipynb": "whose?"}, "lena": {"1_data.ipynb": "whose?"},
                                            "ada": {"2_fcn.ipynb": "ada's own"}}),
    ("team_7,-", {"ada": {"2_fcn.ipynb": "ada's own"}}),
])  # fmt: skip
def test_what_was_decided_holds_the_next_time_and_every_time(tmp_path, export, course, line, holds):
    for _ in range(2):
        handins, notes = read_bulk(export(TEAM), tmp_path / "out", course(decisions=f"handin,student\n{line}\n"))
        assert {handin.name: content(handin.path) for handin in handins} == holds and problems(handins, notes) == []
    assert any("nobody's, as" in note for note in notes) == line.endswith("-")


def test_a_group_of_blackboard_is_found_by_its_name_and_is_nobody_elses_whose_id_stands_at_its_end(tmp_path, export, course):
    """Blackboard writes a group's name in the place of the user's, and either may hold the sign before it."""
    roster = "ID,login,name,group_name\n4711,ada,Ada Lovelace,Team_7\n4715,lena,Lena Groß,Team_7\n4716,wli,Wei Li,Team 8\n"
    when = "attempt_2026-03-14-22-10-05_1_data.ipynb"
    files = {f"FCN_Project_Team_7_{when}": "seven", f"FCN_Project_Team 8_{when}": "eight"}
    handins, notes = read_bulk(export(files), tmp_path / "out", course(roster))
    assert {handin.name: content(handin.path) for handin in handins} == {
        "ada": {"1_data.ipynb": "seven"}, "lena": {"1_data.ipynb": "seven"}, "wli": {"1_data.ipynb": "eight"},
    }  # fmt: skip
    assert problems(handins, notes) == []
    handins, notes = read_bulk(export(files), tmp_path / "out", course(roster + "7,m,Åse Ng,\n"))
    (problem,) = problems(handins, notes)
    assert "m" not in by_name(handins) and "7,m or Team_7,ada or Team_7,lena" in problem


def test_a_groups_column_gives_a_groups_hand_in_to_all_who_are_in_it(tmp_path, export, course):
    roster = "ID,login,name,group_name\n4711,ada,Ada Lovelace,Team_7\n7,m,Åse Ng,Team_8\n4715,lena,Lena Groß,Team_7\n"
    handins, notes = read_bulk(export({"team_7_4711_90001_1_data.ipynb": "ours"}), tmp_path / "out", course(roster))
    assert {handin.name: content(handin.path) for handin in handins} == {name: {"1_data.ipynb": "ours"} for name in ("ada", "lena")}
    assert problems(handins, notes) == [] and handins[0].notes == ("handed in together with lena",)


def test_an_id_beside_another_students_name_is_decided_by_hand(tmp_path, export, course):
    """A matriculation number may by chance be another student's id in Canvas."""
    (handin,), notes = read_bulk(export({"lovelaceada_4712_1_1_data.ipynb": "x"}), tmp_path / "out", course())
    assert handin.name == "lovelaceada_4712"
    assert "lovelaceada_4712,bjoern_m or lovelaceada_4712,ada" in problems([handin], notes)[0]


def test_a_groups_name_and_a_double_name_are_told_apart_by_the_participant_or_by_hand(tmp_path, export, course):
    """Anna-Lena Groß is a student, and so would be Lena Groß of the group Anna."""
    files = {"Anna-Lena Groß_104_assignsubmission_file_/x.ipynb": "x"}
    (handin,), notes = read_bulk(export(files), tmp_path / "out", course())
    assert "Anna-Lena Groß_104,anna or Anna-Lena Groß_104,lena" in problems([handin], notes)[0]
    (handin,), notes = read_bulk(export(files), tmp_path / "out", course(golden.WORKSHEET))
    assert handin.name == "anna" and problems([handin], notes) == []


def test_who_is_on_the_roster_keeps_the_name_that_a_stranger_has_too(tmp_path, export, course):
    known = course("student_id,name\nguest_7,Gus Tavo\n")
    handins, _ = read_bulk(export({"gustavo_1_2_a.ipynb": "his", "guest_7_5_a.ipynb": "a stranger's"}), tmp_path / "out", known)
    assert {handin.name: content(handin.path) for handin in handins} == {
        "guest_7": {"a.ipynb": "his"},
        "guest_7_2": {"a.ipynb": "a stranger's"},
    }


def test_namesakes_in_brightspace_are_decided_by_hand_each_with_its_own_line(tmp_path, export, course):
    files = {f"{number}-5 - Wei Li - Mar 14, 2026 1010 PM/a.ipynb": number for number in ("39790", "39791")}
    handins, notes = read_bulk(export(files), tmp_path / "out", course())
    assert {handin.name: content(handin.path) for handin in handins} == {"Wei_Li": {"a.ipynb": "39790"}, "Wei_Li_2": {"a.ipynb": "39791"}}
    assert "39790-5 - Wei Li,wli or 39790-5 - Wei Li,wli2" in problems(handins, notes)[0]
    decided = "handin;student\n39790-5 - Wei Li;wli2\n39791-5 - Wei Li;wli\n"
    handins, notes = read_bulk(export(files), tmp_path / "out", course(decisions=decided))
    assert {handin.name: content(handin.path) for handin in handins} == {"wli": {"a.ipynb": "39791"}, "wli2": {"a.ipynb": "39790"}}


def test_without_a_receipt_two_logins_that_fit_are_decided_by_hand(tmp_path, export, course):
    name = f"FCN_Project_bjoern_m_{golden.WHEN}_1_data.ipynb"
    (handin,), notes = read_bulk(export({name: "x"}), tmp_path / "out", course())
    assert "m,m or bjoern_m,bjoern_m" in problems([handin], notes)[0]


@pytest.mark.parametrize(("name", "whose"), [
    ("Wei Li-4717_3_assignsubmission_file_/x.ipynb", "wli2"),  # a Moodle that writes ids behind names
    ("Team-7_3_assignsubmission_file_/x.ipynb", ""),  # 7 is Åse's id, but this is a group
    ("1-2 - 4717 - Wei Li - Mar 14, 2026 1010 PM/x.ipynb", "wli2"),  # a Brightspace that writes them before
    ("1-2 - Team - 7 - Mar 14, 2026 1010 PM/x.ipynb", ""),
])  # fmt: skip
def test_a_number_beside_a_name_tells_namesakes_apart_and_is_nobody_alone(tmp_path, export, course, name, whose):
    (handin,), notes = read_bulk(export({name: "x"}), tmp_path / "out", course())
    assert (handin.name if whose else "") == whose and (problems([handin], notes) == []) == bool(whose)


@pytest.mark.parametrize(("files", "submitted"), [
    # a server's own clock, in the stated zone
    ({"1-2 - Ada Lovelace - Mar 14, 2026 1010 PM/x.ipynb": "x"}, "2026-03-14T22:10:00+01:00"),
    ({"FCN_ada_attempt_2026-03-14-22-10-05_x.ipynb": "x"}, "2026-03-14T22:10:05+01:00"),
    # nbgrader takes a time without a zone for UTC
    ({"ada+fcn+2026-03-14 22:10:05.000000/x.ipynb": "x"}, "2026-03-14T23:10:05+01:00"),
    # a receipt says the zone, but nobody here reads Dutch
    ({"FCN_ada_attempt_2026-03-14-22-10-05.txt": golden.receipt("Ada Lovelace", "ada").replace("CET", "EDT"),
      "FCN_ada_attempt_2026-03-14-22-10-05_x.ipynb": "x"}, "2026-03-15T03:10:05+01:00"),
    ({"FCN_ada_attempt_2026-03-14-22-10-05.txt": golden.receipt("Ada Lovelace", "ada").replace("Saturday, March 14,", "zaterdag 14 maart"),
      "FCN_ada_attempt_2026-03-14-22-10-05_x.ipynb": "x"}, "2026-03-14T22:10:05+01:00"),
])  # fmt: skip
def test_a_time_without_a_zone_is_the_servers_or_utc_as_the_system_has_it(tmp_path, export, course, files, submitted):
    (handin,), notes = read_bulk(export(files), tmp_path / "out", course())
    assert handin.submitted == submitted and problems([handin], notes) == []


# --- as they were seen in public programs that read such downloads


@pytest.mark.parametrize(("name", "whose"), [
    ("Lovelace,Ada-4711_6130510_assignsubmission_file_/2018_project/x.ipynb", "ada"),  # last name first, an id behind the name
    ("AdaLovelace_1124140_assignsubmission_file_/x.ipynb", "ada"),
    ("LOVELACE ADA_10352058_assignsubmission_file_/x.ipynb", "ada"),
    ("Seite 1/Ada Lovelace_44441_assignsubmission_file_/x.ipynb", "ada"),  # a folder for each of several assignments
    ("FCN-22324 (A)-4260983/Ada Lovelace_1_assignsubmission_file_/x.ipynb", "ada"),  # the zip's own name, by an unpacker
    ("Inleveren FCN (1e kans)_ada@example.org_poging_2026-03-14-22-10-05_x.ipynb", "ada"),  # Dutch, logins are addresses
    ("Rendu_1_ada_tentative_2026-03-14-22-10-05_mon projet_final.ipynb", "ada"),
    ("FCN/39786-640693 - Ada Lovelace - Oct 10, 2025 1022 AM/x.ipynb", "ada"),
    ("39786-64069 - 4711 - Ada Lovelace - Oct 10, 2025 1022 AM - x.ipynb", "ada"),  # files without folders, an id before the name
    ("inbound/ada+fcn+2026-03-14 22:10:05 UTC/x.ipynb", "ada"),  # an exchange of before random endings
    ("lovelaceada_LATE_4711_90001_x.ipynb", "ada"),
])  # fmt: skip
def test_names_as_real_downloads_have_them(tmp_path, export, course, name, whose):
    (handin,), notes = read_bulk(export({name: "x"}), tmp_path / "out", course())
    assert handin.name == whose and problems([handin], notes) == []


def test_a_moodle_team_without_a_group_is_nobodys_and_one_with_a_group_is_its_members(tmp_path, export, course):
    files = {"Default group_assignsubmission_file_/x.ipynb": "?", "Team Rocket_55_assignsubmission_file_/x.ipynb": "ours"}
    roster = 'ID number,First name,Last name,Groups\nada,Ada,Lovelace,"Team Rocket, Lab 2"\nben,Ben,Byron,Team Rocket\n55,Eve,Moon,\n'
    handins, notes = read_bulk(export(files), tmp_path / "out", course(roster))
    assert [handin.name for handin in handins] == ["Default_group", "ada", "ben"]
    (problem,) = problems(handins, notes)
    assert "'Default group' is not in the roster" in problem


def test_an_id_and_an_address_of_two_students_are_decided_by_hand(tmp_path, export, course):
    metadata = "submission_1:\n  :submitters:\n  - :name: A. L.\n    :sid: '4711'\n    :email: chiara@example.org\n"
    files = {"submission_metadata.yml": metadata, "submission_1/x.ipynb": "x"}
    (handin,), notes = read_bulk(export(files), tmp_path / "out", course())
    assert handin.name == "A._L._4711" and "submission_1,ada or submission_1,chiara" in problems([handin], notes)[0]


# --- hidden names


def test_hidden_names_are_found_in_moodles_worksheet_and_asked_for_without_it(tmp_path, export, course):
    files = {f"Participant_{number}_assignsubmission_file_/x.ipynb": str(number) for number in (101, 102)}
    handins, notes = read_bulk(export(files), tmp_path / "out", course(golden.WORKSHEET))
    assert {handin.name: content(handin.path) for handin in handins} == {"ada": {"x.ipynb": "101"}, "bjoern_m": {"x.ipynb": "102"}}
    handins, notes = read_bulk(export(files), tmp_path / "out", course(golden.BLIND))
    assert [handin.name for handin in handins] == ["Participant_101", "Participant_102"] and problems(handins, notes) == []
    handins, notes = read_bulk(export(files), tmp_path / "out", course())
    assert [handin.name for handin in handins] == ["Participant_101", "Participant_102"]
    assert len(problems(handins, notes)) == 2 and "with Moodle's grading worksheet as --roster" in problems(handins, notes)[0]


@pytest.mark.parametrize("name", ["anon_x4B2q_90001_1_data.ipynb", "LATE_anon_4711_90001_1_data.ipynb", "anon_4711_text.html"])
def test_an_anonymous_hand_in_of_canvas_is_nobodys_whatever_its_letters(tmp_path, export, course, name):
    (handin,), notes = read_bulk(export({name: "x"}), tmp_path / "out", course())
    assert handin.name in ("anon_x4B2q", "anon_4711") and handin.lateness == ("late" if "LATE" in name else "")
    assert "is not in the roster: decide by hand" in problems([handin], notes)[0]


# --- nothing is left out without a word


def test_a_file_that_no_system_names_so_is_a_problem_and_the_systems_own_are_none(tmp_path, export, course):
    handins, notes = read_bulk(export({**golden.BRIGHTSPACE, "FCN/readme.txt": "x"}), tmp_path / "out", course())
    assert problems(handins, notes) == ["1 files were left out: FCN/readme.txt"]


@pytest.mark.parametrize(("decisions", "reason"), [
    ("handin,who\nx,ada\n", "expected the header handin,student; student is not in it"),
    ("handin,student\nteam_7,nobody\n", "line 2: expected the id or full name .*, or - for nobody; found 'nobody': nobody of the roster"),
    ("handin,student\nteam_7,-\nteam_7,ada\n", "line 3: 'team_7' is decided twice"),
])  # fmt: skip
def test_a_decision_that_cannot_hold_is_named_with_its_line(course, decisions, reason):
    with pytest.raises(BulkError, match=reason):
        course(decisions=decisions)


def test_two_files_that_decide_otherwise_are_named(tmp_path, course):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "decisions.csv").write_text("handin,student\nteam_7,ada\n")
    course(decisions="handin,student\nteam_7,ada\n", places=[tmp_path / "out"])
    with pytest.raises(BulkError, match=r"out/decisions.csv decides otherwise of 'team_7' than .*Delete one of the two lines"):
        course(decisions="handin,student\nteam_7,chiara\n", places=[tmp_path / "out"])


def test_what_a_student_typed_into_a_receipt_is_no_path_and_no_other_student(tmp_path, export, course):
    name = f"FCN_m_{golden.WHEN}_1_data.ipynb"
    text = golden.receipt("Åse Ng", "m", "../../ada/1_data.ipynb", name)
    (handin,), notes = read_bulk(export({f"FCN_m_{golden.WHEN}.txt": text, name: "x"}), tmp_path / "out", course())
    assert (handin.name, content(handin.path)) == ("m", {"1_data.ipynb": "x"}) and problems([handin], notes) == []
