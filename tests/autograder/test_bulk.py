"""Bulk downloads: every system's names, the newest submission of each student, lateness, and zips that must be refused."""

import csv
import errno
import os
import re
import stat
import tarfile
import zipfile

import pytest

from autograder.handins.bulk import BulkError, read_bulk, write_handins
from autograder.handins.bulk.systems import gradescope_facts, moment
from autograder.handins.bulk.unpacking import safe_members
from autograder.handins.roster import RosterError, read_roster

ROSTER = """Student,ID,SIS Login ID,Email
"Lovelace, Ada",4711,ada,ada@example.org
"Müller, Björn",4712,bjoern,bjoern@example.org
"O'Neill, Chiara",4713,chiara,chiara@example.org
    Points Possible,,,
"""


@pytest.fixture
def roster(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_text(ROSTER, encoding="utf-8-sig")
    return path


@pytest.fixture
def export(tmp_path):
    """Write a zip: name -> text, or (text, date_time)."""

    def make(files, name="export.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as bundle:
            for member, content in files.items():
                text, date = content if isinstance(content, tuple) else (content, (2026, 3, 14, 12, 0, 0))
                bundle.writestr(zipfile.ZipInfo(member, date), text)
        return tmp_path / name

    return make


def inner_zip(path, files):
    with zipfile.ZipFile(path, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    return path.read_bytes()


def by_name(handins):
    return {handin.name: handin for handin in handins}


def content(path):
    """Files of a hand-in, whether folder or zip."""
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*") if file.is_file()}
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name).decode() for name in bundle.namelist()}


# --- the four systems


def test_canvas_names_are_taken_apart_and_joined_with_the_roster(tmp_path, export, roster):
    archive = export({
        "lovelaceada_4711_90001_1_data.ipynb": "a1",
        "lovelaceada_4711_90002_2_fcn32s-3.ipynb": "a2",
        "mullerbjorn_LATE_4712_90003_1_data.ipynb": "b1",
    })
    handins, notes = read_bulk(archive, tmp_path / "out", roster)
    found = by_name(handins)
    assert list(found) == ["ada", "bjoern"]
    assert content(found["ada"].path) == {"1_data.ipynb": "a1", "2_fcn32s.ipynb": "a2"}
    assert (found["ada"].lateness, found["bjoern"].lateness) == ("", "late")
    assert notes[0] == "a bulk download of Canvas"
    assert "1 of the roster handed in nothing: chiara" in notes


def test_canvas_names_are_found_by_name_where_the_roster_has_no_canvas_id(tmp_path, export):
    path = tmp_path / "plain.csv"
    path.write_text("first_name;last_name;student_id\nBjörn;Müller;s7\n", encoding="cp1252")
    handins, _ = read_bulk(export({"mullerbjorn_99_1_x.ipynb": "b"}), tmp_path / "out", path)
    assert [handin.name for handin in handins] == ["s7"]


def test_of_several_canvas_uploads_the_newest_counts_and_the_others_are_listed(tmp_path, export):
    one = inner_zip(tmp_path / "1.zip", {"1_data.ipynb": "old"})
    two = inner_zip(tmp_path / "2.zip", {"1_data.ipynb": "new"})
    archive = export({"doejane_7_200_submission-1.zip": two, "doejane_7_100_submission.zip": one})
    (handin,), _ = read_bulk(archive, tmp_path / "out")
    assert handin.path.name == "doejane_7.zip"
    assert content(handin.path) == {"1_data.ipynb": "new"}
    assert handin.notes == ("older file, not graded: doejane_7_100_submission.zip",)


def test_of_two_differently_named_zips_the_newest_counts(tmp_path, export):
    one = inner_zip(tmp_path / "1.zip", {"1_data.ipynb": "old"})
    two = inner_zip(tmp_path / "2.zip", {"1_data.ipynb": "new"})
    (handin,), _ = read_bulk(export({"doejane_7_100_b.zip": one, "doejane_7_200_a.zip": two}), tmp_path / "out")
    assert content(handin.path) == {"1_data.ipynb": "new"}
    assert "doejane_7_100_b.zip" in handin.notes[0]


def test_a_zip_and_a_checkpoint_beside_it_become_one_hand_in(tmp_path, export):
    work = inner_zip(tmp_path / "work.zip", {"fcn/1_data.ipynb": "x"})
    archive = export({"doejane_7_1_work.zip": work, "doejane_7_2_fcn32s.safetensors": "w"})
    (handin,), _ = read_bulk(archive, tmp_path / "out")
    assert content(handin.path) == {"fcn/1_data.ipynb": "x", "fcn32s.safetensors": "w"}


def test_an_archive_of_another_kind_is_handed_on_or_unpacked_as_a_zip_is(tmp_path, export):
    packed_file = tmp_path / "1_data.ipynb"
    packed_file.write_text("x")
    with tarfile.open(tmp_path / "work.tar.gz", "w:gz") as bundle:
        bundle.add(packed_file, "fcn/1_data.ipynb")
    packed = (tmp_path / "work.tar.gz").read_bytes()
    archive = export({"doejane_7_1_work.tar.gz": packed, "doejane_7_2_fcn32s.safetensors": "w", "roe_8_3_work.tar.gz": packed})
    both, alone = (handin.path for handin in read_bulk(archive, tmp_path / "out")[0])
    assert content(both) == {"fcn/1_data.ipynb": "x", "fcn32s.safetensors": "w"} and alone.read_bytes() == packed


@pytest.mark.parametrize("folder", ["Ada Lovelace_123_assignsubmission_file_/", "Ada Lovelace_123_assignsubmission_file/",
                                    "Ada Lovelace_123_assignsubmission_file_"])
def test_moodle_with_and_without_folders(tmp_path, export, roster, folder):
    archive = export({f"{folder}1_data.ipynb": "a", "Ada Lovelace_123_assignsubmission_onlinetext_/onlinetext.html": "hi"})
    (handin,), notes = read_bulk(archive, tmp_path / "out", roster)
    assert (handin.name, content(handin.path)) == ("ada", {"1_data.ipynb": "a"})
    assert any("onlinetext.html" in note for note in notes)


def test_moodle_submission_numbers_are_not_taken_for_student_ids(tmp_path, export, roster):
    """4712 is Björn's id in the roster, and here by chance the number of Ada's submission."""
    (handin,), _ = read_bulk(export({"Ada Lovelace_4712_assignsubmission_file_/x.ipynb": "a"}), tmp_path / "out", roster)
    assert handin.name == "ada"


METADATA = """submission_31:
  :submitters:
  - :name: Ada Lovelace
    :sid: '4711'
    :email: ada@example.org
  - :name: 'Chiara O''Neill'
    :sid:
    :email: chiara@example.org
  :created_at: 2026-03-14 20:00:00.123456 Z
  :score: 3.0
  :results:
    tests:
    - name: ":submitters:"
  :history:
  - :id: 30
    :created_at: 2026-03-01 00:00:00 Z
submission_32:
  :submitters:
  - :name: Bjorn Muller
    :sid: '4712'
    :email:
  :created_at: !ruby/object:ActiveSupport::TimeWithZone
    utc: &1 2026-03-16 01:30:00.000000000 Z
    zone: !ruby/object:ActiveSupport::TimeZone
      name: Etc/UTC
"""


def test_gradescope_metadata_says_who_and_when(tmp_path, export, roster):
    archive = export({
        "assignment_9_export/submission_metadata.yml": METADATA,
        "assignment_9_export/submission_31/sub/1_data-2.ipynb": "group",
        "assignment_9_export/submission_32/1_data.ipynb": "b",
    })
    handins, _ = read_bulk(archive, tmp_path / "out", roster, due="2026-03-15T00:00")
    found = by_name(handins)
    assert list(found) == ["ada", "bjoern", "chiara"]
    assert content(found["ada"].path) == content(found["chiara"].path) == {"sub/1_data-2.ipynb": "group"}
    assert found["ada"].submitted == "2026-03-14T20:00:00+00:00"
    assert (found["ada"].lateness, found["bjoern"].lateness) == ("", "1 d 1 h")
    assert found["ada"].notes == ("handed in together with Chiara O'Neill",)


def test_gradescope_without_its_metadata_keeps_the_submissions_apart(tmp_path, export):
    handins, _ = read_bulk(export({"submission_1/a.ipynb": "1", "submission_2/a.ipynb": "2"}), tmp_path / "out")
    assert [handin.name for handin in handins] == ["submission_1", "submission_2"]


def test_a_students_own_metadata_file_is_not_believed(tmp_path, export):
    archive = export({"submission_1/submission_metadata.yml": METADATA.replace("31", "1"), "submission_1/a.ipynb": "1"})
    handins, _ = read_bulk(archive, tmp_path / "out")
    assert [handin.name for handin in handins] == ["submission_1"]


def test_nbgraders_exchange_the_newest_counts_whatever_the_order(tmp_path, export, roster):
    archive = export({
        "inbound/ada+fcn+2026-03-14 22:10:05.123456 UTC+cmFuZA==/1_data.ipynb": "new",
        "inbound/ada+fcn+2026-03-14 22:10:05.123456 UTC+cmFuZA==/timestamp.txt": "2026-03-14 22:10:05.123456 UTC",
        "inbound/ada+fcn+2026-03-13 09:00:00.000000 UTC+eHl6/1_data.ipynb": ("old", (2026, 3, 20, 0, 0, 0)),
        "inbound/ada+unet+2026-05-01 00:00:00.000000 UTC/1_data.ipynb": "another assignment",
    })
    (handin,), notes = read_bulk(archive, tmp_path / "out", roster, due="2026-03-14T22:00+00:00")
    assert content(handin.path)["1_data.ipynb"] == "new"
    assert handin.lateness == "10 min"
    assert "newest of 2 submissions; not graded: ada+fcn+2026-03-13 09:00:00.000000 UTC+eHl6" in handin.notes
    assert any("unet" in note for note in notes)


def test_nbgraders_submitted_folder_with_its_timestamp(tmp_path, export):
    archive = export({"course/submitted/ada/fcn/1_data.ipynb": "x", "course/submitted/ada/fcn/timestamp.txt": "2026-03-14 22:10:05 UTC\n"})
    (handin,), _ = read_bulk(archive, tmp_path / "out")
    assert (handin.name, handin.submitted) == ("ada", "2026-03-14T22:10:05+00:00")


def test_a_students_own_timestamp_is_not_believed(tmp_path, export):
    archive = export({"doe_LATE_1_2_1_data.ipynb": "x", "doe_LATE_1_3_timestamp.txt": "2026-03-01 00:00:00 UTC"})
    (handin,), _ = read_bulk(archive, tmp_path / "out", due="2026-03-14")
    assert (handin.submitted, handin.lateness) == ("", "late")


# --- who is who


def test_two_students_of_one_name_are_never_mixed_up(tmp_path, export):
    path = tmp_path / "twins.csv"
    path.write_text("student_id,first_name,last_name\ns1,Wei,Li\ns2,Li,Wei\n")
    archive = export({"Wei Li_1_assignsubmission_file_/a.ipynb": "1", "Wei Li_2_assignsubmission_file_/a.ipynb": "2"})
    handins, _ = read_bulk(archive, tmp_path / "out", path)
    assert [handin.name for handin in handins] == ["Wei_Li_1", "Wei_Li_2"]
    assert "fits 2 students of the roster (s1, s2)" in handins[0].notes[0]


def test_somebody_who_is_not_in_the_roster_is_graded_and_named(tmp_path, export, roster):
    (handin,), _ = read_bulk(export({"doejane_7_1_x.ipynb": "x"}), tmp_path / "out", roster)
    assert (handin.name, handin.notes) == ("doejane_7", ("'doejane' is not in the roster",))


def test_names_of_folders_are_harmless(tmp_path, export):
    handins, _ = read_bulk(export({"..~$(x) ;y_7_assignsubmission_file_/a.ipynb": "x", "李小龙_8_assignsubmission_file_/a.ipynb": "y"}),
                           tmp_path / "out")
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


# --- what must be refused


@pytest.mark.parametrize(("name", "reason"), [
    ("doe_1_2_../../evil.ipynb", "lies outside"),
    ("../doe_1_2_x.ipynb", "lies outside"),
    ("..\\doe_1_2_x.ipynb", "lies outside"),
    ("/etc/doe_1_2_x.ipynb", "absolute"),
    ("C:\\doe_1_2_x.ipynb", "absolute"),
])  # fmt: skip
def test_paths_that_lead_elsewhere_refuse_the_zip_and_nothing_is_written(tmp_path, export, name, reason):
    archive = export({"doe_1_1_good.ipynb": "x", name: "x"})
    with pytest.raises(BulkError, match=reason):
        read_bulk(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("**/evil*"))


def member_of_kind(name, kind=stat.S_IFLNK):
    info = zipfile.ZipInfo(name, (2026, 3, 14, 12, 0, 0))
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


def test_a_link_costs_its_student_that_file_only(tmp_path):
    """To download the export again would not help: the link lies in what the student handed in."""
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as bundle:
        bundle.writestr(member_of_kind("doe_1_1_x.ipynb"), "/etc/passwd")
        bundle.writestr("doe_1_2_y.ipynb", "y")
        bundle.writestr("roe_2_3_x.ipynb", "x")
        bundle.writestr(member_of_kind("only_3_4_x.ipynb"), "/etc/passwd")
        bundle.writestr(member_of_kind("pipe_4_5_x.ipynb", stat.S_IFIFO), "")
    handins, _ = read_bulk(tmp_path / "links.zip", tmp_path / "out")
    assert {handin.name: content(handin.path) for handin in handins} == {
        "doe_1": {"y.ipynb": "y"}, "only_3": {}, "pipe_4": {}, "roe_2": {"x.ipynb": "x"},
    }  # fmt: skip
    notes = {handin.name: handin.notes for handin in handins}
    assert notes["doe_1"] == ("left out: 'doe_1_1_x.ipynb' is a link or no regular file",)
    assert notes["only_3"] == ("left out: 'only_3_4_x.ipynb' is a link or no regular file",)
    assert notes["pipe_4"] and notes["roe_2"] == ()
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]


def test_many_links_of_one_student_are_counted_not_listed(tmp_path):
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as bundle:
        bundle.writestr("roe_2_3_x.ipynb", "x")
        for number in range(50):
            bundle.writestr(member_of_kind(f"submission_1/{number}.ipynb"), "/etc/passwd")
        bundle.writestr("submission_1/work.py", "x")
    handins, _ = read_bulk(tmp_path / "links.zip", tmp_path / "out")
    (handin,) = [handin for handin in handins if handin.name == "submission_1"]
    assert len(handin.notes) == 11 and handin.notes[-1] == "40 more files were left out"


def test_a_link_in_the_place_of_what_the_system_says_is_not_followed(tmp_path):
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as bundle:
        bundle.writestr(member_of_kind("submission_metadata.yml"), METADATA)
        bundle.writestr("submission_31/x.ipynb", "x")
        bundle.writestr("submission_32/x.ipynb", "x")
    handins, notes = read_bulk(tmp_path / "links.zip", tmp_path / "out")
    assert [handin.name for handin in handins] == ["submission_31", "submission_32"]
    assert any("submission_metadata.yml" in note and "is a link" in note for note in notes)


def test_a_zip_of_links_alone_is_no_bulk_download(tmp_path):
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as bundle:
        bundle.writestr(member_of_kind("doe_1_2_x.ipynb"), "/etc/passwd")
    with pytest.raises(BulkError, match="nothing in it can be used: 'doe_1_2_x.ipynb' is a link or no regular file"):
        read_bulk(tmp_path / "links.zip", tmp_path / "out")


def test_an_encrypted_zip_is_refused_with_the_reason(tmp_path, export):
    archive = export({"doe_1_1_x.ipynb": "x", "roe_2_2_x.ipynb": "y"})
    data = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(data)):
            data[found.start() + place] |= 1
    archive.write_bytes(data)
    with pytest.raises(BulkError, match="nothing in it can be used: 'doe_1_1_x.ipynb' is encrypted"):
        read_bulk(archive, tmp_path / "out")


def test_a_bomb_is_refused_by_its_directory_alone(tmp_path, export):
    archive = export({"doe_1_2_x.ipynb": "x"})
    with zipfile.ZipFile(archive) as bundle:
        bundle.infolist()[0].file_size = 2**31  # what a bomb's directory says
        with pytest.raises(BulkError, match="looks like a zip bomb"):
            safe_members(bundle, archive)


def test_a_broken_zip_and_a_foreign_zip_say_what_to_do(tmp_path, export):
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(BulkError, match="cannot be unpacked .* Download it again"):
        read_bulk(tmp_path / "broken.zip", tmp_path / "out")
    with pytest.raises(BulkError, match="expected a bulk download of nbgrader's exchange.*holds 'holiday.jpg'.*give the folders"):
        read_bulk(export({"holiday.jpg": "x"}), tmp_path / "out")


def test_one_students_evil_zip_costs_that_zip_only(tmp_path, export):
    evil = inner_zip(tmp_path / "evil.zip", {"../../../evil.txt": "x"})
    archive = export({"doe_1_1_work.zip": evil, "doe_1_2_1_data.ipynb": "x", "roe_2_3_1_data.ipynb": "y"})
    handins, _ = read_bulk(archive, tmp_path / "out")
    assert content(handins[0].path) == {"1_data.ipynb": "x"}
    assert "work.zip was left out" in handins[0].notes[0] and "lies outside" in handins[0].notes[0]
    assert len(handins) == 2 and not list(tmp_path.glob("**/evil.txt"))


def damaged_zip(path, compression, names=("0_whole.ipynb", "1_data.ipynb")):
    """A zip whose directory is whole and whose data is not."""
    with zipfile.ZipFile(path, "w", compression) as bundle:
        bundle.writestr(names[0], "whole")
        bundle.writestr(names[1], "".join(map(str, range(3000))))
        info = bundle.infolist()[1]
    data = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename)
    data[start : start + info.compress_size] = b"\xff" * info.compress_size
    if compression == zipfile.ZIP_LZMA:
        data[start : start + 9] = b"\x09\x04\x05\x00\x5d\x00\x00\x80\x00"  # good properties, then bad data
    path.write_bytes(data)
    return path.read_bytes()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED])
def test_one_students_damaged_zip_costs_that_zip_only(tmp_path, export, compression):
    damaged = damaged_zip(tmp_path / "damaged.zip", compression)
    archive = export({"doe_1_1_work.zip": damaged, "doe_1_2_2_fcn.ipynb": "x", "roe_2_3_1_data.ipynb": "y", "poe_3_4_work.zip": damaged})
    handins, _ = read_bulk(archive, tmp_path / "out")
    found = by_name(handins)
    assert content(found["doe_1"].path) == {"2_fcn.ipynb": "x"} and content(found["roe_2"].path) == {"1_data.ipynb": "y"}
    assert "work.zip was left out: it is damaged" in found["doe_1"].notes[0]
    assert found["poe_3"].path.read_bytes() == damaged  # alone it is for whoever reads submissions
    assert not (tmp_path / "out" / "doe_1.zip").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_export_is_to_be_downloaded_again(tmp_path, compression):
    """It is not the student's fault: to grade an empty hand-in would be wrong."""
    archive = tmp_path / "export.zip"
    damaged_zip(archive, compression, ("doe_1_1_a.ipynb", "roe_2_2_a.ipynb"))
    with pytest.raises(BulkError, match="cannot be unpacked .*Download it again"):
        read_bulk(archive, tmp_path / "out")


def test_a_directory_that_holds_no_text_is_a_damaged_export(tmp_path, export):
    archive = export({"doe_1_1_ä.ipynb": "x"})
    archive.write_bytes(archive.read_bytes().replace("ä".encode(), b"\xff\xff"))
    with pytest.raises(BulkError, match="cannot be unpacked .*Download it again"):
        read_bulk(archive, tmp_path / "out")


def test_a_name_that_no_file_can_have_costs_its_student_that_file_only(tmp_path, export):
    long = "x" * 300
    archive = export({
        "submission_1/a": "file", "submission_1/a/b.ipynb": "below a file", f"submission_1/{long}.ipynb": "long",
        "submission_1/ok.ipynb": "o", "submission_2/a/b.ipynb": "below", "submission_2/a": "a folder", "submission_3/c.ipynb": "c",
    })  # fmt: skip
    handins, _ = read_bulk(archive, tmp_path / "out")
    assert {handin.name: content(handin.path) for handin in handins} == {
        "submission_1": {"a": "file", "ok.ipynb": "o"}, "submission_2": {"a/b.ipynb": "below"}, "submission_3": {"c.ipynb": "c"},
    }  # fmt: skip
    one, two, three = (handin.notes for handin in handins)
    assert len(one) == 2 and "'submission_1/a/b.ipynb' has a name that no file can have (" in one[0] and "xxx" in one[1]
    assert len(two) == 1 and "'submission_2/a'" in two[0]
    assert three == ()


def test_in_a_students_zip_beside_files_links_and_impossible_names_cost_those_files_only(tmp_path, export):
    with zipfile.ZipFile(tmp_path / "work.zip", "w") as bundle:
        bundle.writestr(member_of_kind("link.ipynb"), "/etc/passwd")
        bundle.writestr("x" * 300, "long")
        bundle.writestr("1_data.ipynb", "x")
    archive = export({"doe_1_1_work.zip": (tmp_path / "work.zip").read_bytes(), "doe_1_2_2_fcn.ipynb": "y"})
    (handin,), _ = read_bulk(archive, tmp_path / "out")
    assert content(handin.path) == {"1_data.ipynb": "x", "2_fcn.ipynb": "y"}
    assert handin.notes[0] == "left out: 'link.ipynb' in work.zip is a link or lies outside of the folder"
    assert "xxx" in handin.notes[1] and "in work.zip has a name that no file can have" in handin.notes[1] and len(handin.notes) == 2


def test_a_full_disk_is_no_students_fault_and_nothing_to_download_again(tmp_path, export, monkeypatch):
    archive = export({"doe_1_1_a.ipynb": "x", "roe_2_2_a.ipynb": "x"})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("autograder.handins.bulk.unpacking.shutil.copyfileobj", full)
    with pytest.raises(BulkError, match="No space left.*Free some space") as caught:
        read_bulk(archive, tmp_path / "out")
    assert "Download" not in str(caught.value)


def test_a_due_date_that_is_none_is_named(tmp_path, export):
    with pytest.raises(BulkError, match="Expected a due date such as 2026-03-14T23:59.*got 'tomorrow'"):
        read_bulk(export({"doe_1_2_x.ipynb": "x"}), tmp_path / "out", due="tomorrow")


# --- small parts


@pytest.mark.parametrize("text", ["2026-03-14 22:10:05 UTC", "2026-03-14T22:10:05Z", "2026-03-14 22_10_05 UTC",
                                  "2026-03-14-22-10-05", "2026-03-14 23:10:05 +0100", "2026-03-14 22:10:05"])
def test_times_are_read_however_systems_write_them(text):
    assert moment(text).isoformat() == "2026-03-14T22:10:05+00:00"


def test_ruby_types_and_histories_do_not_disturb_the_metadata():
    facts = gradescope_facts(METADATA)
    assert list(facts) == ["submission_31", "submission_32"]
    assert facts["submission_31"].time == "2026-03-14 20:00:00.123456 Z"
    assert [dict(person) for person in facts["submission_32"].people] == [{"name": "Bjorn Muller", "sid": "4712", "email": ""}]


def test_lateness_is_a_column_and_no_cell_is_a_formula(tmp_path, export):
    archive = export({"=cmd(1)_LATE_4_5_x.ipynb": "x"})
    handins, _ = read_bulk(archive, tmp_path / "out")
    with write_handins(handins, tmp_path / "handins.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["name", "submitted", "lateness", "file", "notes"]
    assert row["lateness"] == "late"
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


def test_reading_twice_leaves_nothing_of_the_first_time(tmp_path, export):
    read_bulk(export({"doe_1_1_old.ipynb": "x", "doe_1_2_more.ipynb": "y"}), tmp_path / "out")
    (handin,), _ = read_bulk(export({"doe_1_3_new.ipynb": "z"}), tmp_path / "out")
    assert content(handin.path) == {"new.ipynb": "z"}
