"""A worker's answers, kept and given again where the same questions are asked in the same order.

Grading one submission over several ways costs one worker then. A way that asks otherwise, or of other code, gets a worker of
its own: it is asked everything that was asked before, and from there on answers itself.
"""

import copy
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autograder.judge.checking import Grading
from autograder.judge.student import Student
from autograder.sandbox.client import RemoteSubject, WorkerSettings
from autograder.sandbox.verbs import VERBS as QUESTIONS
from segkit.subject import StudentError

__all__ = ["ReplayedSubject", "Tape", "Taped"]

Maps = dict[str, np.ndarray]


class Tape:
    """Answers of one submission: hash of all questions so far -> answer or error, and the worker's generation after it.

    Attributes:
        asked: How many questions a worker was asked.
        replayed: How many were answered from the tape.
    """

    def __init__(self) -> None:
        self.answers: dict[bytes, tuple[Any, StudentError | None, int]] = {}
        self.asked = self.replayed = 0


class Taped:
    """Grades by way of a tape: what ``grade_submission`` takes as ``handover``.

    Args:
        tape: What is known already; grows.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    needs_checkpoints = True

    def open(self, settings: WorkerSettings) -> "ReplayedSubject":
        return ReplayedSubject(self.tape, settings)

    @staticmethod
    def watch(progress: Callable[..., None] | None) -> Callable[..., None] | None:
        return progress

    @staticmethod
    def gate(
        student: Student, grading: Grading, code: tuple[str, str], checkpoint: str, sha256: str, measure: Callable[[], Maps], exact: bool
    ) -> Maps:
        """Measure: a gate's worker is asked on every way, but for label maps that the run has kept."""
        return measure()

    @staticmethod
    def sign(result: dict[str, Any]) -> dict[str, Any]:
        return result


class ReplayedSubject:
    """Stands in for a ``RemoteSubject``.

    Args:
        tape: What is known already; grows.
        settings: How to start a worker, should one be needed.
        checkpoints: Name -> checkpoint file.
        make: Makes the subject behind it.
    """

    def __init__(
        self, tape: Tape, settings: WorkerSettings, checkpoints: Mapping[str, Any] | None = None,
        make: Callable[..., Any] = RemoteSubject,
    ) -> None:  # fmt: skip
        self.tape, self.settings = tape, settings
        self.generation = 0
        self._make = functools.partial(make, settings, checkpoints)
        self._real: Any = None
        self._before: list[tuple[str, tuple, dict]] = []
        self._chain = b""

    def __getattr__(self, name: str) -> Any:
        if name in QUESTIONS:
            return functools.partial(self._ask, name)
        raise AttributeError(name)

    def _ask(self, question: str, *args: Any, **kwargs: Any) -> Any:
        digest = hashlib.sha256(self._chain)
        _feed(digest, [question, args, kwargs])
        self._chain = digest.digest()
        if self._chain in self.tape.answers:
            self._before.append((question, args, kwargs))
            self.tape.replayed += 1
            value, error, self.generation = self.tape.answers[self._chain]
        else:
            value, error = self._really(question, args, kwargs)
            self._before.append((question, args, kwargs))
        if error is not None:
            raise StudentError(str(error), error.cause)
        return copy.deepcopy(value)  # a check may change what it got

    def _really(self, question: str, args: tuple, kwargs: dict) -> tuple[Any, StudentError | None]:
        if self._real is None:
            self._real = self._make()
            for earlier in self._before:
                _answer(self._real, *earlier)
        self.tape.asked += 1
        value, error = _answer(self._real, question, args, kwargs)
        self.generation = self._real.generation
        self.tape.answers[self._chain] = (value, error, self.generation)
        return copy.deepcopy(value), error

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._real is not None:
            self._real.close()
            self.generation = self._real.generation

    def __enter__(self) -> "ReplayedSubject":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _answer(subject: Any, question: str, args: tuple, kwargs: dict) -> tuple[Any, StudentError | None]:
    """Ask; a fault of the grader is no answer and goes on."""
    try:
        return getattr(subject, question)(*args, **kwargs), None
    except StudentError as error:
        return None, error


def _feed(digest: Any, value: Any) -> None:
    """Put a value into a hash: its type, its size and its contents."""
    if isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype} {value.shape}\0".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        _feed(digest, [list(value), list(value.values())])
    elif isinstance(value, (list, tuple)):
        digest.update(f"list {len(value)}\0".encode())
        for item in value:
            _feed(digest, item)
    elif hasattr(value, "to_json"):
        _feed(digest, value.to_json())
    else:
        text = repr(value).encode("utf-8", "backslashreplace")
        digest.update(f"{type(value).__name__} {len(text)}\0".encode() + text)
