"""A killed exam goes on where it was; an entry is graded again only when it, or what it depends on, has changed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from autograder.cli.selftest import selftest_command
from autograder.exam import exam
from autograder.exam.entries import Entry
from autograder.exam.exam import sit_exam
from autograder.exam.journal import Journal, entry_key, journal_key
from autograder.exam.sitting import Outcome

REPO = Path(__file__).resolve().parents[2]
ENTRIES = [Entry("mutants", name, checks=("scores",), points={"scores": 2}) for name in ("a", "b", "c")]


def outcome(entry: Entry, **more) -> Outcome:
    verdict = {"id": "scores", "points": 2, "cause": "iou.recall", "message": "recall, größer", "measured": None, "status": "partial"}
    return Outcome(entry, exact=True, caught=True, named=True, verdicts=[verdict], notes=["n"], seconds=1.5, **more)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "build" / "fcn.jsonl"


def write(path: Path, *outcomes: Outcome, key: str = "k", **more) -> None:
    with Journal(path, key, path.parent, **more) as journal:
        for found in outcomes:
            journal.add(found)


def known(path: Path, entries=ENTRIES, key: str = "k", **more) -> dict[int, Outcome]:
    with Journal(path, key, path.parent, **more) as journal:
        return journal.known(entries)


def test_outcomes_come_back_whole(path):
    write(path, outcome(ENTRIES[1], parity=True))
    assert known(path) == {1: outcome(ENTRIES[1], parity=True)}


def test_another_hash_makes_all_outcomes_old(path):
    write(path, outcome(ENTRIES[0]))
    assert known(path, key="other") == {}


def test_a_changed_entry_is_sat_again_and_the_others_are_not(path):
    write(path, outcome(ENTRIES[0]), outcome(ENTRIES[1]))
    changed = [dataclasses.replace(ENTRIES[0], points={"scores": 3}), *ENTRIES[1:]]
    assert list(known(path, changed)) == [1]


def test_fresh_forgets(path):
    write(path, outcome(ENTRIES[0]))
    assert known(path, fresh=True) == {} and known(path) == {}


def test_a_surprise_is_sat_again_and_that_is_said(path):
    write(path, outcome(ENTRIES[0], problem="got 4"), outcome(ENTRIES[1]))
    with Journal(path, "k", path.parent) as journal:
        assert list(journal.known(ENTRIES)) == [1] and journal.retried == ["mutants/a"]


def test_a_torn_line_costs_its_entry_alone(path):
    write(path, outcome(ENTRIES[0]), outcome(ENTRIES[1]))
    path.write_bytes(path.read_bytes()[:-40])
    assert list(known(path)) == [0]
    write(path, outcome(ENTRIES[2]))
    assert list(known(path)) == [0, 2]


def test_the_code_that_builds_an_entry_counts_and_its_neighbours_do_not(tmp_path):
    function = "@damaged(DATA)\ndef {}(folder, notebooks):\n    return {}\n\n\n"
    code = "HELPER = 1\n\n" + function.format("one", 1) + function.format("two", 2)
    entry = Entry("damaged", "one", build="corpus.damage:one")
    keys = []
    for old, new in (("", ""), ("return 2", "return 3"), ("return 1", "return 4"), ("HELPER = 1", "HELPER = 2")):
        (tmp_path / "damage.py").write_text(code.replace(old, new))
        keys.append(entry_key(entry, tmp_path))
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_the_corpus_is_no_part_of_the_common_key_and_the_rest_is():
    parts, how = {"corpus": "1", "checks": "2"}, {"seen": True}
    assert journal_key(parts | {"corpus": "9"}, how) == journal_key(parts, how)
    assert len({journal_key(parts, how), journal_key(parts | {"checks": "9"}, how), journal_key(parts, {"seen": False})}) == 3


def test_known_entries_are_not_graded_and_keep_their_place(path, monkeypatch):
    write(path, outcome(ENTRIES[1]))
    graded = []

    def sit(entries, settings, source, jobs, with_seen, tell, with_parity):
        graded.extend(entry.name for entry in entries)
        found = [outcome(entry) for entry in entries]
        for one in found:
            tell(one)
        return found

    monkeypatch.setattr(exam, "sit", sit)
    with Journal(path, "k", path.parent) as journal:
        found = sit_exam(ENTRIES, "fcn", REPO, journal=journal)
    assert graded == ["a", "c"] and [one.entry.name for one in found] == ["a", "b", "c"]
    assert len(known(path)) == 3


# ------------------------------------------------------------------------------------------------------ the whole command
KILLED = """
import sys
from autograder.cli import selftest as command
from autograder.exam import exam, entries
names = {"iou-recall", "label-not-shifted", "hist-no-mask", "mean-micro", "label-convert-l", "absent-class-by-epsilon"}
choose = exam.choose
exam.choose = lambda *arguments: [e for e in choose(*arguments) if e.kind == "mutants" and e.name in names]
command.selftest_command(["fcn", "--all", "--only", "-", "--journal", sys.argv[1], "--verbose"])
"""


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


@pytest.mark.slow
def test_a_killed_exam_goes_on_without_repeating_or_losing_an_entry(path):
    """SIGKILL to the whole command after its first outcomes; no judge stays behind."""
    command = [sys.executable, "-c", KILLED, str(path)]
    first = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    limit = time.monotonic() + 600
    while len(lines(path)) < 2 and first.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first.pid)], capture_output=True, text=True).stdout.split()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = [line["name"] for line in lines(path)]
    assert 2 <= len(before) < 6 and children
    second = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert second.returncode == 0, second.stdout + second.stderr
    after = [line["name"] for line in lines(path)]
    assert after[: len(before)] == before and len(after) == len(set(after)) == 6
    assert "6 entries, 0 surprises" in second.stdout
    again = [name for name in before if f"ok  {name} " in second.stdout]
    assert again == [], "graded twice"
    alive = [pid for pid in children if Path("/proc", pid).exists() and "Z" not in Path("/proc", pid, "stat").read_text().split()[2]]
    assert alive == []


# ------------------------------------------------------------------------------------------------- storing the verdict
@pytest.fixture
def quick_exam(monkeypatch, tmp_path):
    """The command with an exam of one entry, and an assignment's folder of its own to store its verdict in."""
    material = tmp_path / "material"
    (material / "corpus").mkdir(parents=True)
    problem = {"text": ""}
    monkeypatch.setattr(exam, "choose", lambda *arguments: ENTRIES[:1])
    monkeypatch.setattr(exam, "sit_exam", lambda entries, *a, **k: [outcome(entry, problem=problem["text"]) for entry in entries])
    monkeypatch.setattr("autograder.exam.verdict.verdict_file", lambda folder: material / "corpus" / "verdict.json")

    def run(*arguments: str):
        done = CliRunner().invoke(selftest_command, ["fcn", "--journal", str(tmp_path / "j.jsonl"), *arguments])
        file = material / "corpus" / "verdict.json"
        return done, json.loads(file.read_text()) if file.is_file() else None

    return run, problem


def test_a_complete_exam_stores_its_verdict(quick_exam):
    done, verdict = quick_exam[0]("--all")
    assert done.exit_code == 0, done.output
    assert verdict["valid"] is True and verdict["entries"] == 1 and set(verdict["parts"]) >= {"checks", "rubric", "corpus"}
    assert "Valid: the verdict is stored in" in done.output


def test_a_surprise_is_stored_as_invalid_and_ends_with_1(quick_exam):
    run, problem = quick_exam
    problem["text"] = "got 4"
    done, verdict = run("--all")
    assert done.exit_code == 1 and verdict["valid"] is False and verdict["surprises"] == ["mutants/a"]
    assert "NOT valid" in done.output


@pytest.mark.parametrize("arguments", [[], ["--all", "--only", "a"], ["--all", "--kind", "mutants"], ["--all", "--every", "9"],
                                       ["--all", "--no-seen"], ["--parity"]])  # fmt: skip
def test_an_exam_in_part_stores_none(quick_exam, arguments):
    done, verdict = quick_exam[0](*arguments)
    assert done.exit_code == 0 and verdict is None


def test_files_that_change_during_the_exam_are_noticed(quick_exam, monkeypatch):
    from autograder.exam import command

    hashes = iter([{"checks": "1", "corpus": "2"}, {"checks": "3", "corpus": "2"}])
    monkeypatch.setattr(command, "_parts", lambda *arguments: next(hashes))
    done, verdict = quick_exam[0]("--all")
    assert done.exit_code == 1 and verdict is None and "While the exam was sat these have changed: checks." in done.output


def test_two_exams_do_not_write_to_one_journal(quick_exam, tmp_path):
    from autograder.sandbox.locks import try_lock

    handle = try_lock(tmp_path / "j.lock")
    done, _ = quick_exam[0]("--all")
    os.close(handle)
    assert done.exit_code == 1 and "Another exam is writing to" in done.output
