"""A scheduler and workers of Dask as processes of their own, and judges that grade within a worker's own process.

Preloaded by a worker (``--preload workers.py``) it puts those judges in the place of judge processes: a class of hundreds takes seconds.
"""

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tiny import SECRET, InProcess

from autograder.batch import place, pool
from autograder.course.seeds import SECRET_VARIABLE
from autograder.judge.checking import CheckResult

__all__ = ["Cluster", "InThread", "free_port", "use_quick_judges", "wait_for"]

TESTS = Path(__file__).parent
LOCK = threading.Lock()  # pytest grades one submission at a time in a process


class InThread:
    """Stands in for a judge process."""

    def __init__(self, run: Any, jobs: int) -> None:
        self.run = run

    def submit(self, function: Any, *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        with LOCK:
            pool._RUN = self.run
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)
        return future

    def shutdown(self, **_: Any) -> None:
        """There is nothing to be ended."""


def points_by_hash(student: Any, context: Any, *_: Any) -> list[CheckResult]:
    """Stands in for the checks: what a result says depends on the submission, and costs nothing."""
    points = int(context.submission.sha256[:8], 16) % 9 / 2
    status = {0.0: "not_earned", 4.0: "earned"}.get(points, "partial")
    return [CheckResult("double", points, 4, status, message=context.submission.sha256)]


def use_quick_judges(patch: Any = setattr) -> None:
    """From now on, places grade in their own process, by hash."""
    judging = importlib.import_module("autograder.judge.grade")
    patch(place, "judge_pool", InThread)
    patch(judging, "RemoteSubject", InProcess)
    patch(judging, "run_checks", points_by_hash)


def dask_setup(worker: Any) -> None:
    """What Dask calls in a module that a worker preloads."""
    use_quick_judges()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))
        return int(here.getsockname()[1])


class Cluster:
    """A scheduler, and workers in folders of their own; what was killed is begun again, as systemd would.

    Args:
        root: Where their folders are made.
        count: How many workers.
        quick: Whether they preload this module.
        path: Folder from which they import the kit; that of this repository where it is left out.
    """

    def __init__(self, root: Path, count: int = 3, quick: bool = True, path: Path | None = None) -> None:
        self.root, self.quick, self.path, self.port = root, quick, path, free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ended = threading.Event()
        self.names = ["scheduler", *(f"worker{number}" for number in range(count))]
        for name in self.names:
            self._start(name)
        self.keeper = threading.Thread(target=self._keep_up, daemon=True)
        self.keeper.start()

    def _start(self, name: str) -> None:
        folder = self.root / name
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        paths = [str(part) for part in (self.path, TESTS) if part]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"), "PYTHONPATH": os.pathsep.join(paths), SECRET_VARIABLE: SECRET,
        }  # fmt: skip
        command = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "8GiB",
                   "--local-directory", str(folder)]  # fmt: skip
        command += ["--preload", str(Path(__file__).resolve())] if self.quick else []
        if name == "scheduler":
            command = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show"]
        with (folder / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", *command], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def _keep_up(self) -> None:
        while not self.ended.wait(0.3):
            for name, process in list(self.processes.items()):
                if process.poll() is not None and not self.ended.is_set():
                    self._start(name)

    def kill(self, name: str) -> None:
        """SIGKILL, as the kernel does it when memory is short."""
        self.processes[name].kill()

    def log(self) -> str:
        return "\n".join((self.root / name / "log").read_text(errors="replace")[-3000:] for name in self.names)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed:
            print(self.log())
        self.ended.set()
        self.keeper.join()
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


def wait_for(true: Any, seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
