"""What the checks ask of a student's code, taken down once and asked again of the same code with a change in it."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autograder.handins.submission import Submission
from autograder.judge.context import Handover
from autograder.judge.grade import grade_submission
from autograder.judge.run import Run
from autograder.sandbox.client import RemoteSubject, WorkerSettings
from autograder.sandbox.verbs import VERBS, Asks
from autograder.viva.sizes import sizes_program
from autograder.viva.values import differ
from segkit.notebooks import Program
from segkit.subject import StudentError

__all__ = ["Asked", "Reply", "ask_again", "asked_of", "take_down"]

GONE = ("code.died", "code.timeout", "code.garbage")
HANDLE = "@object"
SMALL = (4, 6)  # rows and columns of an input that a person can work out by hand
QUIET = frozenset({"describe", "trace", "forget"})  # replies that say nothing of what code computes


@dataclass(frozen=True)
class Reply:
    """What came back: a value, or the error of the student's code."""

    value: Any = None
    error: StudentError | None = None


@dataclass(frozen=True)
class Asked:
    """One question of a check.

    Attributes:
        check: Id of the check; empty for a question of the viva's own.
        do: The question, one of ``autograder.sandbox.verbs``.
        given: Its arguments by name.
        reply: What came back when it was taken down.
        small: Whether it is a check's question with its inputs cut to a size for people.
    """

    check: str
    do: str
    given: Mapping[str, Any]
    reply: Reply = field(default_factory=Reply)
    small: bool = False

    @property
    def names(self) -> str:
        """The definition that it needs; empty where it needs none, or speaks of an object."""
        name = self.given.get(VERBS[self.do].needs) if VERBS[self.do].needs else None
        return name if isinstance(name, str) and not name.startswith("@") and ":" not in name else ""

    def names_it(self, name: str) -> bool:
        """Whether it defines this name."""
        return self.do == "define" and self.given["program"].name == name

    @property
    def compared(self) -> bool:
        """Whether its reply says something of what the code computes."""
        return self.do not in QUIET and not (isinstance(self.reply.value, str) and self.reply.value.startswith(HANDLE))


class TakenDown(Handover):
    """Stands between checks and worker, and keeps what is asked and replied."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.check = ""

    def open(self, settings: WorkerSettings) -> "_Listening":
        """What the checks ask."""
        return _Listening(settings, self)

    def watch(self, progress: Callable[[str], None] | None) -> Callable[[str], None]:
        """What to call with the id of each check."""

        def begun(check: str) -> None:
            self.check = check
            if progress is not None:
                progress(check)

        return begun


class _Listening(Asks):
    def __init__(self, settings: WorkerSettings, notes: TakenDown) -> None:
        self.real, self.notes = RemoteSubject(settings), notes

    @property
    def generation(self) -> int:
        return self.real.generation

    @property
    def device(self) -> str:
        return self.real.device

    def put(self, do: str, given: inspect.BoundArguments) -> Any:
        """Pass the question on, and keep it with its reply."""
        reply = _asked(self.real, do, given.args, given.kwargs)
        self.notes.asked.append(Asked(self.notes.check, do, dict(given.arguments), reply))
        if reply.error is not None:
            raise reply.error
        return reply.value

    def close(self) -> None:
        self.real.close()

    def __enter__(self) -> "_Listening":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _asked(subject: RemoteSubject, do: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Reply:
    try:
        return Reply(getattr(subject, do)(*args, **kwargs))
    except StudentError as error:
        return Reply(error=error)


def take_down(run: Run, submission: Submission, progress: Callable[[str], None] | None = None) -> list[Asked]:
    """Run the checks of a run on a submission, and return all that they asked of it.

    Raises:
        GraderFault: A worker cannot be started.
    """
    notes = TakenDown()
    grade_submission(run, submission, handover=notes, progress=progress)
    return notes.asked


# ------------------------------------------------------------------------------------------------------- asking again
def asked_of(asked: Sequence[Asked], checks: Iterable[str], name: str) -> list[Asked]:
    """The questions of some checks, all that came before them and belongs to their objects, and further ones for people.

    Args:
        asked: All that was taken down.
        checks: Ids of the checks.
        name: The definition that they are about.
    """
    wanted: set[int] = set()
    handles: set[str] = set()
    checks = set(checks)
    for number in range(len(asked) - 1, -1, -1):
        one = asked[number]
        made = one.reply.value if isinstance(one.reply.value, str) else ""
        if one.check in checks or made in handles or not handles.isdisjoint(_handles(one.given)):
            wanted.add(number)
            handles |= {*_handles(one.given), *([made] if made.startswith(HANDLE) else [])}
    needed = {asked[number].names for number in wanted}
    wanted |= {number for number, one in enumerate(asked) if one.do == "define" and one.given["program"].name in needed}
    chosen = [_first_picture(asked[number]) for number in sorted(wanted)]
    sizes = list(_sizes(chosen, name))
    first = next((number for number, one in enumerate(chosen) if one.names_it(name)), -1) + 1
    return [*chosen[:first], *sizes, *chosen[first:], *_small(chosen, name)]  # sizes take no time: they can be asked alone


def _first_picture(one: Asked) -> Asked:
    """A run of a network on the first picture alone: half the time, and the other tells nothing more."""
    if one.do != "forward" or one.given["x"].ndim != 4 or not isinstance(one.reply.value, np.ndarray):
        return one
    return replace(one, given={**one.given, "x": one.given["x"][:1]}, reply=Reply(one.reply.value[:1]))


def _handles(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith(HANDLE):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _handles(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _handles(part)


def _small(asked: Sequence[Asked], name: str) -> Iterator[Asked]:
    """The first call of a function once more, with its arrays cut to a few rows and columns."""
    calls = [one for one in asked if one.do == "call" and one.names == name and one.reply.error is None]
    for one in calls[:1]:
        arrays = [value for value in one.given.get("args", ()) if isinstance(value, np.ndarray)]
        if arrays and all(array.ndim == 2 and array.shape == arrays[0].shape for array in arrays) and arrays[0].size > 36:
            args = tuple(value[: SMALL[0], : SMALL[1]] if isinstance(value, np.ndarray) else value for value in one.given["args"])
            yield replace(one, check="", given={**one.given, "args": args}, small=True)


def _sizes(asked: Sequence[Asked], name: str) -> Iterator[Asked]:
    """For a network that is built from plain values: the sizes of its outputs."""
    builds = [one for one in asked if one.do == "build" and one.names == name and one.reply.error is None]
    programs = [one.given["program"] for one in asked if one.do == "define"]
    for one in builds[:1]:
        args, kwargs = one.given.get("args", ()), one.given.get("kwargs", {})
        program = next((program for program in programs if program.name == name), None)
        if program is None or not all(isinstance(value, int | float) for value in (*args, *kwargs.values())):
            continue
        own = sizes_program(program, args, kwargs)
        yield Asked("", "define", {"program": own})
        yield Asked("", "call", {"name": own.name})


def ask_again(
    settings: WorkerSettings, asked: Sequence[Asked], change: Callable[[Program], Program] = lambda program: program,
    before: Sequence[Reply | None] = (),
) -> list[Reply | None]:  # fmt: skip
    """Ask a fresh worker the same.

    Args:
        settings: How to start it.
        asked: What to ask.
        change: Makes the code that is asked out of the code that was.
        before: Replies of the code that was: where a network gives something else at test time, train mode is not asked about.

    Returns:
        A reply for each question; None where it was not asked, as what it speaks of is not there, or could not be given its weights.
    """
    replies: list[Reply | None] = []
    known: dict[str, str] = {}
    over = other = False
    with RemoteSubject(settings) as subject:
        for number, one in enumerate(asked):
            training = one.do == "forward" and one.given.get("train")
            if over or not known.keys() >= set(_handles(one.given)) or (training and other):
                replies.append(None)
                continue
            given = {key: change(value) if isinstance(value, Program) else _renamed(value, known) for key, value in one.given.items()}
            reply = _asked(subject, one.do, *_bound(one.do, given))
            replies.append(reply)
            over |= reply.error is not None and reply.error.cause in GONE
            if one.do == "load" and reply.error is not None:
                known.pop(one.given["handle"], None)
            if isinstance(one.reply.value, str) and one.reply.value.startswith(HANDLE) and isinstance(reply.value, str):
                known[one.reply.value] = reply.value
            if before and one.do == "forward" and (was := before[number]) is not None:
                other |= reply.error is not None or differ(was.value, reply.value)
    return replies


def _renamed(value: Any, known: Mapping[str, str]) -> Any:
    """Arguments with the handles of another worker."""
    if isinstance(value, str):
        return known.get(value, value)
    if isinstance(value, Mapping):
        return {key: _renamed(part, known) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_renamed(part, known) for part in value)
    return value


def _bound(do: str, given: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by name, as a call has them."""
    bound = inspect.BoundArguments(inspect.signature(getattr(Asks, do)), {"self": None, **given})
    return bound.args[1:], bound.kwargs
