"""The stored verdict: a killed exam goes on where it was, and a complete one is summed up and counts until something changes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from autograder.cli.selftest import selftest_command
from autograder.exam import complete, verdict
from autograder.exam.complete import Exam, ExamError
from autograder.exam.entries import Entry
from autograder.exam.outcome import Outcome
from autograder.exam.table import format_due
from autograder.exam.verdict import VERDICT, Verdicts, read_summary
from autograder.sandbox.locks import try_lock

REPO = Path(__file__).resolve().parents[2]
ENTRIES = [Entry("mutants", name, checks=("scores",), lost={"scores": {"iou": 1.0}}) for name in ("a", "b", "c")]


class FakeKeys:
    """Keys of entries by name; ``version`` stands for all that they depend on."""

    def __init__(self, version: str = "1") -> None:
        self.version = version

    def of(self, entry: Entry) -> str:
        return f"{self.version}-{entry.kind}-{entry.name}-{entry.lost}"

    def caught(self, entry: Entry) -> dict[str, str]:
        return {check: f"{self.version}-{entry.name}-by-{check}" for check in entry.checks} if entry.kind == "generated" else {}

    def ways(self, entry: Entry) -> str:
        """A version of checks stands behind a point: it changes nothing of the grader."""
        return f"{self.version.partition('.')[0]}-{entry.kind}-{entry.name}"


def outcome(entry: Entry, **more) -> Outcome:
    return Outcome(entry, exact=True, caught=True, named=True, seconds=1.5, **more)


@pytest.fixture(autouse=True)
def machine(monkeypatch) -> SimpleNamespace:
    """Two cores that nobody else uses."""
    state = SimpleNamespace(load=0.0)
    monkeypatch.setattr(verdict, "CORES", 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (state.load, 0.0, 0.0), raising=False)
    return state


@pytest.fixture
def material(tmp_path) -> Path:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.toml").write_text("")
    return tmp_path


def verdicts(material: Path, entries=ENTRIES, version: str = "1", **more) -> Verdicts:
    return Verdicts(material, entries, FakeKeys(version), **more)


def write(material: Path, *outcomes: Outcome) -> None:
    known = verdicts(material)
    for found in outcomes:
        known.add(found)
    known.close()


def left(known: Verdicts) -> list[str]:
    return [entry.name for entry in known.left]


def test_outcomes_come_back_as_tables_need_them(material):
    write(material, outcome(ENTRIES[1], parity=True, points_lost=0.5))
    assert verdicts(material).known == {1: outcome(ENTRIES[1], parity=True, points_lost=0.5)}


def test_what_depends_on_something_else_now_is_left_to_sit(material):
    write(material, *map(outcome, ENTRIES))
    assert left(verdicts(material)) == [] and left(verdicts(material, version="2")) == ["a", "b", "c"]


def test_a_changed_entry_is_sat_again_and_the_others_are_not(material):
    write(material, *map(outcome, ENTRIES))
    assert left(verdicts(material, [dataclasses.replace(ENTRIES[0], lost={"scores": "all"}), *ENTRIES[1:]])) == ["a"]


def test_fresh_forgets(material):
    write(material, *map(outcome, ENTRIES))
    assert left(verdicts(material, fresh=True)) == ["a", "b", "c"]


def test_a_surprise_is_not_kept(material):
    write(material, outcome(ENTRIES[0], problem="got 4"), outcome(ENTRIES[1]))
    assert left(verdicts(material)) == ["a", "c"]


@pytest.mark.parametrize("torn", [b'{"entry": "mutants/c", "ke', b"[1]\n", b"\xff\n"])
def test_a_torn_line_costs_its_entry_alone(material, torn):
    write(material, outcome(ENTRIES[0]), outcome(ENTRIES[1]))
    path = material / VERDICT
    path.write_bytes(path.read_bytes() + torn)
    assert left(verdicts(material)) == ["c"]
    write(material, outcome(ENTRIES[2]))
    assert left(verdicts(material)) == []


def test_a_complete_exam_is_summed_up_in_the_order_of_its_entries_and_old_lines_go(material):
    write(material, *(outcome(entry) for entry in reversed(ENTRIES)))
    known = verdicts(material, ENTRIES[:2])
    summary = known.sum_up([known.known[0], known.known[1]], {"isolation": "landlock"})
    lines = [json.loads(line) for line in (material / VERDICT).read_bytes().splitlines()]
    assert lines[0] == json.loads(json.dumps(summary)) == read_summary(material) and summary["entries"] == 2
    assert [line["entry"] for line in lines[1:]] == ["mutants/a", "mutants/b"]
    assert left(verdicts(material, ENTRIES[:2])) == []


def test_how_long_it_takes_is_what_it_took(material):
    write(material, *(dataclasses.replace(outcome(entry), seconds=120.0) for entry in ENTRIES[:2]))
    assert verdicts(material, version="2").minutes(jobs=2) == pytest.approx(3.0)  # the third as long as its kind


def test_more_judges_than_cores_promise_no_shorter_exam(material):
    write(material, *(dataclasses.replace(outcome(entry), seconds=120.0) for entry in ENTRIES))
    assert [verdicts(material, version="2").minutes(jobs) for jobs in (1, 2, 8)] == pytest.approx([6.0, 3.0, 3.0])


def test_an_exam_beside_other_work_does_not_make_the_next_one_look_longer(material, machine):
    machine.load = 8.0  # each program has a quarter of a core
    write(material, *(dataclasses.replace(outcome(entry), seconds=480.0) for entry in ENTRIES))
    machine.load = 0.5
    assert verdicts(material, version="2").minutes(jobs=1) == pytest.approx(6.0)


# -------------------------------------------------------------------------------------------------------- the exam itself
@pytest.fixture
def exam(material, monkeypatch):
    """An exam of three entries whose judges are quick; ``sat`` lists what they were given."""
    state = SimpleNamespace(sat=[], problem={}, version="1", after=lambda: None)

    def sit_exam(entries, assignment, root, *, jobs, with_parity, tell):
        found = [outcome(entry, problem=state.problem.get(entry.name, "")) for entry in entries]
        for one in found:
            state.sat.append(one.entry.name)
            tell(one)
        state.after()
        return found

    monkeypatch.setattr(complete, "choose", lambda *arguments: ENTRIES)
    monkeypatch.setattr(complete, "sit_exam", sit_exam)
    monkeypatch.setattr(complete, "Keys", lambda *arguments: FakeKeys(state.version))
    state.open = lambda **more: Exam(material, "fcn", material, **more)
    return state


def quiet(found: Outcome) -> None:
    pass


def test_known_entries_are_not_graded_and_keep_their_place(exam, material):
    write(material, outcome(ENTRIES[1]))
    opened = exam.open()
    found = opened.sit(1, quiet)
    assert opened.left == [] and exam.sat == ["a", "c"] and [one.entry.name for one in found] == ["a", "b", "c"]
    assert exam.open().left == [] and "3 entries, no surprise" in exam.open().words(1)


def test_what_must_be_sat_is_said_with_its_kinds_and_how_long(exam, material):
    write(material, *(dataclasses.replace(outcome(entry), seconds=300.0) for entry in ENTRIES))
    exam.version = "2"
    assert exam.open().words(2) == "The grader's exam: 3 of 3 entries depend on what has changed (3 mutants): about 8 minutes."


def test_with_a_surprise_the_exam_is_not_summed_up_and_only_that_entry_is_sat_again(exam, material):
    exam.problem = {"b": "got 4"}
    assert [one.problem for one in exam.open().sit(1, quiet)] == ["", "got 4", ""]
    assert read_summary(material) is None and [entry.name for entry in exam.open().left] == ["b"]
    exam.problem = {}
    exam.open().sit(1, quiet)
    assert exam.sat == ["a", "b", "c", "b"] and read_summary(material)["entries"] == 3


def test_files_that_change_during_the_exam_are_noticed_and_nothing_is_kept(exam, material):
    write(material, outcome(ENTRIES[0]))
    exam.after = lambda: setattr(exam, "version", "2")
    with pytest.raises(ExamError, match="While the exam was sat, files that it depends on have changed"):
        exam.open().sit(1, quiet)
    exam.version = "1"
    assert [entry.name for entry in exam.open().left] == ["b", "c"]


def test_two_exams_do_not_write_at_once(exam, material):
    (material / "build" / "selftest").mkdir(parents=True)
    handle = try_lock(material / "build" / "selftest" / "fcn.lock")
    with pytest.raises(ExamError, match="Another exam of fcn is being sat"):
        exam.open().sit(1, quiet)
    os.close(handle)
    exam.open().sit(1, quiet)


# ------------------------------------------------------------------------------------------------------ the whole command
@pytest.fixture
def command(exam, material, monkeypatch):
    monkeypatch.setattr("autograder.course.assignment.open_assignment", lambda name: SimpleNamespace(folder=material))
    monkeypatch.setattr("autograder.course.sources.repository", lambda: material)
    return lambda *arguments: CliRunner().invoke(selftest_command, ["fcn", *arguments])


def test_a_complete_exam_keeps_its_verdict(command, material):
    done = command("--all")
    assert done.exit_code == 0 and "Valid: the verdict is kept in" in done.output and read_summary(material)["entries"] == 3


def test_all_ways_grade_again_what_the_grader_changes_and_one_in_four_of_what_a_check_changes(material):
    many = [dataclasses.replace(ENTRIES[0], name=f"m{number}") for number in range(200)]
    known = verdicts(material, many)
    assert all(known.may_differ(entry) for entry in many)
    for entry in many:
        known.add(outcome(entry, parity=True))
    known.close()
    another_check, another_grader = verdicts(material, many, "1.1"), verdicts(material, many, "2")
    assert left(another_check) == left(another_grader) == [entry.name for entry in many]
    assert 30 < sum(another_check.may_differ(entry) for entry in many) < 70
    assert all(another_grader.may_differ(entry) for entry in many)
    assert all(verdicts(material, many, "1.1", fresh=True).may_differ(entry) for entry in many)


def test_what_the_ways_agreed_on_before_is_still_known_when_a_check_changes(material):
    write(material, outcome(ENTRIES[0], parity=True), outcome(ENTRIES[1]))
    known = verdicts(material, version="1.1")
    for entry in ENTRIES[:2]:
        known.add(outcome(entry))
    known.close()
    assert [found.parity for found in verdicts(material, version="1.1").known.values()] == [True, None]
    assert [found.parity for found in verdicts(material, version="1.1").known.values()] == [True, None]


def test_a_generated_mutant_is_known_by_the_check_that_caught_it(tmp_path):
    entry = Entry("generated", "g", checks=("a", "b"))
    verdicts = Verdicts(tmp_path, [entry], FakeKeys())
    (tmp_path / "corpus").mkdir()
    verdicts.add(outcome(entry, by="b"))
    verdicts.close()

    class Changed(FakeKeys):
        """What check ``stale`` is made of has changed, and with it the key of the whole."""

        def __init__(self, stale: str) -> None:
            super().__init__("1")
            self.stale = stale

        def of(self, entry: Entry) -> str:
            return "new"

        def caught(self, entry: Entry) -> dict[str, str]:
            return {name: key + ("-new" if name == self.stale else "") for name, key in super().caught(entry).items()}

    assert Verdicts(tmp_path, [entry], Changed("a")).left == []
    assert Verdicts(tmp_path, [entry], Changed("b")).left == [entry]


def test_a_surprise_ends_with_1_and_is_told(command, exam, material):
    exam.problem = {"a": "got 4"}
    done = command("--all")
    assert done.exit_code == 1 and "SURPRISE  mutants/a: got 4" in done.output and "Valid" not in done.output


@pytest.mark.parametrize("whole", ["--all", "--due"])
@pytest.mark.parametrize("arguments", [["--only", "a"], ["--kind", "mutants"], ["--every", "9"]])
def test_a_complete_exam_in_part_is_bad_usage(command, whole, arguments):
    done = command(whole, *arguments)
    assert done.exit_code == 2 and "--all is the complete exam" in done.output


def test_what_is_due_is_named_and_not_sat(command, exam, material):
    write(material, outcome(ENTRIES[1]))
    done = command("--due")
    assert done.exit_code == 0 and exam.sat == [] and read_summary(material) is None
    assert "2 of 3 entries depend on what has changed" in done.output and done.output.endswith("mutants: a, c\n")


def test_where_nothing_is_due_it_says_so(command, material):
    write(material, *map(outcome, ENTRIES))
    assert command("--due").output == "The grader's exam was passed: 3 entries, no surprise.\n"


def test_of_a_long_list_of_what_is_due_the_first_names_are_shown():
    many = [Entry("generated", f"m{number}") for number in range(43)]
    assert format_due([*many, ENTRIES[0]]).splitlines() == ["mutants: a", f"generated: {', '.join(f'm{n}' for n in range(40))} and 3 more"]


KILLED = """
import sys
from pathlib import Path
from autograder.cli import selftest as command
from autograder.exam import complete, verdict
names = {"iou-recall", "label-not-shifted", "mean-micro"}
choose = complete.choose
complete.choose = lambda folder, source, kinds, *more: [e for e in choose(folder, source, ["mutants"]) if e.name in names]
verdict.VERDICT = Path(sys.argv[1])
command.selftest_command(["fcn", "--all", "--verbose"])
"""


def lines(path: Path) -> list[str]:
    found = [json.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []
    return [line["entry"] for line in found if "entry" in line]


@pytest.mark.slow
def test_a_killed_exam_goes_on_without_repeating_or_losing_an_entry(tmp_path):
    """SIGKILL to the whole command after its first outcome; no judge stays behind."""
    path = tmp_path / "verdict.jsonl"
    command = [sys.executable, "-c", KILLED, str(path)]
    first = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    limit = time.monotonic() + 600
    while len(lines(path)) < 1 and first.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first.pid)], capture_output=True, text=True).stdout.split()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = lines(path)
    assert 1 <= len(before) < 3 and children
    second = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert second.returncode == 0, second.stdout + second.stderr
    after = lines(path)
    assert set(before) <= set(after) and len(after) == len(set(after)) == 3
    assert "3 entries, 0 surprises" in second.stdout
    again = [name for name in before if f"ok  {name} " in second.stdout]
    assert again == [], "graded twice"
    alive = [pid for pid in children if Path("/proc", pid).exists() and "Z" not in Path("/proc", pid, "stat").read_text().split()[2]]
    assert alive == []
