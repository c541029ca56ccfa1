"""Run rounds of fuzz cases behind a wall: hypothesis draws and shrinks them, and one that crashes, hangs or eats memory is told."""

import contextlib
import faulthandler
import functools
import multiprocessing
import random
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

__all__ = ["CASE_MEGABYTES", "CASE_SECONDS", "WALL_SECONDS", "Check", "run_cases", "run_round"]

CASE_SECONDS = 10.0  # of computing: a busy machine makes no hang
WALL_SECONDS = 120.0
CASE_MEGABYTES = 1024

Check = Callable[[random.Random, Path], None]  # draws a case, and raises where a promise is broken


class Evenly(HypothesisProvider):
    """Draws numbers evenly. Hypothesis itself repeats cases and prefers small numbers: of 100 notebooks it damaged 24 in its own way."""

    def draw_integer(self, min_value: int, max_value: int, **_: object) -> int:
        return self._random.randint(min_value, max_value)

    def draw_float(self, *, min_value: float, max_value: float, **_: object) -> float:
        return self._random.uniform(min_value, max_value)


AVAILABLE_PROVIDERS["evenly"] = f"{__name__}.Evenly"


class Hang(BaseException):
    """A case took longer than it may. No ``except Exception`` on the way shall stop it."""


def _ring(*_: object) -> None:
    raise Hang


def _peak_megabytes(anew: bool = False) -> float:
    """The most memory that this process held, since its start or since it was last counted anew."""
    with contextlib.suppress(OSError):
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _run_case(check: Check, rng: random.Random) -> None:
    before = _peak_megabytes(anew=True)
    for timer, number, seconds in ((signal.ITIMER_REAL, signal.SIGALRM, WALL_SECONDS), (signal.ITIMER_PROF, signal.SIGPROF, CASE_SECONDS)):
        signal.signal(number, _ring)
        signal.setitimer(timer, seconds)
    faulthandler.dump_traceback_later(WALL_SECONDS + 20, exit=True, file=sys.__stderr__)  # it hangs outside of Python
    try:
        with tempfile.TemporaryDirectory(prefix="segkit-fuzz-", ignore_cleanup_errors=True) as folder:
            check(rng, Path(folder))
    except Hang:
        raise AssertionError(f"no end after {CASE_SECONDS:g} s of computing, or {WALL_SECONDS:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    grown = _peak_megabytes() - before
    assert grown <= CASE_MEGABYTES, f"took {grown:.0f} MiB of memory"


def run_cases(check: Callable[[random.Random], None], name: str, cases: int) -> None:
    """Run cases in this process, drawn from a name; the simplest one that fails is raised."""

    @seed(name)
    @settings(max_examples=cases, backend="evenly", database=None, deadline=None, print_blob=True, phases=(Phase.generate, Phase.shrink),
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(rng=st.randoms(use_true_random=False))
    def fuzz(rng: random.Random) -> None:
        check(rng)

    fuzz()


def _round(check: Check, name: str, cases: int) -> str:
    try:
        run_cases(functools.partial(_run_case, check), name, cases)
    except BaseException:
        return traceback.format_exc(limit=-6)[-6000:]
    return ""


def run_round(check: Check, name: str, cases: int) -> str:
    """Run a round of cases in a child process.

    Args:
        check: See ``Check``. What all its cases share is made by its attribute ``prepare``, if it has one.
        name: From which the cases are drawn.
        cases: How many.

    Returns:
        What went wrong in the simplest case that fails, and how to replay it; or nothing.
    """
    getattr(check, "prepare", lambda: None)()
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:  # torch is imported already: that takes the longest
        try:
            reason = pool.submit(_round, check, name, cases).result()
        except BrokenProcessPool:
            reason = "the process died, or hung outside of Python"
    return reason and f"{name}: {reason}\nreplay it: SEGKIT_FUZZ_SEED={name} python -m pytest -n 0 tests/fuzz"
