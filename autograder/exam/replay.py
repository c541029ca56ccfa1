"""A worker's replies, kept and given again where the same questions are asked in the same order.

Grading one submission over several ways costs one worker then. A way that asks otherwise, or of other code, gets a worker of
its own: it is asked everything that was asked before, and from there on replies itself.
"""

import copy
import inspect
from typing import Any

from autograder.judge.context import Handover
from autograder.judge.predictions.handover import name_of
from autograder.sandbox.client import RemoteSubject, WorkerSettings, sendable
from autograder.sandbox.verbs import Asks
from segkit.subject import StudentError

__all__ = ["ReplayedSubject", "Tape"]


class Tape(Handover):
    """A worker's replies to one submission. A gate's worker is asked on every way, but for label maps that the run has kept.

    Attributes:
        replies: Name of all questions so far -> reply or error, and the worker's generation after it. Grows.
    """

    def __init__(self) -> None:
        self.replies: dict[str, tuple[Any, StudentError | None, int]] = {}

    def open(self, settings: WorkerSettings) -> "ReplayedSubject":
        """What is asked in the place of a worker."""
        return ReplayedSubject(self, settings)


class ReplayedSubject(Asks):
    """Stands in for a ``RemoteSubject``.

    Args:
        tape: What is known already; grows.
        settings: How to start a worker, should one be needed.
    """

    def __init__(self, tape: Tape, settings: WorkerSettings) -> None:
        self.tape, self.settings = tape, settings
        self.generation = 0
        self._real: RemoteSubject | None = None
        self._before: list[tuple[str, inspect.BoundArguments]] = []
        self._chain = ""

    def put(self, do: str, given: inspect.BoundArguments) -> Any:
        """Reply from the tape, or ask."""
        given.apply_defaults()
        self._chain = name_of(do, sendable(do, given.arguments, self.settings.weight_index), before=self._chain)
        if self._chain not in self.tape.replies:
            self.tape.replies[self._chain] = self._really(do, given)
        self._before.append((do, given))
        value, error, self.generation = self.tape.replies[self._chain]
        if error is not None:
            raise StudentError(str(error), error.cause)
        return copy.deepcopy(value)  # a check may change what it got

    def _really(self, do: str, given: inspect.BoundArguments) -> tuple[Any, StudentError | None, int]:
        if self._real is None:
            self._real = RemoteSubject(self.settings)
            for earlier in self._before:
                _reply(self._real, *earlier)
        value, error = _reply(self._real, do, given)
        self.generation = self._real.generation
        return value, error, self.generation

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._real is not None:
            self._real.close()
            self.generation = self._real.generation

    def __enter__(self) -> "ReplayedSubject":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _reply(subject: RemoteSubject, do: str, given: inspect.BoundArguments) -> tuple[Any, StudentError | None]:
    """Ask; a fault of the grader is no reply and goes on."""
    try:
        return getattr(subject, do)(*given.args, **given.kwargs), None
    except StudentError as error:
        return None, error
