"""What a worker of a cluster does: it grades with judges of its own, which are those of a run on one machine."""

import multiprocessing
import queue
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from autograder.batch.inbox import listing
from autograder.batch.keys import REASONS, run_key
from autograder.batch.memory import MemoryShortError, plan_memory
from autograder.batch.pool import DIED, GatelessError, Graded, furnish, judge, judge_pool, not_graded
from autograder.batch.shipping import ShippingError, pack, unpack
from autograder.judge.run import Run, Settings
from autograder.sandbox.leftovers import scratch_folder
from segkit.atomic import disk_is_full

__all__ = ["WRITTEN_AT_HOME", "Answer", "Order", "PlaceError", "Work", "close_place", "grade_there"]

IDLE = 600.0  # seconds after which a place whose run has not come to its end makes room for another
WRITTEN_AT_HOME = ("result.json", "report.html")


class PlaceError(Exception):
    """This worker cannot grade for this run; the text names it, and what to do."""


@dataclass(frozen=True)
class Order:
    """What all tasks of a run share.

    Attributes:
        run: Name of the run.
        settings: Its settings; where results go is the worker's business.
        key: Its part of the keys: results of this worker must be good for it.
        gpu: Whether gates are measured on GPUs: on workers with the resource.
    """

    run: str
    settings: Settings
    key: Mapping[str, str]
    gpu: bool


@dataclass(frozen=True)
class Work:
    """One submission.

    Attributes:
        path: Where it lies.
        name: Its name in the results.
        listing: Of its files: the same here means that the folder is shared.
        packed: The files themselves; None where they are to be found at ``path``.
        gpu: Whether it may have a gate that is to be measured on a GPU.
    """

    path: Path
    name: str
    listing: str
    packed: bytes | None = None
    gpu: bool = False


@dataclass(frozen=True)
class Answer:
    """What a worker found.

    Attributes:
        graded: The result; None where something was lacking.
        files: What goes with the result, packed.
        lacks: ``"files"`` or ``"GPU"``.
        worker: Who.
    """

    graded: Graded | None = None
    files: bytes = b""
    lacks: str = ""
    worker: str = ""


class _Place:
    """A run's place on this worker: its copy of the run, and judges. One task at a time takes a judge."""

    def __init__(self, order: Order) -> None:
        from distributed import get_worker

        worker = get_worker()
        self.name = f"{worker.address} on {socket.gethostname()}"
        self.users, self.left = 0, time.monotonic()
        # a nanny's workers are daemons, to which multiprocessing allows no children; these end with this process (PR_SET_PDEATHSIG)
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        gpu = order.gpu and bool(worker.state.total_resources.get("GPU"))
        self.folder = scratch_folder("segkit-place-")
        settings = replace(order.settings, out=self.folder / "out", device="cuda" if gpu else "cpu")
        self.run = Run.open(settings)
        try:
            self._compare(order, without_device=order.gpu and not gpu)
            gates = self.run.data is not None and any(check.settings for check in self.run.wanted_checks.values())
            self.without_gates = gates and order.gpu and not gpu
            limit = worker.memory_manager.memory_limit
            try:
                plan = plan_memory(worker.state.nthreads, limit / 2**30 if limit else None, gates)
            except MemoryShortError as error:
                raise PlaceError(f"{self.name}: {error} (its --memory-limit)") from error
            self.run.prepare()
            furnish(self.run, plan.gates if gates else 0)
        except BaseException:
            self.close()
            raise
        self.judges: queue.Queue[ProcessPoolExecutor] = queue.Queue()
        for _ in range(plan.jobs):
            self.judges.put(judge_pool(self.run, 1))

    def _compare(self, order: Order, without_device: bool) -> None:
        """Would a result of this worker be the one that the machine would get where ``grade`` runs?"""
        here = run_key(self.run)
        apart = {field for field in REASONS if field in order.key and order.key[field] != here[field]}
        apart -= {"device"} if without_device else set()
        if apart:
            found = "; ".join(f"{field}: {order.key[field]!r} where `grade` runs, {here[field]!r} there" for field in sorted(apart))
            raise PlaceError(
                f"{self.name} would give results under other conditions than this run ({found}). Install the same kit and libraries on "
                "both and give both the same data and isolation."
            )

    def grade(self, work: Work) -> Answer:
        """Grade one submission.

        Raises:
            PlaceError: There is no room on this worker's disk.
        """
        inbox = Path(mkdtemp(prefix="in-", dir=self.folder))
        try:
            path = work.path
            if work.packed is not None:
                unpack(work.packed, inbox)
                path = inbox / work.path.name
            elif not path.exists() or listing(path) != work.listing:
                return Answer(lacks="files", worker=self.name)
            return self._answer(self._graded(path, work.name), work.name)
        except GatelessError:
            return Answer(lacks="GPU", worker=self.name)
        except Exception as error:
            if disk_is_full(error):
                raise PlaceError(f"{self.name}: {error}") from error
            raise
        finally:
            shutil.rmtree(inbox, ignore_errors=True)

    def _graded(self, path: Path, name: str) -> Graded:
        """By a judge of this worker; if it dies, by another one, and no third one is tried."""
        one = self.judges.get()
        try:
            for _ in range(2):
                try:
                    return one.submit(judge, path, name, not self.without_gates).result()
                except BrokenProcessPool:
                    one.shutdown(wait=False)
                    one = judge_pool(self.run, 1)
            return not_graded(self.run, name, f"{DIED}; {self.name}", lambda line: None)
        finally:
            self.judges.put(one)

    def _answer(self, graded: Graded, name: str) -> Answer:
        folder = self.run.settings.out / name
        try:
            return Answer(graded, pack(folder, WRITTEN_AT_HOME), worker=self.name)
        except ShippingError:  # pictures: the points do not depend on them
            return Answer(graded, worker=self.name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """End the judges and remove the files."""
        while hasattr(self, "judges") and not self.judges.empty():
            self.judges.get().shutdown(wait=False, cancel_futures=True)
        self.run.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_places: dict[tuple[str, str], _Place] = {}  # run and worker -> place
_lock = threading.Lock()


def grade_there(order: Order, work: Work) -> Answer:
    """The task of a cluster: grade a submission on the worker that runs it.

    Raises:
        PlaceError: This worker cannot.
    """
    place = _enter(order)
    try:
        return place.grade(work)
    finally:
        with _lock:
            place.users -= 1
            place.left = time.monotonic()


def _enter(order: Order) -> _Place:
    """The run's place on this worker, opened by its first task."""
    from distributed import get_worker

    mine = (order.run, get_worker().address)
    with _lock:
        for other, place in list(_places.items()):
            if other != mine and not place.users and time.monotonic() - place.left > IDLE:
                _places.pop(other).close()
        if mine not in _places:
            try:
                _places[mine] = _Place(order)
            except PlaceError:
                raise
            except Exception as error:  # whatever it is, it would meet every other submission here too
                raise PlaceError(f"the worker on {socket.gethostname()} cannot grade: {type(error).__name__}: {error}") from error
        _places[mine].users += 1
        return _places[mine]


def close_place(run: str) -> None:
    """End what a run has in this process."""
    with _lock:
        mine = [_places.pop(known) for known in list(_places) if known[0] == run]
    for place in mine:
        place.close()
