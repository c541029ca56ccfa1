"""Run fuzz cases behind a wall: one that crashes, hangs or eats memory is told by its name, and the rest goes on."""

import multiprocessing
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CASE_MEGABYTES", "CASE_SECONDS", "WALL_SECONDS", "Failure", "run_case", "run_guarded"]

CASE_SECONDS = 10.0  # of computing: a busy machine makes no hang
WALL_SECONDS = 120.0
CASE_MEGABYTES = 1024

Target = Callable[[random.Random, Path], None]


class Hang(BaseException):
    """A case took longer than it may. No ``except Exception`` on the way shall stop it."""


@dataclass(frozen=True)
class Failure:
    """A case that broke a promise.

    Attributes:
        case: Its name, from which it is drawn again.
        reason: What happened.
    """

    case: str
    reason: str

    def __str__(self) -> str:
        return f"{self.case}: {self.reason}\nreplay it: SEGKIT_FUZZ_SEED={self.case} python -m pytest -n 0 tests/fuzz"


def _ring(*_: object) -> None:
    raise Hang


def run_case(target: Target, case: str) -> str | None:
    """Run one case in this process.

    Args:
        target: Draws a case, and raises where a promise is broken.
        case: Name of the case.

    Returns:
        What went wrong, or None.
    """
    folder = Path(tempfile.mkdtemp(prefix="segkit-fuzz-"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, _ring)
    signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)
    try:
        target(random.Random(case), folder)
    except Hang:
        return f"no end after {CASE_SECONDS:.0f} s of computing, or {WALL_SECONDS:.0f} s\n" + traceback.format_exc(limit=-6)
    except BaseException as error:
        first = (str(error).splitlines() or [""])[0][:400]
        return f"{type(error).__name__}: {first}\n" + traceback.format_exc(limit=-6)[-3000:]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        shutil.rmtree(folder, ignore_errors=True)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return f"took {grown:.0f} MiB of memory" if grown > CASE_MEGABYTES else None


def _child(target: Target, cases: list[str], answers) -> None:
    for case in cases:
        answers.send((case, None))  # about to begin: who dies now was this one
        reason = run_case(target, case)
        answers.send((case, reason or ""))
    answers.close()


def run_guarded(target: Target, cases: Iterable[str], until: float | None = None) -> tuple[int, list[Failure]]:
    """Run cases in a child process, which is replaced when one of them ends it.

    Args:
        target: See ``run_case``.
        cases: Names of the cases.
        until: ``time.monotonic()`` after which no further case is begun.

    Returns:
        How many were run, and those that failed.
    """
    left, failures, count = list(cases), [], 0
    getattr(target, "prepare", lambda: None)()  # what all cases share
    context = multiprocessing.get_context("fork")  # torch is imported already; that takes longer than all cases
    while left and (until is None or time.monotonic() < until):
        answers, inside = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(target, left, inside))
        child.start()
        inside.close()
        running, reason = None, None
        try:
            while until is None or time.monotonic() < until:
                if not answers.poll(WALL_SECONDS + 20):
                    reason = "no end, and no signal is heard: it hangs outside of Python"
                    break
                case, outcome = answers.recv()
                if outcome is None:
                    running = case
                    continue
                running, count = None, count + 1
                left.remove(case)
                failures += [Failure(case, outcome)] if outcome else []
        except EOFError:
            child.join()
            reason = f"the process died (exit code {child.exitcode})" if running else None
        child.kill()
        child.join()
        answers.close()
        if running and reason:
            count += 1
            failures.append(Failure(running, reason))
            left.remove(running)
        elif reason is None:
            break
    return count, failures
