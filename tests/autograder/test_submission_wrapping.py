"""What a hand-in is wrapped in costs nothing: archives of all kinds, odd names, odd places. What cannot be read is nobody's zero."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny import DOUBLE, NET, TINY, InProcess, cell, grade, notebook, open_run, weights, write_submission

from autograder.cli import main
from autograder.course.rubric import read_rubric
from autograder.handins import archives
from autograder.handins.archives import kind_of, nature_of
from autograder.handins.submission import SubmissionError, read_submission, submission_names

RUBRIC = read_rubric(TINY / "rubric.toml")


@pytest.fixture
def work(tmp_path) -> Path:
    return write_submission(tmp_path / "work", checkpoint=weights())


def read(path: Path):
    return read_submission(path, "alice", RUBRIC)


def whole(path: Path) -> bool:
    """Whether both definitions and the checkpoint of a hand-in are found; nothing is left behind afterwards."""
    found = read(path)
    defined = [found.workbook.find(name) for name in ("double", "DotNet")]
    checkpoint = found.checkpoints.get("dots")
    there = all(d is not None and not d.unfinished for d in defined) and checkpoint is not None and checkpoint.path.is_file()
    found.close()
    return there


def pack(folder: Path, archive: Path, prefix: str = "", separator: str = "/") -> Path:
    """Pack a folder into a zip or tar, by the archive's name."""
    names = {p: prefix + p.relative_to(folder).as_posix().replace("/", separator) for p in sorted(folder.rglob("*")) if p.is_file()}
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
            for path, name in names.items():
                member = zipfile.ZipInfo(name.replace("\\", "/"))  # ZipInfo writes the separators of this system
                member.filename = name
                bundle.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(archive, f"w:{archive.suffix[1:].replace('tar', '').replace('tgz', 'gz')}") as bundle:
            for path, name in names.items():
                bundle.add(path, name)
    return archive


# ------------------------------------------------------------------------------------------------------------- archives
@pytest.mark.parametrize("name", ["alice.zip", "alice.tar", "alice.tar.gz", "alice.tgz", "alice.tar.bz2", "alice.tar.xz"])
@pytest.mark.parametrize("prefix", ["", "fcn/", "./"])
def test_an_archive_of_any_kind_counts_like_its_folder(tmp_path, work, name, prefix):
    archive = pack(work, tmp_path / name, prefix)
    assert whole(archive)
    assert read(archive).sha256 == read(work).sha256


def test_an_archive_is_known_by_its_content_not_its_name(tmp_path, work):
    for made, called in (("a.tar.gz", "b.zip"), ("a.zip", "c.tar.gz"), ("a.tar", "d"), ("a.zip", "e.rar")):
        pack(work, tmp_path / made).rename(tmp_path / called)
        assert whole(tmp_path / called), called


@pytest.mark.parametrize("outer", ["x.zip", "x.tar.gz", None])
@pytest.mark.parametrize("inner", ["fcn.zip", "fcn.tar", "fcn.tar.gz", "Archive 2.ZIP", "work.zip.txt"])
@pytest.mark.parametrize("beside", [{}, {"readme.txt": "see the zip"}, {"report.pdf": "%PDF-1.7"}])
def test_an_archive_in_an_archive_or_folder_is_opened(tmp_path, work, outer, inner, beside):
    place = tmp_path / "outer"
    place.mkdir()
    kind = "a.tar.gz" if inner.endswith("gz") else "a.tar" if inner.endswith("tar") else "a.zip"
    pack(work, tmp_path / kind, "submission/").rename(place / inner)
    for name, text in beside.items():
        (place / name).write_text(text)
    before = sorted(p.name for p in place.rglob("*"))
    assert whole(pack(place, tmp_path / outer) if outer else place)
    assert sorted(p.name for p in place.rglob("*")) == before  # the hand-in itself stays as it is


def test_a_checkpoint_packed_alone_beside_the_notebooks_is_found(tmp_path, work):
    pack(work / "checkpoints", work / "weights.zip")
    shutil.rmtree(work / "checkpoints")
    assert whole(work)


def test_an_older_state_in_a_zip_beside_the_work_does_not_count(tmp_path, work):
    old = write_submission(tmp_path / "old", double="def double(x):\n    return 0\n")
    notebook(old / "more.ipynb", cell("def double(x):\n    return 1\n"))
    pack(old, work / "backup.zip")
    shutil.rmtree(work / "checkpoints")  # so the zip is opened
    found = read(work)
    assert found.workbook.find("double").cell.file == "1_double.ipynb" and "* 2" in found.workbook.find("double").cell.source


def test_archives_of_pictures_and_of_documents_are_not_opened(tmp_path, work):
    shutil.rmtree(work / "checkpoints")
    others = {"data.zip": "base/cmp_b0001.jpg", "report.docx": "[Content_Types].xml", "x.npz": "a.npy", "m.pth": "m/data.pkl"}
    for name, member in others.items():
        with zipfile.ZipFile(work / name, "w") as bundle:
            bundle.writestr(member, "x")
    found = read(work)
    assert found.folder == work and not found.checkpoints.get("dots")


def test_backslashes_and_drives_are_read_as_folders(tmp_path, work):
    archive = pack(work, tmp_path / "alice.zip", "C:\\Users\\alice\\fcn\\", "\\")
    with zipfile.ZipFile(archive, "a") as bundle:
        folder = zipfile.ZipInfo("x")
        folder.filename = "C:\\Users\\alice\\fcn\\data\\"
        bundle.writestr(folder, "")
    assert b"fcn\\checkpoints\\dots.safetensors" in archive.read_bytes()
    found = read(archive)
    assert whole(archive) and [d.name for d in found.workbook.documents] == ["1_double.ipynb", "2_dots.ipynb"] and found.notes == []


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_single_packed_notebooks_are_read(tmp_path, work, ending, compress):
    for path in list(work.glob("*.ipynb")):
        path.with_name(f"{path.name}.{ending}").write_bytes(compress(path.read_bytes()))
        path.unlink()
    assert whole(work)


def test_a_single_notebook_is_a_hand_in(tmp_path):
    path = notebook(tmp_path / "alice.ipynb", cell(DOUBLE), cell(NET))
    found = read(path)
    assert found.workbook.find("double") is not None and found.workbook.find("DotNet") is not None
    path.rename(tmp_path / "alice")
    assert read(tmp_path / "alice").workbook.find("double") is not None


def test_names_of_archives_lose_their_endings():
    paths = [Path(name) for name in ("a/ada.tar.gz", "a/bob.tgz", "a/cyd.zip", "a/dan.ZIP", "a/eve.v2")]
    assert list(submission_names(paths, "fcn").values()) == ["ada", "bob", "cyd", "dan", "eve.v2"]


# ------------------------------------------------------------------------------------------------- what must not happen
def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as bundle:
        for member, content in members:
            member.size = len(content)
            bundle.addfile(member, io.BytesIO(content))
    return path


def entry(name: str, **more) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(member, key, value)
    return member


def test_a_tar_makes_no_links_and_no_devices_and_stays_inside(tmp_path):
    good = json.dumps({"cells": [cell(DOUBLE), cell(NET)]}).encode()
    archive = tar_of(
        tmp_path / "alice.tar", (entry("all.ipynb"), good), (entry("../out.py"), b"x = 1"), (entry("/abs.py"), b"x = 1"),
        (entry("link.py", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""), (entry("hard.py", type=tarfile.LNKTYPE, linkname="x"), b""),
        (entry("pipe.py", type=tarfile.FIFOTYPE), b""), (entry("null.py", type=tarfile.CHRTYPE), b""),
        (entry("again.py", type=tarfile.LNKTYPE, linkname="all.ipynb"), b""),
    )  # fmt: skip
    found = read(archive)
    assert found.workbook.find("double") is not None
    files = sorted(p.relative_to(found.folder).as_posix() for p in found.folder.rglob("*"))
    assert files == ["abs.py", "again.py", "all.ipynb"] and not (tmp_path / "out.py").exists()
    assert sum("is a link or lies outside of the folder: left out" in note for note in found.notes) == 5, found.notes


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_all_archives_of_a_hand_in_share_one_budget(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "MAX_UNPACKED", (7 if kind == "tar" else 3) * 2**20)  # a tar is as large as what is in it, and copied
    place = tmp_path / "outer"
    for name in ("one", "two"):
        (place / name).mkdir(parents=True)
        (place / name / "zeros.py").write_bytes(b"\n" * 2 * 2**20)
        pack(place / name, place / f"{name}.{kind}")
        shutil.rmtree(place / name)
    notebook(place / "1_double.ipynb", cell(DOUBLE, "double"))
    found = read(place)
    assert found.workbook.find("double") is not None
    assert sum("cannot be unpacked" in n and "at most" in n and "unpacked" in n for n in found.notes) == 1


def test_a_bomb_in_a_tar_is_refused_before_it_fills_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_UNPACKED", 2**20)
    monkeypatch.setattr(archives, "MAX_FILES", 10)
    (tmp_path / "bomb.py").write_bytes(bytes(8 * 2**20))
    with tarfile.open(tmp_path / "alice.tar.gz", "w:gz") as bundle:
        bundle.add(tmp_path / "bomb.py", "bomb.py")
    with pytest.raises(SubmissionError, match="at most 0.000976562 GiB unpacked") as caught:
        read(tmp_path / "alice.tar.gz")
    assert str(tmp_path) not in str(caught.value)


def test_a_tar_that_claims_a_giant_header_is_refused(tmp_path):
    member = entry("x.py", type=tarfile.XHDTYPE)
    member.size = 2**33
    (tmp_path / "alice.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2**16))
    with pytest.raises(SubmissionError, match="cannot be unpacked"):
        read(tmp_path / "alice.tar")


@pytest.mark.parametrize("name", ["alice.tar", "alice.tar.gz", "alice.tar.xz", "alice.tar.bz2"])
def test_an_archive_that_broke_off_is_answered_in_words(tmp_path, work, name):
    archive = pack(work, tmp_path / name)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 3])
    with pytest.raises(SubmissionError, match=f"{name} cannot be unpacked|cannot be read|No notebook"):
        read(archive)


# -------------------------------------------------------------------------------------------- what cannot be read at all
def mark_member(archive: Path, name: str, method: int | None = None, encrypted: bool = False) -> None:
    """Change how a zip says that a member is packed."""
    content = bytearray(archive.read_bytes())
    for head, flags, where, start in ((b"PK\3\4", 6, 8, 30), (b"PK\1\2", 8, 10, 46)):
        place = content.find(head)
        while place >= 0:
            if content[place + start : place + start + len(name)] == name.encode():
                content[place + where] = content[place + where] if method is None else method
                content[place + flags] |= encrypted
            place = content.find(head, place + 4)
    archive.write_bytes(bytes(content))


def test_deflate64_costs_the_files_packed_with_it_and_is_named_with_the_way_out(tmp_path, work):
    archive = pack(work, tmp_path / "alice.zip")
    mark_member(archive, "checkpoints/dots.safetensors", method=9)
    found = read(archive)
    assert found.workbook.find("double") is not None
    checkpoint = found.checkpoints["dots"]
    assert checkpoint.path is None and checkpoint.packed
    assert "Deflate64" in checkpoint.problem and "7-Zip" in checkpoint.problem and "--code-only" in checkpoint.problem
    assert any("alice.zip: 'checkpoints/dots.safetensors' is packed with Deflate64" in note for note in found.notes)
    for name in ("1_double.ipynb", "2_dots.ipynb"):
        mark_member(archive, name, method=9)
    with pytest.raises(SubmissionError, match="nothing in it can be used.*Deflate64.*7-Zip"):
        read(archive)


def test_a_checkpoint_in_deflate64_waits_for_a_person(tmp_path, work, monkeypatch):
    monkeypatch.setattr("autograder.judge.grade.RemoteSubject", InProcess)
    archive = pack(work, tmp_path / "alice.zip")
    mark_member(archive, "checkpoints/dots.safetensors", method=9)
    with open_run(tmp_path / "out") as run:
        checks = grade(run, archive)["checks"]
    gate = checks["net.accuracy"]
    assert (gate["status"], gate["points"], gate["cause"]) == ("could_not_grade", None, "submission.unreadable")
    assert "Deflate64" in gate["message"] and checks["double"]["status"] == "earned"


def test_one_encrypted_file_costs_that_file(tmp_path, work):
    archive = pack(work, tmp_path / "alice.zip")
    mark_member(archive, "2_dots.ipynb", encrypted=True)
    found = read(archive)
    assert found.workbook.find("double") is not None
    assert any("'2_dots.ipynb' is encrypted: left out. Pack the work again without a password" in note for note in found.notes)


@pytest.mark.parametrize(("name", "content", "nature"), [
    ("work.rar", b"Rar!\x1a\x07\1\0", "a RAR archive"), ("work.7z", b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    ("report.pdf", b"%PDF-1.7", "a PDF"), ("work.zip", b"<!DOCTYPE html>", "a web page"), ("work.zip", b"Rar!\x1a\x07\0", "a RAR archive"),
    ("notes.doc", b"\xd0\xcf\x11\xe0", "Office"), ("1_double.html", b"\n<html>", "a web page"), ("photo", b"\xff\xd8\xff", "a picture"),
])  # fmt: skip
def test_files_of_which_none_is_a_notebook_are_nobodys_zero_and_are_named(tmp_path, name, content, nature):
    folder = tmp_path / "alice"
    folder.mkdir()
    (folder / name).write_bytes(content)
    (folder / ".DS_Store").write_bytes(b"Bud1")
    for path in (folder, folder / name, pack(folder, tmp_path / "packed.zip")):
        with pytest.raises(SubmissionError) as caught:
            read(path)
        assert caught.value.cause == "submission.no_notebook"
        assert name in str(caught.value) and nature in str(caught.value) and "1_double.ipynb, 2_dots.ipynb" in str(caught.value)
        assert str(tmp_path) not in str(caught.value) and "DS_Store" not in str(caught.value)


def test_a_helper_beside_a_rar_does_not_make_it_a_zero(tmp_path):
    (tmp_path / "helpers.py").write_text("x = 1")
    (tmp_path / "work.rar").write_bytes(b"Rar!\x1a\x07\1\0")
    with pytest.raises(SubmissionError, match=r"only work.rar \(a RAR archive\), helpers.py"):
        read(tmp_path)


def test_another_work_that_can_be_read_whole_is_graded_and_each_check_says_what_it_missed(tmp_path):
    notebook(tmp_path / "essay.ipynb", cell("x = 1"))
    assert read(tmp_path).workbook.find("double") is None


@pytest.mark.parametrize("files", [[], [".DS_Store", "__MACOSX/._1_double.ipynb", "Thumbs.db", ".git/config"]])
def test_an_empty_hand_in_is_called_empty(tmp_path, files):
    folder = tmp_path / "alice"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    for path in (folder, pack(folder, tmp_path / "alice.zip")):
        with pytest.raises(SubmissionError, match=r"Nothing was handed in: alice(.zip)? is empty. Expected 1_double.ipynb") as caught:
            read(path)
        assert caught.value.cause == "submission.empty"


def test_a_merge_conflict_in_the_only_notebook_is_named_with_the_way_out(tmp_path):
    text = json.dumps({"cells": [cell(DOUBLE, "double")]}, indent=1)
    (tmp_path / "1_double.ipynb").write_text(text.replace("{", "<<<<<<< HEAD\n{\n=======\n{\n>>>>>>> 4e2b407 (fix)", 1))
    with pytest.raises(SubmissionError, match="1_double.ipynb: an unresolved merge conflict of git .*git checkout --ours") as caught:
        read(tmp_path)
    assert caught.value.cause == "submission.unreadable"


def test_a_check_whose_notebook_could_not_be_read_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("autograder.judge.grade.RemoteSubject", InProcess)
    folder = write_submission(tmp_path / "alice")
    (folder / "1_double.ipynb").write_text((folder / "1_double.ipynb").read_text()[:-40])
    with open_run(tmp_path / "out", only=("double",)) as run:
        message = grade(run, folder)["checks"]["double"]["message"]
    assert "double was not found" in message and "Files that could not be read: 1_double.ipynb: no readable notebook" in message


def test_the_command_ends_with_1_and_the_class_page_has_no_zero(tmp_path):
    (tmp_path / "alice").mkdir()
    (tmp_path / "alice" / "work.rar").write_bytes(b"Rar!\x1a\x07\1\0")
    arguments = ["grade", str(tmp_path / "alice"), "--assignment", str(TINY), "--data", "drawn", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1, done.output
    checks = json.loads((tmp_path / "out" / "alice" / "result.json").read_text())["checks"]
    assert {(c["status"], c["points"]) for c in checks} == {("could_not_grade", None), ("needs_manual", None)}
    assert "work.rar (a RAR archive)" in checks[0]["message"] and str(tmp_path) not in checks[0]["message"]


def test_natures_and_kinds_of_what_cannot_be_opened_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    assert not kind_of(tmp_path / "empty") and not nature_of(tmp_path / "empty") and not kind_of(tmp_path / "none")
