"""Whatever goes wrong in writing one result, the others of the class are graded and written."""

import errno
import json
import os
import shutil

import pytest
import quick_class
from quick_class import QuickJudges, journal_of
from tiny import DOUBLE, grade_class, settings, write_submission

from autograder.batch import pool
from autograder.batch.journal import Journal
from autograder.judge.grade import grade_path
from autograder.judge.run import Run

LATIN = os.fsdecode(b"M\xfcller")


@pytest.fixture
def judges(monkeypatch, tmp_path):
    return QuickJudges(monkeypatch, tmp_path)


def read(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_folders_and_files_that_are_no_utf8_are_graded_like_others(tmp_path):
    """As after `unzip` of a zip with Latin-1 names; two of them look the same once they can be printed."""
    work = tmp_path / "in"
    paths = [write_submission(work / name, DOUBLE, net=None) for name in (LATIN, "bob", os.fsdecode(b"M\xf6ller"))]
    (paths[0] / os.fsdecode(b"\xfc.ipynb")).write_text("no notebook")
    (work / os.fsdecode(b"\xe4.zip")).write_bytes(b"no zip")
    results, said = grade_class([*paths, work / os.fsdecode(b"\xe4.zip")], tmp_path / "out", only=("double",), data=None)
    assert [(result["submission"], result["score"]) for result in results] == [("M_ller", 4), ("bob", 4), ("M_ller_2", 4), ("_", 0)]
    for result in results:
        assert read(tmp_path / "out" / result["submission"]) == result
        assert (tmp_path / "out" / result["submission"] / "report.html").is_file()
    assert [line["result"] for line in journal_of(tmp_path / "out")] == results
    "\n".join(said).encode()  # whatever is said can be printed
    assert "died" not in "".join(said) and "could not be graded" not in "".join(said)


def test_lone_surrogates_in_a_result_are_replaced_and_its_checks_stay(judges, monkeypatch):
    """Of all kinds: as of bytes in a name, and as a student's code can print them."""

    def spoilt(run, path, name, **more):
        result = grade_path(run, path, name, **more)
        if name == "ann":
            result["notes"] = ["\udcfc.ipynb", "\ud800"]
            result["checks"][0]["message"] = "got \ud83d and \udcff"
        return result

    paths = judges.write("ann", "ben")
    monkeypatch.setattr(quick_class, "grade_path", spoilt)
    results = judges.run(paths)
    assert [result["score"] for result in results] == [4, 4]
    assert results[0]["notes"] == ["\ufffd.ipynb", "\ufffd"] and results[0]["checks"][0]["message"] == "got \ufffd and \ufffd"
    assert read(judges.out / "ann") == results[0] == journal_of(judges.out)[0]["result"]
    assert judges.run(paths) == results and judges.graded == []


def test_a_grader_that_fails_with_unprintable_words_gives_a_result(tmp_path):
    said = []
    with Run.open(settings(tmp_path / "out", data=None)) as run:
        found = pool.not_graded(run, "ann", "OSError: \udcfc", said.append)
    assert said == ["ann: could not be graded: OSError: \ufffd"]
    assert read(tmp_path / "out" / "ann") == found.result


def test_a_result_that_cannot_be_written_at_all_is_said_and_the_others_are_graded(tmp_path, monkeypatch):
    def fails(*_):
        raise UnicodeEncodeError("utf-8", "\udcfc", 0, 1, "surrogates not allowed")

    said = []
    monkeypatch.setattr(pool, "write_result", fails)
    with Run.open(settings(tmp_path / "out", data=None)) as run:
        found = pool.not_graded(run, "ann", "it broke", said.append)
    assert {check["cause"] for check in found.result["checks"]} == {"grader.fault", None}
    assert said[0] == "ann: could not be graded: it broke"
    assert said[1].startswith("ann: its result could not be written: UnicodeEncodeError")


def test_a_full_disk_still_ends_the_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pool, "write_result", full)
    with Run.open(settings(tmp_path / "out", data=None)) as run, pytest.raises(OSError, match="No space left"):
        pool.not_graded(run, "ann", "it broke", print)


def test_a_result_that_cannot_be_restored_stops_nobody(judges):
    paths = judges.write("ann", "ben", "cem")
    first = judges.run(paths)
    for name in ("ann", "cem"):
        shutil.rmtree(judges.out / name)
    (judges.out / "ann").write_text("a file in the place of the folder")
    assert judges.run(paths) == first and judges.graded == []
    assert any(line.startswith("ann: its result could not be written: FileExistsError") for line in judges.said)
    assert "cem: its files are written again from the journal." in judges.said
    assert read(judges.out / "cem") == first[2]


def test_a_result_that_the_journal_cannot_hold_stops_nobody(judges, monkeypatch):
    append = Journal.append

    def fails(journal, do, **content):
        if content.get("name") == "ann":
            raise ValueError("what is this?")
        append(journal, do, **content)

    monkeypatch.setattr(Journal, "append", fails)
    paths = judges.write("ann", "ben")
    assert [result["score"] for result in judges.run(paths)] == [4, 4]
    assert [line["name"] for line in journal_of(judges.out)] == ["ben"] and (judges.out / "summary.csv").is_file()
    assert [line for line in judges.said if "what is this?" in line and line.startswith("ann: ") and "next run grades it again" in line]


def test_the_journal_can_be_read_whatever_was_written(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("graded", name="\udcfc\ud800", key={}, result={})
        assert len(journal.history().latest) == 1


@pytest.mark.slow
def test_judges_that_cannot_begin_point_to_what_the_terminal_says(tmp_path, monkeypatch):
    """The reason was written there by the judge process; this one knows only that it ended."""
    monkeypatch.setattr(pool, "_attach", int)  # fails as an initializer
    results, said = grade_class([write_submission(tmp_path / "ann", DOUBLE, net=None)], tmp_path / "out", only=("double",), data=None)
    (line,) = [line for line in said if "died" in line]
    assert "twice" in line and "out of memory" in line and "above" in line
    assert line.partition("could not be graded: ")[2] in results[0]["checks"][0]["message"]
