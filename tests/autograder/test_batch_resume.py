"""A run that was stopped goes on; what did not change is not graded again; a regrade says who changed, and why."""

import csv
import errno
import json
import os

import pytest
from click.testing import CliRunner
from quick_class import QuickJudges, journal_of, timeless
from tiny import DOUBLE, SECRET, TINY, settings, weights, write_submission

from autograder.batch import OutOfSpaceError, grading, keys
from autograder.batch.journal import Journal, read_history
from autograder.batch.resume import look
from autograder.cli import main
from autograder.course.seeds import SECRET_VARIABLE
from autograder.handins.submission import file_sha256
from autograder.judge import grade
from autograder.judge.run import Run
from autograder.sandbox.client import GraderFault

TRIPLE = "def double(values):\n    return values * 3"
NAMES = ("ann", "ben", "cem")


@pytest.fixture
def judges(monkeypatch, tmp_path):
    return QuickJudges(monkeypatch, tmp_path)


def scores(results):
    return {result["submission"]: result["score"] for result in results}


def test_the_journal_says_where_each_submission_was_last_read(judges, tmp_path, monkeypatch):
    paths = judges.write(*NAMES)
    judges.run(paths)
    judges.run(paths)
    (line,) = journal_of(tmp_path / "out", "places")  # once, as nothing moved
    assert line["places"] == {name: f"../{path.relative_to(tmp_path).as_posix()}" for name, path in zip(NAMES, paths, strict=True)}
    inside = tmp_path / "out" / ".handins" / "ben"
    inside.parent.mkdir()
    paths[1].rename(inside)
    monkeypatch.chdir(paths[0].parent)
    judges.run([paths[0].relative_to(paths[0].parent), inside])
    assert judges.graded == []
    assert journal_of(tmp_path / "out", "places")[1:] == [{"do": "places", "places": {"ben": ".handins/ben"}}]
    assert read_history(tmp_path / "out" / "journal.jsonl").places == line["places"] | {"ben": ".handins/ben"}


def test_what_was_graded_is_not_graded_again_and_that_is_said(judges):
    paths = judges.write(*NAMES)
    first = judges.run(paths)
    assert judges.graded == list(NAMES) and not any("before" in line for line in judges.said)
    again = judges.run(paths)
    assert judges.graded == [] and "3 of 3 were graded before, 0 left." in judges.said
    assert again == first


def test_an_interrupted_run_grades_the_rest_and_loses_none(judges):
    paths = judges.write(*NAMES)
    judges.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        judges.run(paths)
    assert any(line.startswith("Interrupted: 2 of 3 submissions") for line in judges.said)
    judges.stop_after = None
    results = judges.run(paths)
    assert judges.graded == ["cem"] and "2 of 3 were graded before, 1 left." in judges.said
    assert [line["name"] for line in journal_of(judges.out)] == list(NAMES)
    assert scores(results) == dict.fromkeys(NAMES, 4) and (judges.out / "index.html").is_file()


def test_a_changed_submission_alone_is_graded_again(judges):
    paths = judges.write(*NAMES)
    judges.run(paths)
    judges.write("ben", code=TRIPLE)
    results = judges.run(paths)
    assert judges.graded == ["ben"] and scores(results) == {"ann": 4, "ben": 1, "cem": 4}
    assert "2 of 3 were graded before, 1 left; again: 1 (submission changed)." in judges.said


@pytest.mark.parametrize(("more", "why"), [
    ({"overrides": {"padding": 103}}, "rubric changed"), ({"secret": "another secret, long"}, "seed changed"),
    ({"data": None}, "data changed"), ({"only": ("double", "question")}, "other checks asked for"),
    ({"seconds": 7.0}, "time limit changed"), ({"predictions": TINY}, "predictions changed"),
])  # fmt: skip
def test_other_conditions_grade_everybody_again(judges, more, why):
    paths = judges.write("ann", "ben")
    judges.run(paths)
    judges.run(paths, **more)
    assert judges.graded == ["ann", "ben"]
    assert f"0 of 2 were graded before, 2 left; again: 2 ({why})." in judges.said


def test_another_kit_grades_everybody_again(judges, monkeypatch):
    paths = judges.write("ann")
    judges.run(paths)
    monkeypatch.setattr(keys, "kit_digest", lambda assignment: "another")
    judges.run(paths)
    assert judges.graded == ["ann"] and any("kit changed" in line for line in judges.said)


def test_the_hash_of_the_checks_sees_a_changed_check_and_no_corpus(tmp_path):
    for name in ("rubric.toml", "prepare.py", "checks/test_tiny.py"):
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text((TINY / name).read_text())

    def key():
        with Run.open(settings(tmp_path / "out", assignment=str(tmp_path / "own"))) as run:
            return keys.run_key(run)

    first = key()
    (tmp_path / "own" / "corpus").mkdir()
    (tmp_path / "own" / "corpus" / "mutants.py").write_text("x = 1")
    assert key() == first
    with (tmp_path / "own" / "checks" / "test_tiny.py").open("a") as file:
        file.write("\nx = 1\n")
    assert keys.changed(first, key()) == ["kit changed"]
    assert SECRET not in json.dumps(first)


def test_a_torn_last_line_costs_that_submission_alone(judges):
    paths = judges.write(*NAMES)
    judges.run(paths)
    journal = judges.out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    at = max(i for i, line in enumerate(lines) if b'"cem"' in line)
    journal.write_bytes(b"".join(lines[:at]) + lines[at][:50])
    judges.run(paths)
    assert judges.graded == ["cem"]
    assert [line["name"] for line in journal_of(judges.out)] == list(NAMES)  # every line can be read: the torn one is gone


@pytest.mark.parametrize("garbage", [b"\0" * 4096 + b"\n", b"[1, 2]\n", b'{"do": "graded"}\n', b'"text"\n', b"\xff\xfe\n"])
def test_damage_in_the_middle_of_the_journal_is_passed_over(judges, garbage):
    paths = judges.write("ann", "ben")
    judges.run(paths)
    journal = judges.out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b'"ann"' in line and b'"graded"' in line)
    journal.write_bytes(b"".join([*lines[:at], garbage, *lines[at + 1 :]]))
    judges.run(paths)
    assert judges.graded == ["ann"]


def test_a_fault_of_the_grader_is_tried_again(judges, monkeypatch):
    paths = judges.write("ann", "ben")

    def fail(run, submission, *more, **others):
        if submission.name == "ann":
            raise GraderFault("no more processes")
        return graded(run, submission, *more, **others)

    graded = grade.grade_submission
    with monkeypatch.context() as patch:
        patch.setattr(grade, "grade_submission", fail)
        assert scores(judges.run(paths)) == {"ann": 0, "ben": 4}
    assert scores(judges.run(paths)) == {"ann": 4, "ben": 4}
    assert judges.graded == ["ann"]
    assert "1 of 2 were graded before, 1 left; again: 1 (could not be graded before)." in judges.said


def test_missing_data_are_no_reason_to_grade_again(judges):
    path = write_submission(judges.root / "submitted" / "ann", checkpoint=weights())
    for _ in range(2):
        (result,) = judges.run([path], data=None, only=("net.accuracy",))
        assert result["checks"][0]["cause"] == "grader.data"
    assert judges.graded == []


def test_a_checkpoint_that_is_found_later_is_graded(judges, tmp_path):
    (path,) = judges.write("ann")
    write_submission(tmp_path / "other", checkpoint=weights())
    file = tmp_path / "other" / "checkpoints" / "dots.safetensors"
    named = {"dots": {"sha256": file_sha256(file), "bytes": file.stat().st_size, "where": "a cloud"}}
    (path / "checkpoints.json").write_text(json.dumps(named))
    judges.run([path])
    judges.run([path])
    assert judges.graded == []
    judges.run([path], checkpoints=tmp_path / "other")
    assert judges.graded == ["ann"]


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "result.json").unlink(), lambda folder: (folder / "result.json").write_text('{"score": 9'),
    lambda folder: (folder / "report.html").unlink(),
])  # fmt: skip
def test_lost_files_come_back_from_the_journal(judges, damage):
    paths = judges.write("ann", "ben")
    first = judges.run(paths)
    damage(judges.out / "ann")
    judges.run(paths)
    assert judges.graded == [] and "ann: its files are written again from the journal." in judges.said
    assert json.loads((judges.out / "ann" / "result.json").read_text()) == first[0]
    assert (judges.out / "ann" / "report.html").is_file()


def test_who_left_the_class_is_on_no_page_and_comes_back_ungraded_again(judges):
    paths = judges.write("ann", "ben")
    judges.run(paths)
    assert scores(judges.run(paths[:1])) == {"ann": 4} and "ben" not in (judges.out / "index.html").read_text()
    judges.run(paths)
    assert judges.graded == []


# ------------------------------------------------------------------------------------------------------------ regrade
def changes(out):
    with (out / "regrade.csv").open(encoding="utf-8-sig", newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


HEAD = ("name", "check", "before", "after", "why")


def test_a_regrade_says_who_changed_and_why(judges):
    paths = judges.write(*NAMES)
    judges.run(paths)
    judges.write("ben", code=TRIPLE)
    judges.run(paths, regrade=True)
    assert judges.graded == list(NAMES)
    assert "All 3 are graded again; results of before stay until the new ones are there." in judges.said
    assert changes(judges.out) == [HEAD, ("ben", "double", "4", "1", "submission changed")]
    table = next(line for line in judges.said if line.startswith("Regraded 3"))
    assert table.splitlines()[0] == "Regraded 3; 1 changed:" and "ben   double  4 -> 1  submission changed" in table
    page = (judges.out / "index.html").read_text()
    assert "Graded again" in page and "submission changed" in page
    judges.run(paths)
    assert judges.graded == [] and "submission changed" in (judges.out / "index.html").read_text(), "it stays until something changes again"


def test_an_ordinary_run_in_which_points_changed_says_so_too(judges):
    paths = judges.write("ann", "ben")
    judges.run(paths)
    assert not (judges.out / "regrade.csv").exists() and "Graded again" not in (judges.out / "index.html").read_text()
    judges.write("ben", code=TRIPLE)
    judges.run(paths)
    assert judges.graded == ["ben"] and changes(judges.out) == [HEAD, ("ben", "double", "4", "1", "submission changed")]
    assert any("ben   double  4 -> 1  submission changed" in line for line in judges.said)
    page = (judges.out / "index.html").read_text()
    assert "Graded again" in page and "submission changed" in page


def test_a_regrade_without_changes_says_so(judges):
    paths = judges.write("ann")
    judges.run(paths)
    judges.run(paths, regrade=True)
    assert "Regraded 1: nobody's points changed." in judges.said and changes(judges.out) == [HEAD]
    assert "Nobody&#39;s points changed" in (page := (judges.out / "index.html").read_text()) or "Nobody's points changed" in page


def test_a_regrade_names_new_checks_and_code_that_is_not_deterministic(judges):
    paths = judges.write("ann")
    write_submission(paths[0], "calls = open('/tmp/none', 'a') if False else []\ndef double(values):\n    import os\n"
                               f"    return values * (2 if os.path.exists({str(judges.root / 'luck')!r}) else 3)", net=None)  # fmt: skip
    judges.run(paths)
    (judges.root / "luck").touch()
    judges.run(paths, regrade=True)
    assert changes(judges.out) == [HEAD, ("ann", "double", "1", "4", "not deterministic")]
    judges.run(paths, regrade=True, only=("double", "question"))
    assert changes(judges.out) == [HEAD, ("ann", "question", "", "none", "other checks asked for")]


def test_a_regrade_that_is_stopped_goes_on_and_compares_with_what_was_before_it(judges):
    paths = judges.write(*NAMES)
    before = judges.run(paths)
    for name in NAMES:
        judges.write(name, code=TRIPLE)
    judges.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        judges.run(paths, regrade=True)
    assert json.loads((judges.out / "cem" / "result.json").read_text()) == before[2]  # still there
    judges.stop_after = None
    judges.run(paths, regrade=True)
    assert judges.graded == ["ben", "cem"]
    assert "1 of 3 were graded again before this regrade was stopped, 2 left." in judges.said
    assert changes(judges.out)[1:] == [(name, "double", "4", "1", "submission changed") for name in NAMES]
    judges.run(paths, regrade=True)  # the last one came to its end: a new one
    assert judges.graded == list(NAMES) and changes(judges.out) == [HEAD]


@pytest.mark.parametrize("stopped_too", [False, True])
def test_an_ordinary_run_ends_a_stopped_regrade(judges, stopped_too):
    paths = judges.write("ann", "ben")
    judges.run(paths)
    judges.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        judges.run(paths, regrade=True)
    judges.stop_after = None
    if stopped_too:
        judges.write("ben", code=TRIPLE)
        judges.stop_after = 0
        with pytest.raises(KeyboardInterrupt):
            judges.run(paths)
        judges.stop_after = None
    else:
        judges.run(paths)
    assert judges.graded == []
    judges.run(paths, regrade=True)
    assert judges.graded == ["ann", "ben"]


def test_regrade_csv_holds_no_formula(judges):
    paths = judges.write("=cmd")
    judges.run(paths)
    judges.write("=cmd", code=TRIPLE)
    judges.run(paths, regrade=True)
    assert changes(judges.out)[1][0] == "'=cmd"


# ---------------------------------------------------------------------------------------------------------- full disk
class FullDisk:
    """``os.write`` of a disk with room for so many bytes."""

    def __init__(self, room):
        self.room, self.write = room, os.write

    def __call__(self, handle, data):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = self.write(handle, bytes(data)[: self.room])
        self.room -= count
        return count


def test_a_journal_on_a_full_disk_is_as_before(tmp_path, monkeypatch):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("run", of=3)
        before = (tmp_path / "journal.jsonl").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", FullDisk(7))
            with pytest.raises(OSError, match="No space left"):
                journal.append("graded", name="ann", key={}, result={})
        assert (tmp_path / "journal.jsonl").read_bytes() == before
        journal.append("end")
    assert [json.loads(line)["do"] for line in (tmp_path / "journal.jsonl").read_bytes().splitlines()] == ["run", "end"]


def test_a_disk_that_fills_up_stops_the_run_with_what_is_graded_and_the_next_one_goes_on(judges, monkeypatch):
    paths = judges.write(*NAMES)
    undisturbed = [timeless(result) for result in judges.run(paths)]
    one = len(next(line for line in (judges.out / "journal.jsonl").read_bytes().splitlines() if b'"ann"' in line and b'"graded"' in line))
    for name in ("journal.jsonl", "index.html"):
        (judges.out / name).unlink()
    with monkeypatch.context() as patch, pytest.raises(OutOfSpaceError) as caught:
        # room for the lock's words, the first line, and one and a half results
        patch.setattr(os, "write", FullDisk(200 + int(1.5 * one)))
        judges.run(paths)
    assert str(judges.out) in str(caught.value) and "1 of 3 submissions are graded, and stay" in str(caught.value)
    assert [line["name"] for line in journal_of(judges.out)] == ["ann"]
    assert not (judges.out / ".grading.lock").exists()
    results = judges.run(paths)
    assert judges.graded == ["ben", "cem"] and [timeless(result) for result in results] == undisturbed


def test_the_command_line_says_that_the_disk_is_full(judges, monkeypatch, tmp_path):
    (path,) = judges.write("ann")
    out = tmp_path / "full"
    out.mkdir()
    monkeypatch.setattr(os, "write", FullDisk(250))
    found = CliRunner().invoke(main, ["grade", str(path), "--out", str(out), "--assignment", str(TINY), "--only", "double"],
                               env={SECRET_VARIABLE: SECRET})  # fmt: skip
    assert found.exit_code == 1 and f"Error: No space left in {out}" in found.output and "0 of 1 submissions" in found.output
    assert "Traceback" not in found.output and not list(out.rglob("*.partial"))


def test_what_a_killed_run_left_half_written_is_removed(judges):
    paths = judges.write("ann")
    judges.run(paths)
    torn = [judges.out / "ann" / ".result.json.partial", judges.out / "ann" / ".report.html.x7", judges.out / ".index.html.q",
            judges.out / ".gates" / "gate-1.lock"]  # fmt: skip
    for path in torn:
        path.write_text("{")
    judges.run(paths)
    assert not [path for path in torn if path.exists()]


def test_a_submission_that_can_no_longer_be_read_is_left_to_a_judge(judges):
    paths = judges.write("ann")
    judges.run(paths)
    paths[0].rename(paths[0].with_name("away"))
    with Run.open(settings(judges.out, only=("double",))) as run, Journal(judges.out / "journal.jsonl") as journal:
        standing = look(run, journal.history(), paths, {paths[0]: "ann"}, keys.run_key(run))
    assert standing.left == paths and standing.why == {"submission changed": 1}


def test_one_result_is_in_the_journal_before_the_next_is_begun(judges, monkeypatch):
    paths = judges.write(*NAMES)
    seen = []
    keep = grading._Class._keep

    def kept(self, path, graded):
        keep(self, path, graded)
        seen.append([line["name"] for line in journal_of(judges.out)])

    monkeypatch.setattr(grading._Class, "_keep", kept)
    judges.run(paths)
    assert seen == [["ann"], ["ann", "ben"], ["ann", "ben", "cem"]]
    assert DOUBLE not in (judges.out / "journal.jsonl").read_text()
