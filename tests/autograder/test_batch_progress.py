"""The estimate of the time left, against runs that are played through on a clock of their own."""

import heapq
import random

import pytest

from autograder.batch import progress
from autograder.batch.progress import Estimate, about


def play(seconds, checkpoints, gate, jobs, monkeypatch, gates=0):
    """Play a run through: ``jobs`` judges, each submission takes its seconds and a gate per checkpoint (``gates`` at once).

    Returns:
        Rows (time, estimate) at each end of a submission, and the time of the last end.
    """
    clock, free, rows = 0.0, [0.0] * jobs, []
    places = [0.0] * gates
    monkeypatch.setattr(progress.time, "time", lambda: clock)
    estimate = Estimate(jobs, {str(n): count for n, count in enumerate(checkpoints)}, gates)
    ends, marks = [], {}
    order = list(enumerate(zip(seconds, checkpoints, strict=True)))
    while order or ends:
        while order and len(ends) < jobs:
            number, (own, count) = order.pop(0)
            begin = heapq.heappop(free)
            end = begin + own
            for _ in range(count):
                end = max(end, heapq.heappop(places) if gates else 0.0) + gate
                heapq.heappush(places, end)
            heapq.heappush(ends, (end, number, own, count))
            marks[str(number)] = {"began": begin, "gate": 0.0, "left": 0.0}
        clock, number, own, count = heapq.heappop(ends)
        heapq.heappush(free, clock)
        del marks[str(number)]
        estimate.finished(str(number), own + count * gate, count * gate)
        rows.append((clock, estimate.seconds(marks)))
    return rows, clock


@pytest.mark.parametrize("jobs", [1, 2, 8])
@pytest.mark.parametrize(("count", "checkpoints", "gate"), [(200, 0, 0.0), (60, 2, 200.0)])
def test_the_estimate_is_right_after_a_tenth_of_the_class(monkeypatch, jobs, count, checkpoints, gate):
    rng = random.Random(7)
    rows, end = play([rng.uniform(2, 5) for _ in range(count)], [checkpoints] * count, gate, jobs, monkeypatch)
    for clock, guess in rows[count // 10 : -count // 5]:
        assert guess == pytest.approx(end - clock, rel=0.2), f"at {clock:.0f} s of {end:.0f} s"


def test_it_knows_that_those_with_checkpoints_come_last(monkeypatch):
    """A mean over all would be far off: fifty quick ones, then ten with a gate each."""
    rows, end = play([3.0] * 60, [0] * 5 + [1] + [0] * 45 + [1] * 9, 100.0, 1, monkeypatch)
    for clock, guess in rows[8:-2]:
        assert guess == pytest.approx(end - clock, rel=0.1)


def test_it_knows_that_gates_wait_for_one_another(monkeypatch):
    rows, end = play([1.0] * 40, [1] * 40, 60.0, 4, monkeypatch, gates=1)
    for clock, guess in rows[3:-5]:
        assert guess == pytest.approx(end - clock, rel=0.15)


def test_nothing_is_guessed_before_anything_is_known_and_a_gate_at_work_is_something():
    estimate = Estimate(1, {"a": 2, "b": 2})
    assert estimate.seconds({}) is None
    now = progress.time.time()
    guess = estimate.seconds({"a": {"began": now - 50, "gate": 200.0, "left": 150.0}})
    assert guess == pytest.approx(4 * 200 - 50, rel=0.01)


@pytest.mark.parametrize(("seconds", "words"), [
    (None, ""), (0.2, "about 5 s left"), (52, "about 50 s left"), (100, "about 2 min left"), (3600, "about 60 min left"),
    (9000, "about 2 h 30 min left"),
])  # fmt: skip
def test_it_is_said_in_round_numbers(seconds, words):
    assert about(seconds) == words
