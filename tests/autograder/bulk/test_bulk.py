"""Bulk downloads: every system's names, the newest submission of each student, and lateness."""

import csv
import tarfile

import pytest
from downloads import METADATA, by_name, content, inner_zip

from autograder.handins.bulk import read_bulk, write_handins
from autograder.handins.bulk.known import Known, know
from autograder.handins.bulk.receipts import gradescope_facts
from autograder.handins.bulk.unpacking import Problem
from autograder.handins.roster import RosterError, read_roster

# --- the four systems


def test_canvas_names_are_taken_apart_and_joined_with_the_roster(tmp_path, export, roster):
    archive = export(
        {
            "lovelaceada_4711_90001_1_data.ipynb": "a1",
            "lovelaceada_4711_90002_2_fcn32s-3.ipynb": "a2",
            "mullerbjorn_LATE_4712_90003_1_data.ipynb": "b1",
        }
    )
    handins, notes = read_bulk(archive, tmp_path / "out", know(roster))
    found = by_name(handins)
    assert list(found) == ["ada", "bjoern"]
    assert content(found["ada"].path) == {"1_data.ipynb": "a1", "2_fcn32s.ipynb": "a2"}
    assert (found["ada"].lateness, found["bjoern"].lateness) == ("", "late")
    assert notes[0] == "a bulk download of Canvas"
    assert "1 of the roster handed in nothing: chiara" in notes


def test_canvas_names_are_found_by_name_where_the_roster_has_no_canvas_id(tmp_path, export):
    path = tmp_path / "plain.csv"
    path.write_text("first_name;last_name;student_id\nBjörn;Müller;s7\n", encoding="cp1252")
    handins, _ = read_bulk(export({"mullerbjorn_99_1_x.ipynb": "b"}), tmp_path / "out", know(path))
    assert [handin.name for handin in handins] == ["s7"]


def test_of_several_canvas_uploads_the_newest_counts_and_the_others_are_listed(tmp_path, export):
    one = inner_zip(tmp_path / "1.zip", {"1_data.ipynb": "old"})
    two = inner_zip(tmp_path / "2.zip", {"1_data.ipynb": "new"})
    archive = export({"doejane_7_200_submission-1.zip": two, "doejane_7_100_submission.zip": one})
    (handin,), _ = read_bulk(archive, tmp_path / "out", Known())
    assert handin.path.name == "doejane_7.zip"
    assert content(handin.path) == {"1_data.ipynb": "new"}
    assert handin.notes == ("older file, not graded: doejane_7_100_submission.zip",)


def test_of_two_differently_named_zips_the_newest_counts(tmp_path, export):
    one = inner_zip(tmp_path / "1.zip", {"1_data.ipynb": "old"})
    two = inner_zip(tmp_path / "2.zip", {"1_data.ipynb": "new"})
    (handin,), _ = read_bulk(export({"doejane_7_100_b.zip": one, "doejane_7_200_a.zip": two}), tmp_path / "out", Known())
    assert content(handin.path) == {"1_data.ipynb": "new"}
    assert "doejane_7_100_b.zip" in handin.notes[0]


def test_a_zip_and_a_checkpoint_beside_it_become_one_hand_in(tmp_path, export):
    work = inner_zip(tmp_path / "work.zip", {"fcn/1_data.ipynb": "x"})
    archive = export({"doejane_7_1_work.zip": work, "doejane_7_2_fcn32s.safetensors": "w"})
    (handin,), _ = read_bulk(archive, tmp_path / "out", Known())
    assert content(handin.path) == {"fcn/1_data.ipynb": "x", "fcn32s.safetensors": "w"}


def test_an_archive_of_another_kind_is_handed_on_or_unpacked_as_a_zip_is(tmp_path, export):
    packed_file = tmp_path / "1_data.ipynb"
    packed_file.write_text("x")
    with tarfile.open(tmp_path / "work.tar.gz", "w:gz") as bundle:
        bundle.add(packed_file, "fcn/1_data.ipynb")
    packed = (tmp_path / "work.tar.gz").read_bytes()
    archive = export({"doejane_7_1_work.tar.gz": packed, "doejane_7_2_fcn32s.safetensors": "w", "roe_8_3_work.tar.gz": packed})
    both, alone = (handin.path for handin in read_bulk(archive, tmp_path / "out", Known())[0])
    assert content(both) == {"fcn/1_data.ipynb": "x", "fcn32s.safetensors": "w"} and alone.read_bytes() == packed


@pytest.mark.parametrize(
    "folder",
    ["Ada Lovelace_123_assignsubmission_file_/", "Ada Lovelace_123_assignsubmission_file/", "Ada Lovelace_123_assignsubmission_file_"],
)
def test_moodle_with_and_without_folders(tmp_path, export, roster, folder):
    """What was typed into Moodle's page is handed in beside the files: it may be all that there is."""
    archive = export({f"{folder}1_data.ipynb": "a", "Ada Lovelace_123_assignsubmission_onlinetext_/onlinetext.html": "hi"})
    (handin,), _ = read_bulk(archive, tmp_path / "out", know(roster))
    assert (handin.name, content(handin.path)) == ("ada", {"1_data.ipynb": "a", "onlinetext.html": "hi"})


def test_moodle_submission_numbers_are_not_taken_for_student_ids(tmp_path, export, roster):
    """4712 is Björn's id in the roster, and here by chance the number of Ada's submission."""
    (handin,), _ = read_bulk(export({"Ada Lovelace_4712_assignsubmission_file_/x.ipynb": "a"}), tmp_path / "out", know(roster))
    assert handin.name == "ada"


def test_gradescope_metadata_says_who_and_when(tmp_path, export, roster):
    archive = export(
        {
            "assignment_9_export/submission_metadata.yml": METADATA,
            "assignment_9_export/submission_31/sub/1_data-2.ipynb": "group",
            "assignment_9_export/submission_32/1_data.ipynb": "b",
        }
    )
    handins, _ = read_bulk(archive, tmp_path / "out", know(roster, due="2026-03-15T00:00"))
    found = by_name(handins)
    assert list(found) == ["ada", "bjoern", "chiara"]
    assert content(found["ada"].path) == content(found["chiara"].path) == {"sub/1_data-2.ipynb": "group"}
    assert found["ada"].submitted == "2026-03-14T20:00:00+00:00"
    assert (found["ada"].lateness, found["bjoern"].lateness) == ("", "1 d 1 h")
    assert found["ada"].notes == ("handed in together with Chiara O'Neill",)


def test_gradescope_without_its_metadata_keeps_the_submissions_apart(tmp_path, export):
    handins, _ = read_bulk(export({"submission_1/a.ipynb": "1", "submission_2/a.ipynb": "2"}), tmp_path / "out", Known())
    assert [handin.name for handin in handins] == ["submission_1", "submission_2"]


def test_a_students_own_metadata_file_is_not_believed(tmp_path, export):
    archive = export({"submission_1/submission_metadata.yml": METADATA.replace("31", "1"), "submission_1/a.ipynb": "1"})
    handins, _ = read_bulk(archive, tmp_path / "out", Known())
    assert [handin.name for handin in handins] == ["submission_1"]


def test_nbgraders_exchange_the_newest_counts_whatever_the_order(tmp_path, export, roster):
    archive = export(
        {
            "inbound/ada+fcn+2026-03-14 22:10:05.123456 UTC+cmFuZA==/1_data.ipynb": "new",
            "inbound/ada+fcn+2026-03-14 22:10:05.123456 UTC+cmFuZA==/timestamp.txt": "2026-03-14 22:10:05.123456 UTC",
            "inbound/ada+fcn+2026-03-13 09:00:00.000000 UTC+eHl6/1_data.ipynb": ("old", (2026, 3, 20, 0, 0, 0)),
            "inbound/ada+unet+2026-05-01 00:00:00.000000 UTC/1_data.ipynb": "another assignment",
        }
    )
    (handin,), notes = read_bulk(archive, tmp_path / "out", know(roster, due="2026-03-14T22:00+00:00"))
    assert content(handin.path)["1_data.ipynb"] == "new"
    assert handin.lateness == "10 min"
    assert "newest of 2 submissions; not graded: ada+fcn+2026-03-13 09:00:00.000000 UTC+eHl6" in handin.notes
    assert any("unet" in note for note in notes)


def test_nbgraders_submitted_folder_with_its_timestamp(tmp_path, export):
    archive = export({"course/submitted/ada/fcn/1_data.ipynb": "x", "course/submitted/ada/fcn/timestamp.txt": "2026-03-14 22:10:05 UTC\n"})
    (handin,), _ = read_bulk(archive, tmp_path / "out", Known())
    assert (handin.name, handin.submitted) == ("ada", "2026-03-14T22:10:05+00:00")


def test_a_students_own_timestamp_is_not_believed(tmp_path, export):
    archive = export({"doe_LATE_1_2_1_data.ipynb": "x", "doe_LATE_1_3_timestamp.txt": "2026-03-01 00:00:00 UTC"})
    (handin,), _ = read_bulk(archive, tmp_path / "out", know(None, due="2026-03-14"))
    assert (handin.submitted, handin.lateness) == ("", "late")


# --- who is who


def test_two_students_of_one_name_are_never_mixed_up(tmp_path, export):
    path = tmp_path / "twins.csv"
    path.write_text("student_id,first_name,last_name\ns1,Wei,Li\ns2,Li,Wei\n")
    archive = export({"Wei Li_1_assignsubmission_file_/a.ipynb": "1", "Wei Li_2_assignsubmission_file_/a.ipynb": "2"})
    handins, _ = read_bulk(archive, tmp_path / "out", know(path))
    assert [handin.name for handin in handins] == ["Wei_Li_1", "Wei_Li_2"]
    assert "fits 2 students of the roster (s1 (Wei Li), s2 (Li Wei)): decide by hand" in handins[0].notes[0]


def test_somebody_who_is_not_in_the_roster_is_graded_and_named(tmp_path, export, roster):
    (handin,), _ = read_bulk(export({"doejane_7_1_x.ipynb": "x"}), tmp_path / "out", know(roster))
    assert handin.name == "doejane_7"
    (note,) = handin.notes
    assert isinstance(note, Problem) and "'doejane_7' is not in the roster: decide by hand. Write doejane_7,ID into " in note


def test_names_of_folders_are_harmless(tmp_path, export):
    handins, _ = read_bulk(
        export({"..~$(x) ;y_7_assignsubmission_file_/a.ipynb": "x", "李小龙_8_assignsubmission_file_/a.ipynb": "y"}),
        tmp_path / "out",
        Known(),
    )
    assert [handin.name for handin in handins] == ["x_y_7", "李小龙_8"]
    assert {handin.path.parent for handin in handins} == {tmp_path / "out"}


def test_a_roster_without_a_usable_header_says_what_is_expected(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_text("colour,size\nred,3\n")
    with pytest.raises(RosterError, match="expected a header with student_id, name .* found 'colour,size'"):
        read_roster(path)


def test_a_student_twice_in_the_roster_is_an_error(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_text("student_id,email\na,x@y\na,z@y\n")
    with pytest.raises(RosterError, match="each student once, found a more than once"):
        read_roster(path)


# --- small parts


def test_ruby_types_and_histories_do_not_disturb_the_metadata():
    facts = gradescope_facts(METADATA)
    assert list(facts) == ["submission_31", "submission_32"]
    assert facts["submission_31"].time == "2026-03-14 20:00:00.123456 Z"
    assert [dict(person) for person in facts["submission_32"].people] == [{"name": "Bjorn Muller", "sid": "4712", "email": ""}]


def test_lateness_is_a_column_and_no_cell_is_a_formula(tmp_path, export):
    archive = export({"=cmd(1)_LATE_4_5_x.ipynb": "x"})
    handins, _ = read_bulk(archive, tmp_path / "out", Known())
    with write_handins(handins, tmp_path / "handins.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["name", "submitted", "due", "lateness", "penalty", "file", "notes"]
    assert (tmp_path / "handins.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "else a spreadsheet takes ü for Ã¼"
    assert row["lateness"] == "late"
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


def test_reading_twice_leaves_nothing_of_the_first_time(tmp_path, export):
    read_bulk(export({"doe_1_1_old.ipynb": "x", "doe_1_2_more.ipynb": "y"}), tmp_path / "out", Known())
    (handin,), _ = read_bulk(export({"doe_1_3_new.ipynb": "z"}), tmp_path / "out", Known())
    assert content(handin.path) == {"new.ipynb": "z"}
