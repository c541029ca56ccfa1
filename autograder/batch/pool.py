"""Judges in parallel, each in its own process: if one dies, the results of the others are not lost."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from autograder.alike.kept import keep_work
from autograder.batch.keys import submission_key
from autograder.batch.progress import Progress, put_mark
from autograder.batch.writing import going_on, writable, write_result
from autograder.handins.submission import Submission
from autograder.judge.grade import grade_path, unreadable_result
from autograder.judge.run import Run, Settings
from autograder.marking.pictures import keep_pictures
from autograder.sandbox.kernel import PR_SET_PDEATHSIG, prctl
from segkit.atomic import disk_is_full

__all__ = ["DIED", "GatelessError", "Graded", "furnish", "grade_side_by_side", "judge", "judge_pool", "not_graded"]

DIED = "the judge process died, twice (out of memory? Or it could not begin: then the reason may stand above in the terminal's output)"

_RUN: Run | None = None
_AT_WORK = _INTERRUPTED = False


@dataclass
class Graded:
    """What a judge found.

    Attributes:
        result: The result, which is written.
        key: The submission's own part of the key; empty for one that could not be read.
        gate_seconds: Seconds that went to measuring gates.
    """

    result: dict[str, Any]
    key: dict[str, str] = field(default_factory=dict)
    gate_seconds: float = 0.0


class GatelessError(Exception):
    """A submission has a checkpoint, and the judge was told to measure no gates."""


# ------------------------------------------------------------------------------------------------- in a judge process
def _attach(settings: Settings, folder: Path, parent: int) -> None:
    global _RUN
    signal.signal(signal.SIGINT, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # blocked by whoever began it
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a judge must not write into a folder that meanwhile another run may hold
    if os.getppid() != parent:
        os._exit(1)
    # temporary files of a killed judge are then in the run's folder, which the next run removes
    tempfile.tempdir = str(folder / "tmp")
    _RUN = Run.attach(settings, folder)


def _interrupt(*_: Any) -> None:
    """Ctrl+C reaches all processes of a run: a judge breaks off its submission; one that waits or ends only takes no other."""
    global _INTERRUPTED
    _INTERRUPTED = True
    if _AT_WORK:
        raise KeyboardInterrupt


def judge(path: Path, name: str, gates: bool = True) -> Graded:
    """Grade one submission. What it is doing goes to a small file, for the progress bar.

    Raises:
        GatelessError: It has a checkpoint, and no gates are to be measured here.
        KeyboardInterrupt: The run is to end.
    """
    global _AT_WORK
    _AT_WORK = True
    try:
        if _INTERRUPTED:
            raise KeyboardInterrupt
        return _judge(path, name, gates)
    finally:
        _AT_WORK = False


def _judge(path: Path, name: str, gates: bool) -> Graded:
    assert _RUN is not None, "_attach opened it"
    mark, began = _RUN.folder / "marks" / f"{os.getpid()}", time.time()
    out, found = _RUN.settings.out / name, Graded({})

    def gate(check: str, done: int, of: int, seconds: float) -> None:
        total = seconds / done * of
        put_mark(mark, name, began, f"{check} {done}/{of} pictures", total, total - seconds)
        if done == of:
            found.gate_seconds += seconds

    out.mkdir(parents=True, exist_ok=True)
    put_mark(mark, name, began, "reading")

    def opened(submission: Submission) -> None:
        if submission.checkpoints and not gates:
            raise GatelessError(name)
        found.key.update(submission_key(submission))
        keep_pictures(out, submission, wanted)
        keep_work(out, submission)

    wanted = _RUN.wanted_checks
    found.result = grade_path(
        _RUN, path, name, out, opened=opened,
        progress=lambda check: put_mark(mark, name, began, check), gate_progress=gate,
    )  # fmt: skip
    write_result(found.result, out, _RUN.rubric)
    mark.unlink(missing_ok=True)
    return found


# ----------------------------------------------------------------------------------------------- in the first process
def furnish(run: Run, gates: int) -> None:
    """Make the folders that judges share.

    Args:
        run: The prepared run.
        gates: How many gates may be measured at once.
    """
    for name in ("gates", "marks", "tmp"):
        (run.folder / name).mkdir()
    for number in range(gates):
        (run.folder / "gates" / str(number)).touch()
    (run.folder / "tmp").chmod(0o711)  # each worker's user can enter its own folder there, and cannot list the others


def judge_pool(run: Run, jobs: int) -> ProcessPoolExecutor:
    """Processes that run ``judge``; they end with the thread that hands them their first submission."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), _attach, (run.settings, run.folder, os.getpid()))


def grade_side_by_side(
    run: Run, paths: Sequence[Path], names: Mapping[Path, str], jobs: int, progress: Progress,
    keep: Callable[[Path, Graded], None], say: Callable[[str], None],
) -> None:  # fmt: skip
    """Grade submissions. A submission whose judge dies twice is reported as not gradable.

    Args:
        run: The prepared run.
        paths: What to grade.
        names: Their names.
        jobs: How many judges.
        progress: Told of each result.
        keep: Called with each submission as soon as its result is written.
        say: Where messages go.

    Raises:
        OSError: There is no disk space for results; the running judges have ended.
    """

    def finish(path: Path, graded: Graded) -> None:
        keep(path, graded)
        progress.finished(graded.result, graded.gate_seconds)

    left = _round(run, paths, names, jobs, progress, finish, say)
    while left:  # a dead judge breaks the whole pool. Now grade one at a time: the first one left is the one whose judge dies
        left = _round(run, left, names, 1, progress, finish, say)
        if left:
            finish(left[0], not_graded(run, names[left[0]], DIED, say))
        left = left[1:]


def _round(
    run: Run, paths: Sequence[Path], names: Mapping[Path, str], jobs: int, progress: Progress,
    finish: Callable[[Path, Graded], None], say: Callable[[str], None],
) -> list[Path]:  # fmt: skip
    """Grade in one pool; returns those without a result because a judge died, in their order."""
    left = list(paths)
    pool = judge_pool(run, max(1, min(jobs, len(paths))))
    try:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # processes inherit it: no Ctrl+C while they import
        try:
            waiting = {pool.submit(judge, path, names[path]): path for path in paths}
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while waiting:
            done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                path = waiting.pop(future)
                try:
                    graded = future.result()
                except BrokenProcessPool:
                    continue
                except Exception as error:  # whatever the error was, the rest of the class is graded
                    if disk_is_full(error):
                        raise
                    graded = not_graded(run, names[path], f"{type(error).__name__}: {error}", say)
                left.remove(path)
                finish(path, graded)
            progress.show()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for mark in (run.folder / "marks").glob("*"):
            mark.unlink()
    return left


def not_graded(run: Run, name: str, reason: str, say: Callable[[str], None]) -> Graded:
    """The result of a submission at which the grader failed."""
    reason = writable(reason)
    say(f"{name}: could not be graded: {reason}")
    result = unreadable_result(run, name, f"The grader failed, not the student: {reason}", "grader.fault")
    with going_on(say, f"{name}: its result could not be written: "):  # the class pages show the result nevertheless
        write_result(result, run.settings.out / name, run.rubric)
    return Graded(result)
