"""Grade on several machines, with Dask: this process hands out submissions and alone writes results and journal.

As many submissions are under way as the workers have places, no more. So a worker that dies takes along only what it was working at, a
scheduler that is begun again has lost little, and no machine holds a class in its memory.
"""

import asyncio
import contextlib
import logging
import queue
import shutil
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.batch.inbox import listing
from autograder.batch.place import Answer, Order, PlaceError, Work, close_place, grade_there
from autograder.batch.pool import Graded, not_graded
from autograder.batch.progress import Progress
from autograder.batch.shipping import ShippingError, pack, unpack
from autograder.batch.writing import write_result
from autograder.handins.answers import forget_answers
from autograder.judge.run import Run, Settings
from autograder.report.answers import PICTURES

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["ClusterError", "at_home", "grade_on_cluster"]

WAIT = 600.0  # seconds without a scheduler, or without a worker, after which a run ends
FETCH = 120.0  # seconds for an answer to come from its worker
PAUSE = 0.5  # seconds between two looks at who is there
SLURM = "slurm:"
ANEW = 30.0  # seconds between two looks whether a job of Slurm has ended, whose place another one takes
CLOSING = 60.0  # seconds for the jobs to be cancelled
SILENT = 300.0  # seconds without a worker after which a word is said of where to look
FAILURES = 2  # workers that one submission may cost where the scheduler is ours


class ClusterError(Exception):
    """The cluster cannot be used, or no longer. What was graded is kept."""


class _LostError(Exception):
    """The scheduler is gone, and with it what it knew."""


def at_home(settings: Settings) -> Settings:
    """Settings of the process that hands out: it measures no gates, and paths in it mean the same on every machine."""
    names = ("assignment", "data", "gate_data", "checkpoints", "predictions")
    return replace(settings, device="cpu", **{name: _absolute(getattr(settings, name)) for name in names})


def _absolute(place: Any) -> Any:
    """A folder that is there, by its whole path; a name stays one."""
    return type(place)(Path(place).resolve()) if place and Path(place).is_dir() else place


def grade_on_cluster(
    run: Run, paths: Sequence[Path], names: Mapping[Path, str], cluster: str, jobs: int, key: Mapping[str, str], progress: Progress,
    keep: Callable[[Path, Graded], None], say: Callable[[str], None],
) -> None:  # fmt: skip
    """Grade submissions on a cluster. One that costs worker after worker is reported as not gradable.

    Args:
        run: The open run.
        paths: What to grade.
        names: Their names.
        cluster: ``tcp://HOST:PORT`` of a scheduler, or ``slurm:PROFILE``, a section ``jobqueue`` of Dask's configuration.
        jobs: How many jobs are given to Slurm; a scheduler that is there has its workers.
        key: The run's part of the keys, for which the workers' results must be good.
        progress: Told of each result.
        keep: Called with each submission as soon as its result is written.
        say: Where messages go.

    Raises:
        ClusterError: No scheduler or no worker is there, or one of them would grade otherwise than this machine.
        OSError: There is no disk space for results.
    """
    _Handing(run, [Work(path, names[path], listing(path)) for path in paths], cluster, jobs, key, progress, keep, say).go()


class _Handing:
    """Hands out submissions until all have a result."""

    def __init__(
        self, run: Run, works: Sequence[Work], cluster: str, jobs: int, key: Mapping[str, str], progress: Progress,
        keep: Callable[[Path, Graded], None], say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.run, self.cluster, self.jobs, self.progress, self.keep, self.say = run, cluster, jobs, progress, keep, say
        settings = replace(run.settings, secret=run.seeds.secret)
        self.order = Order(uuid.uuid4().hex, settings, key, run.uses_gpu)
        self.left = deque(works)
        self.flying: dict[Future[Answer], Work] = {}
        self.ended: queue.SimpleQueue[Future[Answer]] = queue.SimpleQueue()
        self.last_seen = time.monotonic()  # of a scheduler with workers
        self.asked = self.worked = time.monotonic()  # for jobs of Slurm; when the last of them was there
        self.numbers = iter(range(10**9))

    def go(self) -> None:
        """Grade all, whatever becomes of workers and scheduler meanwhile.

        Raises:
            ClusterError: See ``grade_on_cluster``.
        """
        _begin_quietly()
        while self.left or self.flying:
            try:
                with _client(self.cluster, self.jobs) as client:
                    self._hand_out(client)
                    with contextlib.suppress(Exception):
                        client.run(close_place, self.order.run, on_error="ignore")
            except (_LostError, OSError) as error:
                if isinstance(error, OSError) and not _is_of_network(error):
                    raise
                self._take_back()
                if time.monotonic() - self.last_seen > WAIT:
                    raise ClusterError(f"{self.cluster}: no scheduler answers for {WAIT / 60:.0f} minutes ({error}).") from error
                time.sleep(PAUSE)

    def _take_back(self) -> None:
        """What was under way is handed out again; nobody hears the old answers."""
        if self.flying:
            self.say(f"The scheduler is gone; {len(self.flying)} submissions in work are handed out again when it is back.")
        self.left.extendleft(self.flying.values())
        self.flying.clear()

    def _hand_out(self, client: "Client") -> None:
        self.ended = queue.SimpleQueue()
        self.say(f"Grading on {self.cluster}.")
        looked = 0.0
        while self.left or self.flying:
            if time.monotonic() - looked > PAUSE:
                places, gpus = self._places(client)
                looked, self.progress.estimate.jobs = time.monotonic(), max(1, places)
                self.progress.show()
            self._fill(client, places, gpus)
            with contextlib.suppress(queue.Empty):
                self._take(self.ended.get(timeout=PAUSE))

    def _places(self, client: "Client") -> tuple[int, int]:
        """How many submissions, and how many gates on GPUs, the workers can take.

        Raises:
            ClusterError: There has been no worker for too long.
        """
        if client.status != "running" or any(future.status in ("cancelled", "lost") for future in self.flying):
            raise _LostError("the connection broke")
        try:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
        except RuntimeError as error:  # closed at this moment
            raise _LostError(str(error)) from error
        places = sum(worker["nthreads"] for worker in workers)
        gpus = int(sum(worker["resources"].get("GPU", 0) for worker in workers))
        wanted = self.left or self.flying
        if client.cluster is not None:
            self._keep_jobs(client.cluster, bool(places))
        lacks = "" if places else "worker"
        if places and not gpus and wanted and not self.flying and all(work.gpu for work in self.left):
            lacks = "worker with --resources GPU=1"
        if not lacks or self.cluster.startswith(SLURM):  # a queue of Slurm may take its time
            self.last_seen = time.monotonic()
        elif time.monotonic() - self.last_seen > WAIT:
            raise ClusterError(f"{self.cluster} has had no {lacks} for {WAIT / 60:.0f} minutes.")
        return places, gpus

    def _keep_jobs(self, jobs: Any, at_work: bool) -> None:
        """Submit those jobs again that came to the end of their time; say it where none is at work for long."""
        now = time.monotonic()
        if now - self.asked > ANEW:
            self.asked = now
            jobs.scale(jobs=self.jobs)
        if at_work:
            self.worked = now
        elif now - self.worked > SILENT:
            self.worked = now
            self.say(
                f"No job of Slurm is at work for {SILENT / 60:.0f} minutes. `squeue --me` tells whether they wait; where they have ended, "
                "see what they wrote (`log-directory` of the profile). Waiting on; Ctrl-C ends, and keeps what is graded."
            )

    def _fill(self, client: "Client", places: int, gpus: int) -> None:
        """Hand out as much as there are places for."""
        for _ in range(len(self.left)):
            work = self.left.popleft()
            under_way = sum(other.gpu == work.gpu for other in self.flying.values())
            if under_way >= (gpus if work.gpu else places):
                self.left.append(work)  # perhaps there is a place for another one
                continue
            try:
                future = self._submit(client, work)
            except (RuntimeError, OSError) as error:  # the client was closed at this moment
                self.left.appendleft(work)
                raise _LostError(str(error)) from error
            self.flying[future] = work
            future.add_done_callback(self.ended.put)

    def _submit(self, client: "Client", work: Work) -> "Future[Answer]":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large tasks: the files of a submission are what they are
            return client.submit(
                grade_there, self.order, work, key=f"grade-{self.order.run}-{next(self.numbers)}", pure=False,
                resources={"GPU": 1} if work.gpu else None,
            )  # fmt: skip

    def _take(self, future: "Future[Answer]") -> None:
        """What became of a task."""
        from distributed import KilledWorker

        if future not in self.flying:
            return
        try:
            if future.status in ("cancelled", "lost"):
                raise _LostError("the connection broke")
            error = future.exception(timeout=FETCH)
            answer = None if error else future.result(timeout=FETCH)
        except (CancelledError, RuntimeError, OSError) as lost:  # on the way from the worker to here
            raise _LostError(str(lost)) from lost
        work = self.flying.pop(future)
        if isinstance(error, PlaceError):
            self.left.appendleft(work)
            raise ClusterError(f"{error}")
        if isinstance(error, ImportError | RuntimeError) and "autograder" in f"{error} {error.__cause__}":
            raise ClusterError(f"a worker or the scheduler has no segkit ({error.__cause__ or error}): install the same kit there.")
        if answer is None:
            why = f"{type(error).__name__}: {error}"
            if isinstance(error, KilledWorker):
                why = f"{error.allowed_failures + 1} workers died, one after the other, while they graded it (out of memory?)"
            self._finish(work, not_graded(self.run, work.name, why, self.say))
            return
        self._answered(work, answer)

    def _answered(self, work: Work, answer: Answer) -> None:
        if answer.graded is not None:
            folder = self.run.settings.out / work.name
            forget_answers(folder)
            (folder / PICTURES).unlink(missing_ok=True)
            shutil.rmtree(folder / "answers", ignore_errors=True)
            if answer.files:
                unpack(answer.files, self.run.settings.out)
            write_result(answer.graded.result, folder, self.run.rubric)
            self._finish(work, answer.graded)
        elif answer.lacks == "GPU":
            self.left.appendleft(replace(work, gpu=True))
        else:
            try:
                self.left.appendleft(replace(work, packed=pack(work.path)))
            except (ShippingError, OSError) as error:
                reason = f"{answer.worker} does not see the files of {work.path}, and they cannot be sent: {error}"
                self._finish(work, not_graded(self.run, work.name, reason, self.say))

    def _finish(self, work: Work, graded: Graded) -> None:
        self.keep(work.path, graded)
        self.progress.finished(graded.result, graded.gate_seconds)


def _begin_quietly() -> None:
    """Import Dask; what it would print of lost connections, page by page, is said here in a line.

    Raises:
        ClusterError: It is not installed.
    """
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise ClusterError("--cluster needs Dask: pip install 'segkit[cluster]', here and on every worker.") from None
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _client(cluster: str, jobs: int) -> Iterator["Client"]:
    """A connection to the scheduler; to one of our own, whose workers are jobs of Slurm, where that is asked for."""
    from distributed import Client

    with contextlib.ExitStack() as stack:
        address = stack.enter_context(_slurm(cluster, jobs)) if cluster.startswith(SLURM) else cluster
        yield stack.enter_context(Client(address, set_as_default=False, timeout=10))


@contextlib.contextmanager
def _slurm(cluster: str, jobs: int) -> Iterator[Any]:
    """A scheduler here, and jobs of Slurm for it; they end with it.

    Raises:
        ClusterError: Slurm does not take a job. Without asking for it, what ``sbatch`` says would be lost, and nobody would ever come.
    """
    import dask
    from dask_jobqueue import SLURMCluster

    with dask.config.set({"distributed.scheduler.allowed-failures": FAILURES}):
        ours = SLURMCluster(
            config_name=cluster.removeprefix(SLURM), scheduler_options={"dashboard": False, "dashboard_address": "127.0.0.1:0"}
        )
        try:
            ours.scale(jobs=jobs)
            try:
                ours.sync(_submitted, ours)
            except (RuntimeError, OSError) as error:
                raise ClusterError(f"{cluster}: no job could be submitted. {_told_by(error)}") from error
            yield ours
        finally:
            with contextlib.suppress(AssertionError, TimeoutError):  # it knows no job that never began; what hangs ends with this process
                ours.close(timeout=CLOSING)


async def _submitted(cluster: Any) -> None:
    """Wait until all jobs were given to the queue; raises what the command said that failed."""
    await cluster
    await asyncio.gather(*cluster.workers.values())


def _told_by(error: Exception) -> str:
    """What a command of Slurm said, without the name of the script that it was given."""
    said = str(error).partition("stderr:")[2].strip() or str(error)
    return " ".join(said.split())[:500]


def _is_of_network(error: OSError) -> bool:
    """Whether an error is of a connection (Dask's are OSErrors without a code), not of a file."""
    return error.errno is None or isinstance(error, ConnectionError | TimeoutError)
