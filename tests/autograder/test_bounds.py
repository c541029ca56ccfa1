"""What a hand-in can cost the judge, in time and memory: attempts to make it cost more."""

import time
from pathlib import Path

import pytest

from autograder.sandbox.client import RemoteSubject, WorkerSettings
from segkit.subject import StudentError


class Slow(RemoteSubject):
    """A subject whose worker takes its time, by a clock that the test moves."""

    def __init__(self, monkeypatch, each: float, **limits: float) -> None:
        super().__init__(WorkerSettings("process", Path("edition"), **limits))
        self.now, self.asked, self.started, self.each = 0.0, 0, 0, each
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def _exchange(self, do: str, arguments: dict, seconds: float) -> dict:
        self.asked += 1
        self.now += min(self.each, seconds)
        if self.each > seconds:
            self.close()
            raise StudentError(f"no answer within {seconds:.0f} s", "code.timeout")
        return {"ok": True, "value": None}

    def _start(self) -> None:
        self.started += 1
        self._process = object()

    def close(self) -> None:
        self._process = None


def asked(subject: RemoteSubject, times: int) -> list[StudentError]:
    errors = []
    for _ in range(times):
        try:
            subject.call("f")
        except StudentError as error:
            errors.append(error)
    return errors


@pytest.mark.parametrize("each", [59.0, 61.0])
def test_all_answers_of_a_hand_in_together_have_a_limit(monkeypatch, each):
    subject = Slow(monkeypatch, each)
    errors = asked(subject, 208)
    assert subject.waited == subject.now == 900 and subject.asked == 16 - (each > 60)
    assert {error.cause for error in errors} == {"code.timeout"} and subject.started <= 15
    assert "900 s together, so no more was asked" in str(errors[-1])


def test_the_judges_own_network_may_take_longer(monkeypatch):
    subject = Slow(monkeypatch, 59.0)
    subject.strange = False
    assert asked(subject, 208) == []


def test_a_training_has_its_own_time(monkeypatch):
    subject = Slow(monkeypatch, 50.0, total_seconds=40.0)
    subject._timed("retrain", {}, 100.0)
    assert subject.waited == 0
