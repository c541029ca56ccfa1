"""Bulk downloads that are refused, and what a student's own damage costs: that file, and nobody else's."""

import errno
import os
import re
import stat
import zipfile

import pytest
from downloads import METADATA, by_name, content, inner_zip, member_of_kind

from autograder.handins.bulk import BulkError, read_bulk
from autograder.handins.bulk.handins import looks_like_bulk
from autograder.handins.bulk.known import Known, know
from autograder.handins.bulk.systems import SYSTEMS
from autograder.handins.bulk.unpacking import Problem, safe_members


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
        read_bulk(archive, tmp_path / "out", Known())
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("**/evil*"))


def test_a_link_costs_its_student_that_file_only(tmp_path):
    """To download the export again would not help: the link lies in what the student handed in."""
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as bundle:
        bundle.writestr(member_of_kind("doe_1_1_x.ipynb"), "/etc/passwd")
        bundle.writestr("doe_1_2_y.ipynb", "y")
        bundle.writestr("roe_2_3_x.ipynb", "x")
        bundle.writestr(member_of_kind("only_3_4_x.ipynb"), "/etc/passwd")
        bundle.writestr(member_of_kind("pipe_4_5_x.ipynb", stat.S_IFIFO), "")
    handins, _ = read_bulk(tmp_path / "links.zip", tmp_path / "out", Known())
    assert {handin.name: content(handin.path) for handin in handins} == {
        "doe_1": {"y.ipynb": "y"}, "only_3": {}, "pipe_4": {}, "roe_2": {"x.ipynb": "x"},
    }  # fmt: skip
    notes = {handin.name: handin.notes for handin in handins}
    assert notes["doe_1"] == ("left out: 'doe_1_1_x.ipynb' is a link or no regular file",)
    assert notes["only_3"] == ("left out: 'only_3_4_x.ipynb' is a link or no regular file",)
    assert notes["pipe_4"] and notes["roe_2"] == ()
    assert all(isinstance(note, Problem) for told in notes.values() for note in told), "the exit status says it too"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]


def test_many_links_of_one_student_are_counted_not_listed(tmp_path):
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as bundle:
        bundle.writestr("roe_2_3_x.ipynb", "x")
        for number in range(50):
            bundle.writestr(member_of_kind(f"submission_1/{number}.ipynb"), "/etc/passwd")
        bundle.writestr("submission_1/work.py", "x")
    handins, _ = read_bulk(tmp_path / "links.zip", tmp_path / "out", Known())
    (handin,) = [handin for handin in handins if handin.name == "submission_1"]
    assert len(handin.notes) == 11 and handin.notes[-1] == "40 more files were left out"


def test_a_link_in_the_place_of_what_the_system_says_is_not_followed(tmp_path):
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as bundle:
        bundle.writestr(member_of_kind("submission_metadata.yml"), METADATA)
        bundle.writestr("submission_31/x.ipynb", "x")
        bundle.writestr("submission_32/x.ipynb", "x")
    handins, notes = read_bulk(tmp_path / "links.zip", tmp_path / "out", Known())
    assert [handin.name for handin in handins] == ["submission_31", "submission_32"]
    assert any("submission_metadata.yml" in note and "is a link" in note for note in notes)


def test_a_zip_of_links_alone_is_no_bulk_download(tmp_path):
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as bundle:
        bundle.writestr(member_of_kind("doe_1_2_x.ipynb"), "/etc/passwd")
    with pytest.raises(BulkError, match="nothing in it can be used: 'doe_1_2_x.ipynb' is a link or no regular file"):
        read_bulk(tmp_path / "links.zip", tmp_path / "out", Known())


def test_an_encrypted_zip_is_refused_with_the_reason(tmp_path, export):
    archive = export({"doe_1_1_x.ipynb": "x", "roe_2_2_x.ipynb": "y"})
    data = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(data)):
            data[found.start() + place] |= 1
    archive.write_bytes(data)
    with pytest.raises(BulkError, match="nothing in it can be used: 'doe_1_1_x.ipynb' is encrypted"):
        read_bulk(archive, tmp_path / "out", Known())


def test_a_bomb_is_refused_by_its_directory_alone(tmp_path, export):
    archive = export({"doe_1_2_x.ipynb": "x"})
    with zipfile.ZipFile(archive) as bundle:
        bundle.infolist()[0].file_size = 2**31  # what a bomb's directory says
        with pytest.raises(BulkError, match="looks like a zip bomb"):
            safe_members(bundle, archive)


def test_a_broken_zip_and_a_foreign_zip_say_what_to_do(tmp_path, export):
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(BulkError, match="it is cut off: .* ends after 11 bytes without the list of its files. Download it again"):
        read_bulk(tmp_path / "broken.zip", tmp_path / "out", Known())
    (tmp_path / "page.zip").write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(BulkError, match="it is a web page, no zip. Download it again"):
        read_bulk(tmp_path / "page.zip", tmp_path / "out", Known())
    whole = export({f"doe_{number}_1_x.ipynb": str(number) for number in range(9)}).read_bytes()
    for length in range(20, len(whole), 97):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        with pytest.raises(BulkError, match="it is cut off"):
            read_bulk(tmp_path / "cut.zip", tmp_path / "out", Known())
    with pytest.raises(BulkError, match="expected a bulk download of nbgrader's exchange.*holds 'holiday.jpg'.*give the folders"):
        read_bulk(export({"holiday.jpg": "x"}), tmp_path / "out", Known())


def test_one_students_evil_zip_costs_that_zip_only(tmp_path, export):
    evil = inner_zip(tmp_path / "evil.zip", {"../../../evil.txt": "x"})
    archive = export({"doe_1_1_work.zip": evil, "doe_1_2_1_data.ipynb": "x", "roe_2_3_1_data.ipynb": "y"})
    handins, _ = read_bulk(archive, tmp_path / "out", Known())
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
    handins, _ = read_bulk(archive, tmp_path / "out", Known())
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
        read_bulk(archive, tmp_path / "out", Known())


def test_a_directory_that_holds_no_text_is_a_damaged_export(tmp_path, export):
    archive = export({"doe_1_1_ä.ipynb": "x"})
    archive.write_bytes(archive.read_bytes().replace("ä".encode(), b"\xff\xff"))
    with pytest.raises(BulkError, match="cannot be unpacked .*Download it again"):
        read_bulk(archive, tmp_path / "out", Known())


def test_a_name_that_no_file_can_have_costs_its_student_that_file_only(tmp_path, export):
    long = "x" * 300
    archive = export({
        "submission_1/a": "file", "submission_1/a/b.ipynb": "below a file", f"submission_1/{long}.ipynb": "long",
        "submission_1/ok.ipynb": "o", "submission_2/a/b.ipynb": "below", "submission_2/a": "a folder", "submission_3/c.ipynb": "c",
    })  # fmt: skip
    handins, _ = read_bulk(archive, tmp_path / "out", Known())
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
    (handin,), _ = read_bulk(archive, tmp_path / "out", Known())
    assert content(handin.path) == {"1_data.ipynb": "x", "2_fcn.ipynb": "y"}
    assert handin.notes[0] == "left out: 'link.ipynb' in work.zip is a link or lies outside of the folder"
    assert "xxx" in handin.notes[1] and "in work.zip has a name that no file can have" in handin.notes[1] and len(handin.notes) == 2


def test_a_full_disk_is_no_students_fault_and_nothing_to_download_again(tmp_path, export, monkeypatch):
    archive = export({"doe_1_1_a.ipynb": "x", "roe_2_2_a.ipynb": "x"})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("autograder.handins.bulk.unpacking.shutil.copyfileobj", full)
    with pytest.raises(BulkError, match="No space left.*Free some space") as caught:
        read_bulk(archive, tmp_path / "out", Known())
    assert "Download" not in str(caught.value)


def test_a_due_date_that_is_none_is_named(tmp_path, export):
    with pytest.raises(BulkError, match="The due date: expected a time such as 2026-03-14T23:59.*found 'tomorrow'"):
        read_bulk(export({"doe_1_2_x.ipynb": "x"}), tmp_path / "out", know(None, due="tomorrow"))


# --- a student's own folders say nothing of who they are


OTHERS = {
    "moodle": ("Ada Lovelace_1_assignsubmission_file_/", "Mallory Low_2_assignsubmission_file_/"),
    "exchange": ("inbound/ada+fcn+2026-03-14/", "inbound/mallory+fcn+2026-03-14/"),
    "submitted": ("submitted/ada/fcn/", "submitted/mallory/fcn/"),
    "gradescope": ("submission_31/", "submission_32/"),
}


@pytest.mark.parametrize("system", OTHERS)
def test_a_folder_named_like_another_student_s_stays_its_own_student_s(tmp_path, export, system):
    ada, mallory = OTHERS[system]
    archive = export({f"{ada}1_data.ipynb": "hers", f"{mallory}1_data.ipynb": "his", f"{mallory}{ada}1_data.ipynb": "not hers"})
    handins, _ = read_bulk(archive, tmp_path / "out", Known())
    hers, his = sorted((content(handin.path) for handin in handins), key=len)
    assert hers == {"1_data.ipynb": "hers"}
    assert his == {"1_data.ipynb": "his", f"{ada}1_data.ipynb": "not hers"}


def test_a_student_s_many_files_named_as_another_system_has_them_do_not_choose_the_system(tmp_path, export):
    many = {f"Mallory Low_2_assignsubmission_file_/x+fcn+2026-03-14/{number}.py": "" for number in range(9)}
    archive = export({"Ada Lovelace_1_assignsubmission_file_/1_data.ipynb": "hers", **many})
    handins, notes = read_bulk(archive, tmp_path / "out", Known())
    assert notes == ["a bulk download of Moodle"]
    assert [handin.name for handin in handins] == ["Ada_Lovelace_1", "Mallory_Low_2"]


@pytest.mark.parametrize("name", ["{}_1_assignsubmission_file_/x.ipynb", "{}_4711_90210_x.ipynb", "submitted/{}/fcn/x.ipynb"])
def test_a_name_without_end_is_no_system_s_and_is_not_looked_at_for_hours(export, monkeypatch, name):
    """A zip may hold names of 65 000 characters, and a pattern takes the square of that."""
    asked = []
    for system in SYSTEMS:
        monkeypatch.setitem(system.__dict__, "read", lambda path, read=system.read: asked.append(path) or read(path))
    assert looks_like_bulk(export({name.format("a" * 400): "x"}), least=1) and asked
    asked.clear()
    assert looks_like_bulk(export({name.format("_" * 60_000): "x"}), least=1) == "" and asked == []
