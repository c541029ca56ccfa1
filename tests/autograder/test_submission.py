"""Submissions are found and read, however they arrive; nothing of them is executed, and nothing lands outside."""

import hashlib
import json
import os
import stat
import time
import zipfile
from pathlib import Path

import pytest
from tiny import DOUBLE, NET, TINY, cell, notebook, weights, write_submission

from autograder.course.rubric import read_rubric
from autograder.handins import archives
from autograder.handins import checkpoints as submitted_checkpoints
from autograder.handins.submission import Submission, SubmissionError, file_sha256, read_submission
from segkit.checkpoint_files import FoundCheckpoint

RUBRIC = read_rubric(TINY / "rubric.toml")


def read(path: Path, checkpoints: Path | None = None) -> Submission:
    return read_submission(path, "alice", RUBRIC, checkpoints)


def zipped(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                bundle.write(path, f"{prefix}{path.relative_to(folder).as_posix()}")
    return archive


def has_both(found: Submission) -> bool:
    return found.workbook.find("double") is not None and found.workbook.find("DotNet") is not None


# --------------------------------------------------------------------------------------------------- folders and zips
def test_a_folder_is_read_without_any_note(tmp_path):
    found = read(write_submission(tmp_path, checkpoint=weights()))
    assert has_both(found) and found.notes == [] and set(found.checkpoints) == {"dots"}
    assert found.checkpoints["dots"].sha256 == hashlib.sha256((tmp_path / "checkpoints/dots.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("prefix", ["", "fcn/", "work of alice/fcn/", "a/b/c/"])
def test_a_zip_counts_like_its_folder_however_deep_it_wraps_it(tmp_path, prefix):
    folder = write_submission(tmp_path / "work", checkpoint=weights())
    found = read(zipped(folder, tmp_path / "alice.zip", prefix))
    assert has_both(found) and found.notes == []
    assert found.sha256 == read(folder).sha256
    found.close()
    assert not found.folder.exists() and folder.exists()


def test_a_zip_made_on_a_mac_is_read(tmp_path):
    folder = write_submission(tmp_path / "work")
    archive = zipped(folder, tmp_path / "alice.zip", "fcn/")
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.writestr("__MACOSX/fcn/._1_double.ipynb", b"\0\5\x16\7")
        bundle.writestr("fcn/.DS_Store", b"x")
    found = read(archive)
    assert has_both(found) and found.notes == []


def test_a_zip_cannot_write_outside_of_its_folder(tmp_path):
    folder = write_submission(tmp_path / "work")
    archive = zipped(folder, tmp_path / "alice.zip")
    outside = tmp_path / "outside.txt"
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.writestr(f"../{outside.name}", "x")
        bundle.writestr(f"../../../../../../../../../..{outside}", "x")
        bundle.writestr(str(outside), "x")
        link = zipfile.ZipInfo("3_link.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(link, "/etc/passwd")
    found = read(archive)
    assert has_both(found) and not outside.exists()
    assert sum("left out" in note for note in found.notes) == 4
    assert not (found.folder / "3_link.ipynb").exists()


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\3\4 broken"])
def test_what_is_no_zip_is_answered_in_words(tmp_path, content):
    (tmp_path / "alice.zip").write_bytes(content)
    with pytest.raises(SubmissionError, match="alice.zip cannot be unpacked.*Expected a folder or an intact zip"):
        read(tmp_path / "alice.zip")


def test_a_damaged_zip_is_answered_in_words_wherever_the_damage_is(tmp_path):
    archive = tmp_path / "alice.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("1_double.ipynb", "x" * 5000 + os.urandom(500).hex())
    whole = archive.read_bytes()
    for place in (35, 60, 80, 120):
        archive.write_bytes(whole[:place] + bytes(255 - b for b in whole[place : place + 12]) + whole[place + 12 :])
        with pytest.raises(SubmissionError, match="cannot be unpacked") as raised:
            read(archive)
        assert "cut off" not in str(raised.value)


@pytest.mark.parametrize("lost", [1, 30, 400, 990])
def test_a_zip_of_which_the_end_is_missing_is_called_that_wherever_it_lies(tmp_path, lost):
    archive = tmp_path / "alice.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("1_double.ipynb", "x" * 950)
    archive.write_bytes(whole := archive.read_bytes()[:-lost])
    why = f"alice.zip cannot be unpacked (it is cut off: it begins as a zip, and ends after {len(whole)} bytes without"
    with pytest.raises(SubmissionError) as raised:
        read(archive)
    assert str(raised.value).startswith(why)
    folder = write_submission(tmp_path / "work")
    (folder / "alice.zip").write_bytes(whole)
    assert any(why in note for note in read(folder).notes)


def test_an_impossible_date_in_a_zip_does_no_harm(tmp_path):
    folder, archive = write_submission(tmp_path / "work"), tmp_path / "alice.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in folder.iterdir():
            member = zipfile.ZipInfo(path.name)
            bundle.writestr(member, path.read_bytes())
    content = bytearray(archive.read_bytes())
    stamp = bytes([0, 0, 0x21, 0])  # midnight, 1980-01-01, as ZipInfo writes it
    assert content.count(stamp) == 4
    archive.write_bytes(bytes(content).replace(stamp, bytes(4)))  # month 0, day 0
    assert has_both(read(archive))


def test_an_encrypted_zip_is_answered_in_words(tmp_path):
    archive = zipped(write_submission(tmp_path / "work"), tmp_path / "alice.zip")
    content = bytearray(archive.read_bytes())
    for head, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = content.find(head)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(head, place + 4)
    archive.write_bytes(bytes(content))
    with pytest.raises(SubmissionError, match="encrypted"):
        read(archive)


def test_zips_of_too_much_are_refused(tmp_path, monkeypatch):
    archive = zipped(write_submission(tmp_path / "work"), tmp_path / "alice.zip")
    monkeypatch.setattr(archives, "MAX_UNPACKED", 300)
    with pytest.raises(SubmissionError, match="at most"):
        read(archive)
    monkeypatch.setattr(archives, "MAX_FILES", 1)
    with pytest.raises(SubmissionError, match="expected at most 1 files, but got 2"):
        read(archive)


def test_no_such_submission(tmp_path):
    with pytest.raises(SubmissionError, match="no such folder or zip"):
        read(tmp_path / "nobody")


def test_links_in_a_folder_are_not_followed(tmp_path):
    secret = notebook(tmp_path / "secret" / "1_double.ipynb", cell(DOUBLE, "double"))
    folder = write_submission(tmp_path / "alice", double=None)
    (folder / "1_double.ipynb").symlink_to(secret)
    (folder / "more").symlink_to(secret.parent)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "dots.pth").symlink_to("/etc/passwd")
    found = read(folder)
    assert found.workbook.find("double") is None and found.checkpoints["dots"].path is None
    assert "checkpoints/dots.pth is a link; links are not followed" in found.checkpoints["dots"].problem


@pytest.mark.parametrize("link", ["checkpoints", "checkpoints/dots.safetensors"])
def test_a_checkpoint_at_the_end_of_a_link_is_not_taken_and_the_link_is_named(tmp_path, link):
    theirs = write_submission(tmp_path / "bob", checkpoint=weights())
    folder = write_submission(tmp_path / "alice")
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(theirs / link)
    found = read(folder).checkpoints["dots"]
    assert found.path is None and not found.sha256 and found.problem.startswith(f"{link} is a link;")


def test_a_checkpoint_must_lie_in_the_hand_in_whoever_found_it(tmp_path, monkeypatch):
    theirs, folder = write_submission(tmp_path / "bob", checkpoint=weights()), write_submission(tmp_path / "alice")
    (folder / "inner").symlink_to(theirs / "checkpoints")
    for path in (theirs / "checkpoints" / "dots.safetensors", folder / "inner" / "dots.safetensors"):
        monkeypatch.setattr(submitted_checkpoints, "find_checkpoints", lambda *_, path=path: {"dots": FoundCheckpoint(path)})
        assert read(folder).checkpoints["dots"].path is None


# ----------------------------------------------------------------------------------------------------------- notebooks
def test_a_missing_notebook_is_said(tmp_path):
    notes = " ".join(read(write_submission(tmp_path, net=None)).notes)
    assert "2_dots.ipynb" in notes and "net" in notes


def test_a_renamed_notebook_is_known_by_its_cells(tmp_path):
    folder = write_submission(tmp_path)
    (folder / "1_double.ipynb").rename(folder / "Alice Müller - 1_double (2).ipynb")
    found = read(folder)
    assert found.workbook.find("double").cell.file == "Alice Müller - 1_double (2).ipynb"


def test_of_two_copies_the_original_name_counts_and_it_is_said(tmp_path):
    folder = write_submission(tmp_path)
    copy = notebook(folder / "1_double-Copy1.ipynb", cell("def double(x): return 0", "double"))
    os.utime(copy, (2e9, 2e9))
    found = read(folder)
    assert found.workbook.find("double").cell.file == "1_double.ipynb"
    assert any("1_double-Copy1.ipynb has the same cells" in note for note in found.notes)


def test_of_two_renamed_copies_the_newest_counts(tmp_path):
    for name, when in (("old.ipynb", 1e9), ("new.ipynb", 2e9), ("older.ipynb", 5e8)):
        path = notebook(tmp_path / name, cell(DOUBLE, "double"))
        os.utime(path, (when, when))
    assert read(tmp_path).workbook.find("double").cell.file == "new.ipynb"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"cells": 3}', b"\0\1\2", b'{"cells": [' + b"[" * 100_000])
def test_an_unreadable_notebook_is_named_and_the_other_one_read(tmp_path, content):
    folder = write_submission(tmp_path)
    (folder / "1_double.ipynb").write_bytes(content)
    found = read(folder)
    assert found.workbook.find("DotNet") is not None and found.workbook.find("double") is None
    assert any(note.startswith("1_double.ipynb") and "otebook" in note for note in found.notes)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_other_encodings_are_read(tmp_path, encoding):
    folder = write_submission(tmp_path)
    path = notebook(folder / "1_double.ipynb", cell("# Größe\n" + DOUBLE, "double"))
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False)
    path.write_bytes(text.encode(encoding))
    found = read(folder)
    assert "Größe" in found.workbook.find("double").cell.source
    assert any("byte order mark" in note for note in found.notes) == (encoding != "latin-1")


def test_windows_line_ends_change_nothing(tmp_path):
    unix = read(write_submission(tmp_path / "unix"))
    folder = write_submission(tmp_path / "windows", double=DOUBLE.replace("\n", "\r\n"))
    (folder / "2_dots.ipynb").write_bytes((folder / "2_dots.ipynb").read_bytes().replace(b"\n", b"\r\n"))
    windows = read(folder)
    for name in ("double", "DotNet"):
        digests = [s.workbook.program(s.workbook.find(name)).digest for s in (unix, windows)]
        assert digests[0] == digests[1]


def test_notebook_format_3_is_read(tmp_path):
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": DOUBLE.splitlines(True), "metadata": {}}]}]}
    folder = write_submission(tmp_path)
    (folder / "1_double.ipynb").write_text(json.dumps(old))
    found = read(folder)
    assert found.workbook.find("double").cell.label == "1_double.ipynb, cell 1"
    assert any("format 3" in note for note in found.notes)


def test_stripped_metadata_costs_nothing_but_a_note(tmp_path):
    notebook(tmp_path / "1_double.ipynb", cell(DOUBLE))
    notebook(tmp_path / "2_dots.ipynb", cell(NET))
    found = read(tmp_path)
    assert has_both(found)
    assert any("looked for by name" in note and "double, net" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_retyped_solution_cell_is_read_as_code(tmp_path, kind):
    folder = write_submission(tmp_path)
    notebook(folder / "1_double.ipynb", cell(DOUBLE, "double", kind))
    found = read(folder)
    assert found.workbook.find("double") is not None
    assert any(kind in note and "read as code" in note for note in found.notes)


def test_one_big_notebook_and_a_script_will_do(tmp_path):
    notebook(tmp_path / "everything.ipynb", cell(DOUBLE))
    (tmp_path / "nets.py").write_text(NET)
    assert has_both(read(tmp_path))


def test_files_of_the_release_and_of_tools_are_never_searched(tmp_path):
    folder = write_submission(tmp_path, double=None)
    for place in ("segkit", "published", ".ipynb_checkpoints", "site-packages", "__pycache__", "my_env"):
        notebook(folder / place / "x.ipynb", cell(DOUBLE, "double"))
    (folder / "my_env" / "pyvenv.cfg").touch()
    found = read(folder)
    assert found.workbook.find("double") is None and len(found.workbook.documents) == 1


@pytest.mark.parametrize("place", ["data", "checkpoints", "build", "runs", "dist"])
def test_work_in_a_folder_of_the_releases_name_is_read_where_it_is_nowhere_else(tmp_path, place):
    folder = write_submission(tmp_path, double=None)
    notebook(folder / place / "x.ipynb", cell("from helper import k\n" + DOUBLE, "double"))
    notebook(folder / place / "dots.ipynb", cell(NET.replace("3, n_class", "3, 1"), "net"))
    (folder / place / "helper.py").write_text("k = 1")
    found = read(folder)
    assert found.workbook.find("double").cell.file == f"{place}/x.ipynb"
    assert found.workbook.find("DotNet").cell.file == "2_dots.ipynb" and len(found.workbook.documents) == 3
    assert f"{place}/x.ipynb was read: what it defines was found nowhere else" in found.notes


def test_the_hash_follows_the_work_and_nothing_else(tmp_path):
    folder = write_submission(tmp_path, checkpoint=weights())
    before = read(folder).sha256
    (folder / "notes.txt").write_text("x")
    notebook(folder / "segkit" / "x.ipynb")
    assert read(folder).sha256 == before
    (folder / "helper.py").write_text("x = open('notes.txt').read()")
    changed = read(folder).sha256
    assert changed != before
    (folder / "notes.txt").write_text("y")
    assert read(folder).sha256 not in (before, changed)
    (folder / "checkpoints" / "dots.safetensors").unlink()
    assert read(folder).sha256 not in (before, changed)


# --------------------------------------------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_checkpoint_is_found_by_its_name(tmp_path, suffix):
    folder = write_submission(tmp_path)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / f"dots{suffix}").write_bytes(b"weights")
    assert read(folder).checkpoints["dots"].path == folder / "checkpoints" / f"dots{suffix}"


def test_a_checkpoint_in_another_folder_is_taken_with_a_note(tmp_path):
    folder = write_submission(tmp_path)
    (folder / "runs").mkdir()
    (folder / "runs" / "dots.pth").write_bytes(b"weights")
    found = read(folder)
    assert found.checkpoints["dots"].path.name == "dots.pth"
    assert any("runs/dots.pth was taken as the checkpoint dots" in note for note in found.notes)


def test_an_oversized_checkpoint_is_not_opened(tmp_path, monkeypatch):
    folder = write_submission(tmp_path, checkpoint=weights())
    monkeypatch.setattr(submitted_checkpoints, "MAX_CHECKPOINT", 100)
    found = read(folder).checkpoints["dots"]
    assert found.path is None and "expected at most" in found.problem


def named(folder: Path, **entry) -> None:
    (folder / "checkpoints.json").write_text(json.dumps({"dots": entry}))


def test_a_named_checkpoint_is_found_by_hash_wherever_it_lies(tmp_path):
    folder = write_submission(tmp_path / "alice")
    shared = tmp_path / "drive" / "deep" / "some name.safetensors"
    shared.parent.mkdir(parents=True)
    shared.write_bytes(b"the weights of alice")
    (shared.parent / "other.safetensors").write_bytes(b"the weights of bobby")  # the same size
    named(folder, sha256=file_sha256(shared).upper(), bytes=20, where="drive")
    assert read(folder, tmp_path / "drive").checkpoints["dots"].path == shared


def test_a_file_in_the_place_of_a_removed_one_of_its_size_and_time_has_its_own_hash(tmp_path):
    path, deadline = tmp_path / "fcn32s.safetensors", time.monotonic() + 30
    path.write_bytes(b"the weights of alice")
    os.utime(path, (0, 0))
    first, hashed = path.stat(), file_sha256(path)
    while path.stat().st_ctime_ns == first.st_ctime_ns and time.monotonic() < deadline:  # a disk's clock may tick slowly
        path.write_bytes(b"the weights of bobby")
        os.utime(path, (0, 0))
    now = path.stat()
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (first.st_ino, first.st_size, first.st_mtime_ns)
    assert hashed != file_sha256(path) == hashlib.sha256(b"the weights of bobby").hexdigest()


def test_a_named_checkpoint_that_is_not_there_is_said_with_its_place(tmp_path):
    folder = write_submission(tmp_path / "alice")
    named(folder, sha256="ab" * 32, bytes=20, where="https://drive.example/x")
    (tmp_path / "drive").mkdir()
    without, elsewhere = read(folder).checkpoints["dots"], read(folder, tmp_path / "drive").checkpoints["dots"]
    assert without.path is None and "no --checkpoints" in without.problem and "drive.example" in without.problem
    assert elsewhere.path is None and "no such file" in elsewhere.problem and "abababababab" in elsewhere.problem


@pytest.mark.parametrize("place", ["checkpoints.json.txt", "Checkpoints (1).json", "work/checkpoints.json", "checkpoints/checkpoints.json"])
def test_the_list_of_checkpoints_is_found_whatever_became_of_its_name(tmp_path, place):
    folder, drive = write_submission(tmp_path / "alice"), tmp_path / "drive"
    drive.mkdir()
    (drive / "any name at all").write_bytes(b"the weights of alice")
    (folder / place).parent.mkdir(exist_ok=True)
    named(folder, sha256=file_sha256(drive / "any name at all"), bytes=20, where="drive")
    (folder / "checkpoints.json").rename(folder / place)
    assert read(folder, drive).checkpoints["dots"].path == drive / "any name at all"


@pytest.mark.parametrize("content", ["{", "[]", '{"dots": 3}', "[" * 100_000, '{"dots": {"sha256": null, "bytes": "x"}}'])
def test_a_damaged_list_of_checkpoints_does_no_harm(tmp_path, content):
    folder = write_submission(tmp_path)
    (folder / "checkpoints.json").write_text(content)
    found = read(folder)
    assert has_both(found) and all(c.path is None for c in found.checkpoints.values())
