"""What lies in watched folders is taken once it is complete; what cannot be decided is said, and nothing is left out."""

import os
import zipfile
from pathlib import Path

import pytest
from tiny import DOUBLE, cell, notebook, write_submission

from autograder.batch.inbox import Inbox, is_export, listing
from autograder.handins.bulk import BulkError, read_bulk
from autograder.handins.bulk.known import Known, know
from autograder.report import late_in

QUIET = 30.0


class Watched:
    """A folder, and a clock that goes on when it is told."""

    def __init__(self, root: Path, *places: str, read=None, known=Known, tables=()) -> None:
        self.root, self.now, self.reads = root, 1000.0, []
        (root / "in").mkdir()

        def read_export(export, folder):
            self.reads.append(export.name)
            return read(export, folder) if read else read_bulk(export, folder, known(), "tiny")

        self.inbox = Inbox(
            [root / place for place in places or ("in",)], "tiny", root / "out", QUIET, read_export, tables, lambda: self.now
        )

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


@pytest.mark.parametrize(("names", "taken"), [(["Ann"], False), (["Ann", "Zed"], False), (["Ann", "Bob", "Cid"], True)])
def test_a_student_s_zip_that_looks_like_another_s_download_changes_nobody_s_hand_in(watched, tmp_path, names, taken):
    moodle(tmp_path / "in" / "all.zip", Ann=" ", Bob=" ", Cid=" ", Dan=" ")
    before = watched.settled().ready
    later = moodle(tmp_path / "in" / "bob.zip", **dict.fromkeys(names, "\n"))
    os.utime(later, (2**32, 2**32))
    found = watched.settled()
    assert (found.ready["Ann_7000"] != before["Ann_7000"]) is taken
    assert [("bob.zip" in line and "Ann_7000" in line) for line in found.held] == ([] if taken else [True])
    assert before.keys() <= found.ready.keys()


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


# ------------------------------------------------------------------------------------------------ what downloads say
ROSTER = "student_id,name\nann,Ann Bell\nben,Ben Cole\n"


def exchange(path: Path, **times: str) -> Path:
    """A download of nbgrader's exchange: who -> when."""
    return archive(path, **{f"{name}+tiny+{time}/1_double.ipynb": "{}" for name, time in times.items()})


@pytest.fixture
def course(tmp_path):
    """A watch that knows a class, a due date and a penalty, as the command gives it."""
    (tmp_path / "roster.csv").write_text(ROSTER)
    tables = [tmp_path / "roster.csv", tmp_path / "late.csv"]

    def known():
        late = tables[1] if tables[1].is_file() else None
        return know(tables[0], "2026-03-14T23:59", late=late, penalty="10% per day", places=[tmp_path / "in"])

    return Watched(tmp_path, known=known, tables=[*tables, tmp_path / "decisions.csv"])


def test_all_that_a_download_says_is_said_and_what_a_person_must_see_is_held(course, tmp_path):
    path = exchange(tmp_path / "in" / "week.zip", ann="2026-03-16 10:00:00 UTC", ben="2026-03-14 99:99 UTC", zoe="2026-03-14 10:00:00 UTC")
    with zipfile.ZipFile(path, "a") as bundle:
        bundle.writestr("readme.txt", "of nobody")
        bundle.writestr("ben+tiny+2026-03-14 99:99 UTC/big.iso", "x")
        link = zipfile.ZipInfo("ann+tiny+2026-03-16 10:00:00 UTC/data")
        link.external_attr = 0o120777 << 16
        bundle.writestr(link, "/etc/passwd")
    look = course.settled()
    assert sorted(look.ready) == ["ann", "ben", "zoe"]
    assert look.late == ["ann: 1 d 10 h late; the rule takes 20% off"]
    said = {part: sum(part in line for line in look.held) for part in (
        "ben: when it was handed in cannot be read", "zoe: 'zoe' is not in the roster: decide by hand",
        "week.zip: 1 files were left out: readme",
        "ann: left out: ")}  # fmt: skip
    assert set(said.values()) == {1} and len(look.held) == 4, look.held
    assert "week.zip: due 2026-03-14 23:59:00 UTC" in look.notes and not set(look.held) & set(look.notes)
    assert course.look(100).held == look.held  # as long as it lies there


def test_a_decision_an_extension_or_another_roster_is_read_without_a_new_download(course, tmp_path):
    exchange(tmp_path / "in" / "week.zip", ann="2026-03-16 10:00:00 UTC", guest="2026-03-14 10:00:00 UTC")
    assert [line.partition(":")[0] for line in course.settled().held] == ["guest"]
    (tmp_path / "in" / "decisions.csv").write_text("handin,student\nguest,ben\n")
    look = course.settled()
    assert sorted(look.ready) == ["ann", "ben"] and look.held == [] and look.other == []
    (tmp_path / "late.csv").write_text("id,extension\nann,2 d\n")
    assert course.settled().late == [] and "ann: due 2026-03-16 23:59:00 UTC for this student" in course.look().notes
    (tmp_path / "roster.csv").write_text(ROSTER.replace("ann", "a1"))
    look = course.settled()  # the extension names nobody any more: nothing is read with it, nothing graded, and that is said
    assert look.ready == {} and "late.csv, line 2" in look.held[0] and (tmp_path / "out" / "handins.csv").read_bytes().count(b"ann")
    (tmp_path / "late.csv").unlink()
    look = course.settled()
    assert [line.partition(":")[0] for line in look.held] == ["ann"] and "decide by hand" in look.held[0]


def test_a_table_that_is_being_written_is_waited_for_and_the_reading_of_before_holds(course, tmp_path):
    exchange(tmp_path / "in" / "week.zip", ann="2026-03-14 10:00:00 UTC", guest="2026-03-14 10:00:00 UTC")
    course.settled()
    (tmp_path / "in" / "decisions.csv").write_text("handin,stu")
    look = course.look(1)
    assert sorted(look.ready) == ["ann", "guest"] and list(look.waiting) == [str(tmp_path / "in" / "decisions.csv")]
    assert course.reads == ["week.zip"]


def test_what_could_not_be_read_for_want_of_room_is_read_at_the_next_look(tmp_path):
    def full(export, folder):
        if len(watched.reads) == 1:
            raise BulkError("No space left. Free some space") from OSError(28, "No space left")
        return read_bulk(export, folder, Known(), "tiny")

    watched = Watched(tmp_path, read=full)
    moodle(tmp_path / "in" / "fcn.zip", Ada="")
    look = watched.settled()
    assert look.ready == {} and look.held == ["fcn.zip: No space left. Free some space"]
    look = watched.look(1)
    assert len(look.ready) == 1 and look.held == []


def test_a_result_whose_download_is_gone_stays_late(course, tmp_path):
    first = exchange(tmp_path / "in" / "one.zip", ann="2026-03-16 10:00:00 UTC")
    course.settled()
    (tmp_path / "out" / "ann").mkdir()
    (tmp_path / "out" / "ann" / "result.json").write_text("{}")
    first.unlink()
    exchange(tmp_path / "in" / "two.zip", ben="2026-03-16 10:00:00 UTC", zoe="2026-03-16 10:00:00 UTC")
    course.settled()
    assert {name: late.penalty for name, late in late_in(tmp_path / "out").items()} == {"ann": "20%", "ben": "20%", "zoe": "20%"}
    (tmp_path / "in" / "two.zip").unlink()
    exchange(tmp_path / "in" / "three.zip", ben="2026-03-14 10:00:00 UTC")
    course.settled()
    assert list(late_in(tmp_path / "out")) == ["ann"]  # ben handed in anew and in time; of zoe there is no result


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
