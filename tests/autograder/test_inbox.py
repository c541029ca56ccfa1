"""What lies in watched folders is taken once it is complete; what cannot be decided is said, and nothing is left out."""

import os
import zipfile
from pathlib import Path

import pytest
from tiny import DOUBLE, cell, notebook, write_submission

from autograder.batch.inbox import Inbox, is_export, listing
from autograder.handins.bulk import BulkError, read_bulk

QUIET = 30.0


class Watched:
    """A folder, and a clock that goes on when it is told."""

    def __init__(self, root: Path, *places: str, read=read_bulk) -> None:
        self.root, self.now, self.reads = root, 1000.0, []
        (root / "in").mkdir()

        def read_export(export, folder):
            self.reads.append(export.name)
            return read(export, folder)

        self.inbox = Inbox([root / place for place in places or ("in",)], "tiny", root / "out", QUIET, read_export, lambda: self.now)

    def look(self, after: float = 0.0):
        self.now += after
        return self.inbox.look()

    def settled(self):
        self.look()
        return self.look(QUIET)


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


def archive(path: Path, **files: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    return path


def moodle(path: Path, **texts: str) -> Path:
    """An export of Moodle: name of a student -> content of the notebook."""
    source = notebook(path.parent / ".source.ipynb", cell(DOUBLE, "double")).read_text()
    return archive(path, **{f"{name}_{7000 + n}_assignsubmission_file_/1_double.ipynb": source + text
                            for n, (name, text) in enumerate(texts.items())})  # fmt: skip


def test_a_copy_is_taken_when_nothing_has_changed_for_long_enough(watched, tmp_path):
    write_submission(tmp_path / "in" / "ann")
    assert watched.look().ready == {}
    assert list(watched.look(QUIET - 1).waiting) == [str(tmp_path / "in" / "ann")]
    (tmp_path / "in" / "ann" / "late.py").write_text("x = 1")  # the copy goes on
    assert watched.look(2).ready == {}
    assert watched.look(QUIET - 1).ready == {}
    assert watched.look(1).ready == {"ann": tmp_path / "in" / "ann"}


def test_a_file_that_grows_or_is_replaced_by_one_of_the_same_size_has_changed(tmp_path):
    path = tmp_path / "ann.zip"
    path.write_bytes(b"PK")
    before = listing(path)
    os.utime(path, (1, 1))
    assert listing(path) != before == before
    path.write_bytes(b"PKPK")
    assert listing(path) not in ("", before)


def test_names_of_downloads_under_way_and_leftovers_of_systems_are_no_submissions(watched, tmp_path):
    for name in ("ann.zip.part", "ben.zip.crdownload", "cem.filepart", "dan.zip.tmp"):
        (tmp_path / "in" / name).write_bytes(b"PK")
    for name in (".DS_Store", ".ann.zip.Xk2", "Thumbs.db", "desktop.ini"):
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "in" / "__MACOSX").mkdir()
    (tmp_path / "in" / "roster.csv").write_text("name\nann\n")
    look = watched.settled()
    assert look.ready == {} and sorted(Path(path).name for path in look.waiting) == [
        "ann.zip.part", "ben.zip.crdownload", "cem.filepart", "dan.zip.tmp"]  # fmt: skip
    assert look.other == [str(tmp_path / "in" / "roster.csv")]  # seen, and said


def test_folders_archives_of_any_kind_and_single_notebooks_are_submissions(watched, tmp_path):
    inside = tmp_path / "in"
    write_submission(inside / "ann")
    archive(inside / "ben.zip", a="b")
    (inside / "cem.zip").write_bytes(b"torn")
    (inside / "dan.rar").write_bytes(b"Rar!\x1a\x07\x00")
    notebook(inside / "eve.ipynb", cell("x"))
    look = watched.settled()
    assert sorted(look.ready) == ["ann", "ben", "cem", "dan.rar", "eve.ipynb"] and not look.other and not look.waiting


def test_two_submissions_of_one_name_are_held_and_both_are_named(tmp_path):
    watched = Watched(tmp_path, "in", "more")
    first, second = write_submission(tmp_path / "in" / "ann"), archive(tmp_path / "more" / "ann.zip", a="b")
    write_submission(tmp_path / "in" / "ben")
    look = watched.settled()
    assert list(look.ready) == ["ben"]
    (line,) = look.held
    assert line.startswith("ann: 2 submissions") and str(first) in line and str(second) in line
    second.unlink()
    assert sorted(watched.look().ready) == ["ann", "ben"]


def test_a_folder_that_cannot_be_read_is_waited_for_and_what_comes_back_is_what_it_was(watched, tmp_path):
    write_submission(tmp_path / "in" / "ann")
    ready = watched.settled().ready
    (tmp_path / "in").rename(tmp_path / "away")
    look = watched.look(100)
    assert look.ready == {} and "cannot be read now" in look.waiting[str(tmp_path / "in")]
    (tmp_path / "away").rename(tmp_path / "in")
    assert watched.look(100).ready == ready  # at once: it did not change


# ------------------------------------------------------------------------------------------------------------- exports
def test_an_export_that_is_dropped_in_gives_its_students(watched, tmp_path):
    moodle(tmp_path / "in" / "fcn-1.zip", Ada="", Ben="")
    write_submission(tmp_path / "in" / "cem")
    look = watched.settled()
    assert [name.partition("_")[0] for name in look.ready] == ["Ada", "Ben", "cem"]
    assert all(path.exists() for path in look.ready.values())
    assert (tmp_path / "out" / "handins.csv").read_text(encoding="utf-8-sig").count("\n") == 3
    watched.look(100)
    assert watched.reads == ["fcn-1.zip"]  # and is not taken apart again


def test_a_later_export_counts_and_an_earlier_one_keeps_whom_it_alone_has(watched, tmp_path):
    early, late = moodle(tmp_path / "in" / "z.zip", Ada="", Ben=""), moodle(tmp_path / "in" / "a.zip", Ada=" ")
    os.utime(early, (1000, 1000))
    os.utime(late, (2000, 2000))
    look = watched.settled()
    homes = {name.partition("_")[0]: path.parent for name, path in look.ready.items()}
    assert homes["Ada"] != homes["Ben"] and look.ready[next(iter(look.ready))].parent == homes["Ada"]
    os.utime(early, (3000, 3000))
    assert {path.parent for path in watched.settled().ready.values()} == {homes["Ben"]}


def test_while_an_export_is_replaced_its_students_stay(tmp_path):
    watched = Watched(tmp_path, "export.zip")
    assert "cannot be read now" in next(iter(watched.look().waiting.values()))  # it need not be there yet
    moodle(tmp_path / "export.zip", Ada="")
    names = list(watched.settled().ready)
    (tmp_path / "export.zip").write_bytes(b"PK half of it")
    look = watched.look(1)
    assert list(look.ready) == names and list(look.waiting) == [str(tmp_path / "export.zip")]
    moodle(tmp_path / "export.zip", Ada=" ", Eve="")
    assert len(watched.settled().ready) == 2 and watched.reads == ["export.zip"] * 2


def test_an_export_that_cannot_be_used_is_said_and_nothing_else_suffers(tmp_path):
    def refuses(*_):
        raise BulkError("lies outside of the folder. The zip is refused.")

    watched = Watched(tmp_path, read=refuses)
    moodle(tmp_path / "in" / "fcn.zip", Ada="")
    write_submission(tmp_path / "in" / "ben")
    look = watched.settled()
    assert list(look.ready) == ["ben"] and look.held == ["fcn.zip: lies outside of the folder. The zip is refused."]


@pytest.mark.parametrize(("files", "export"), [
    ({"submission_2/1_double.ipynb": "", "submission_2/2_dots.ipynb": ""}, False),  # a student's second try
    ({"a/submission_2/1_double.ipynb": "", "a/submission_metadata.yml": ""}, True),
    ({"ann+tiny+2026-03-14 22:10:05 UTC/1_double.ipynb": ""}, True),
    ({"tiny/1_double.ipynb": "", "tiny/checkpoints/dots.safetensors": ""}, False),
    ({"loveada_4711_90210_submission.zip": ""}, True),
    ({"model_2026_11_best.pth": "", "1_double.ipynb": "", "2_dots.ipynb": ""}, False),
    ({}, False),
])  # fmt: skip
def test_an_export_is_told_from_a_student_s_zip(tmp_path, files, export):
    assert is_export(archive(tmp_path / "x.zip", **files)) is export
