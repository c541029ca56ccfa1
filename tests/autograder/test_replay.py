"""One submission graded over several ways: the same questions cost one worker, other questions get their own answers."""

import pytest
from tiny import DOUBLE, open_run, write_submission

from autograder.exam.replay import Tape
from autograder.handins.submission import read_submission
from autograder.judge.grade import grade_path
from autograder.sandbox.client import RemoteSubject

DIES = "import os\n\ndef double(values):\n    os._exit(3)\n"
COUNTS = "def double(values, seen=[]):\n    seen.append(values)\n    return len(seen)\n"
TRIPLE = DOUBLE.replace("* 2", "* 3")


@pytest.fixture
def started(monkeypatch):
    """Each worker that was started."""
    workers, start = [], RemoteSubject._start
    monkeypatch.setattr(RemoteSubject, "_start", lambda self: (workers.append(self), start(self))[1])
    return workers


def verdicts(result):
    return [(check["id"], check["points"], check["cause"], check["message"]) for check in result["checks"]]


@pytest.mark.parametrize("double", [DOUBLE, TRIPLE, DIES])
def test_a_second_way_gives_the_same_verdicts_without_a_worker(tmp_path, started, double):
    path, tape = write_submission(tmp_path / "alice", double), Tape()
    with open_run(tmp_path / "out") as run:
        plain = verdicts(grade_path(run, path, "alice"))
        assert verdicts(grade_path(run, path, "alice", handover=tape)) == plain
        asked = len(started)
        assert verdicts(grade_path(run, path, "alice", handover=tape)) == plain and len(started) == asked


def asked(tape, run, path, *values):
    submission = read_submission(path, path.name, run.rubric)
    with tape.open(run.worker_settings()) as subject:
        subject.define(submission.workbook.program(submission.workbook.find("double")))
        return [int(subject.call("double", value)) for value in values]


def test_other_code_gets_a_worker_of_its_own_and_its_own_answers(tmp_path, started):
    right, wrong, tape = write_submission(tmp_path / "a"), write_submission(tmp_path / "b", TRIPLE), Tape()
    with open_run(tmp_path / "out") as run:
        assert asked(tape, run, right, 5, 7) == [10, 14] == asked(tape, run, right, 5, 7) and len(started) == 1
        assert asked(tape, run, wrong, 5, 7) == [15, 21] and len(started) == 2


def test_a_way_that_goes_on_where_the_tape_ends_is_answered_as_if_it_had_asked_everything(tmp_path, started):
    path, tape = write_submission(tmp_path / "a", COUNTS), Tape()
    with open_run(tmp_path / "out") as run:
        assert asked(tape, run, path, 0, 0) == [1, 2] and asked(tape, run, path, 0, 0, 0) == [1, 2, 3] and len(started) == 2
