"""The judge's side of the pipe: a Subject that lives in a worker."""

import inspect
import json
import os
import re
import select
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from autograder.sandbox.capped import told
from autograder.sandbox.forking import Zygote
from autograder.sandbox.isolation import IsolationError, Limits, Room, end_process, launch
from autograder.sandbox.leftovers import scratch_folder
from autograder.sandbox.verbs import VERBS, Asks, packed
from autograder.sandbox.wire import WireError, encode_message, read_message
from segkit.notebooks import Program
from segkit.subject import StudentError

__all__ = ["GraderFault", "RemoteSubject", "WorkerSettings", "encoded", "make_zygote", "sendable"]

HERE = Path(__file__).resolve().parent
SETTINGS_FILE = ".settings.json"
TRAINING_MEGABYTES = 16_000
ROOM = 256 * 2**20  # bytes free on the disk, of which a worker may fill less
# causes that a worker may name: what the code there can do. The student's own code could name any, and so blame the grader
SAID = re.compile(r"code\.[a-z_]{1,20}|checkpoint\.unreadable|forward\.type|gate\.precision|shape\.size")
MAX_REPLY = 2**28  # bytes of arrays; twice as much while they are unpacked


class GraderFault(Exception):
    """The grader or the machine failed; never the student's fault, never a zero."""


@dataclass(frozen=True)
class WorkerSettings:
    """How workers are started.

    Attributes:
        isolation: Level of ``autograder.sandbox.isolation``.
        edition: Folder that holds the student edition of segkit.
        weights: Weight file, or None.
        weight_index: Its index (see ``segkit.subject.WeightFile``), which workers do not get.
        seconds: Wall-clock limit of one reply, in seconds.
        total_seconds: Wall-clock limit of all replies that a subject waits for; starting workers does not count.
        memory_megabytes: Limit of a worker's private memory; 0 for none.
        gpu: Whether predictions may run on the GPU.
        zygote: What workers are forked from; None starts each anew.
        training: Folder with pictures and labels to train on, which the worker may read; None for no training.
    """

    isolation: str
    edition: Path
    weights: Path | None = None
    weight_index: Mapping[str, tuple[int, Sequence[int]]] = field(default_factory=dict)
    seconds: float = 60.0
    total_seconds: float = 900.0
    memory_megabytes: int = 3500
    file_megabytes: int = 64
    processes: int = 256
    cpu_seconds: int = 3600
    threads: int = 1
    predict_threads: int = 2
    gpu: bool = False
    zygote: Zygote | None = None
    training: Path | None = None

    def readable(self) -> list[Path]:
        """Files and folders that every worker may read."""
        files = [self.edition, *(HERE / name for name in ("worker.py", "wire.py", "lazy.py", "offline.py"))]
        files += [] if self.weights is None else [self.weights]
        return files if self.training is None else [*files, self.training, HERE / "retraining.py"]


def make_zygote(settings: WorkerSettings, nest: Path) -> Zygote:
    """Make the process that such workers are forked from.

    Args:
        settings: Settings of the workers.
        nest: Empty folder for their scratch folders.
    """
    return Zygote(settings.isolation, settings.readable(), HERE / "worker.py", (str(settings.edition),), nest)


def sendable(do: str, asked: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a question, ready to be sent (see ``packed``).

    Raises:
        GraderFault: One cannot be sent.
    """
    try:
        return packed(do, asked, index)
    except TypeError as error:
        raise GraderFault(f"The check's own argument: {error}") from None


def encoded(do: str, arguments: Mapping[str, Any], **beside: Any) -> list[bytes]:
    """The pieces of a question's message.

    Args:
        do: The question.
        arguments: What it says, sendable.
        **beside: Plain data that comes first.

    Raises:
        GraderFault: It is too large, or nested too deeply.
    """
    try:
        return encode_message({**beside, "do": do, "with": dict(arguments)})
    except WireError as error:
        raise GraderFault(f"{do}: {error}. Nothing was asked of the student's code.") from error


class RemoteSubject(Asks):
    """A student's work in a worker process, with a method for each of ``autograder.sandbox.verbs``.

    A worker that dies, hangs or talks nonsense costs the student the check it happened in; the next question gets a fresh
    worker, in which the definitions are run again.

    Args:
        settings: How to start workers.
        checkpoints: Name -> checkpoint file.
    """

    def __init__(self, settings: WorkerSettings, checkpoints: Mapping[str, Path] | None = None) -> None:
        self.settings = settings
        self.checkpoints = {name: Path(path).resolve() for name, path in (checkpoints or {}).items()}
        self.generation = 0
        self._number = 0
        self.waited = 0.0  # seconds, for replies
        self.device = "cpu"
        self.strange = True  # whether a student's code runs in the worker
        self._process: Any = None
        self._programs: dict[str, Program] = {}
        self._scratch: Path | None = None

    # ------------------------------------------------------------------------------------------------ the process
    def _start(self) -> None:
        self.close()
        zygote = self._zygote()
        self._scratch = zygote.make_scratch() if zygote else scratch_folder("segkit-worker-")
        inside = zygote.inside(self._scratch) if zygote else self._scratch
        self._write_settings(self._scratch, inside)
        child_read, judge_write = os.pipe()
        judge_read, child_write = os.pipe()
        room = Room(self._scratch, [*self.settings.readable(), *self.checkpoints.values()], self.settings.gpu, self._limits())
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
        script = [str(HERE / "worker.py"), str(child_read), str(child_write), str(inside / SETTINGS_FILE)]
        try:
            if zygote:
                self._process = zygote.launch(room, script, (child_read, child_write), self._log.fileno())
            else:
                command = [sys.executable, "-s", *script]
                self._process = launch(self.settings.isolation, room, command, (child_read, child_write), self._log.fileno())
        except (OSError, IsolationError) as error:
            raise GraderFault(f"The worker cannot be started: {error}") from error
        finally:
            os.close(child_read)
            os.close(child_write)
        self._requests: BinaryIO = os.fdopen(judge_write, "wb")
        self._replies = _TimedReader(judge_read)
        self.device = self._hello()
        for program in self._programs.values():
            self._ask("define", program=program.to_json())

    def _zygote(self) -> Zygote | None:
        """What the worker can be forked from: only where it needs nothing that other workers do not have."""
        zygote = self.settings.zygote
        return zygote if zygote and not self.settings.gpu and not self.checkpoints and zygote.works() else None

    def _limits(self) -> Limits:
        settings = self.settings
        if settings.training is not None:  # the network, its gradients, Adam's two means, and a file of all that
            return Limits(
                memory_megabytes=0 if settings.gpu else TRAINING_MEGABYTES, file_megabytes=TRAINING_MEGABYTES,
                disk_megabytes=TRAINING_MEGABYTES, processes=settings.processes, cpu_seconds=10**7,
            )  # fmt: skip
        memory = 0 if settings.gpu else settings.memory_megabytes  # CUDA reserves addresses without bound
        return Limits(
            memory_megabytes=memory, file_megabytes=settings.file_megabytes, processes=settings.processes,
            cpu_seconds=settings.cpu_seconds,
        )  # fmt: skip

    def _write_settings(self, scratch: Path, inside: Path) -> None:
        content = {
            "scratch": str(inside), "edition": str(self.settings.edition), "threads": self.settings.threads,
            "predict_threads": self.settings.predict_threads,
            "weights": str(self.settings.weights) if self.settings.weights else None,
            "checkpoints": {name: str(path) for name, path in self.checkpoints.items()}, "gpu": self.settings.gpu,
            "training": str(self.settings.training) if self.settings.training else None,
        }  # fmt: skip
        (scratch / SETTINGS_FILE).write_text(json.dumps(content), encoding="utf-8")

    def _hello(self) -> str:
        try:
            return str(self._exchange("hello", {}, 120.0)["value"]["device"])
        except (StudentError, KeyError, TypeError) as error:
            raise GraderFault(f"The worker did not start: {error}\n{self._last_words()}") from error

    def _last_words(self) -> str:
        """End of the worker's standard error, for whoever repairs the grader."""
        try:
            self._log.seek(0, os.SEEK_END)
            self._log.seek(max(0, self._log.tell() - 2000))
            return self._log.read().decode("utf-8", "replace").strip()
        except (OSError, ValueError):
            return ""

    def close(self) -> None:
        """End the worker and remove its scratch folder."""
        if self._process is not None:
            end_process(self._process)
            self._requests.close() if not self._requests.closed else None
            self._replies.close()
            self._log.close()
            self._process = None
            self.generation += 1  # now, not at the next start: whoever keeps a handle must see that it is gone
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def __enter__(self) -> "RemoteSubject":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ questions
    def _exchange(self, do: str, arguments: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one request and wait for its reply; a worker that fails to give one is ended."""
        self._number += 1
        request = encoded(do, arguments, number=self._number)
        try:
            sending = threading.Thread(target=self._send, args=(request,), daemon=True)
            sending.start()  # a worker that stops reading must not hang the judge
            self._replies.deadline = time.monotonic() + seconds
            reply = read_message(self._replies, MAX_REPLY)
            sending.join(timeout=5)
        except TimeoutError:
            self._abandon()
            raise StudentError(f"no reply within {seconds:.0f} s: an endless loop, or far too slow?", "code.timeout") from None
        except EOFError:
            raise StudentError(self._cause_of_death(), "code.died") from None
        except (WireError, OSError) as error:
            self._abandon()
            raise StudentError(f"the worker's reply cannot be read: {error}", "code.garbage") from None
        if type(reply.get("ok")) is not bool:
            self._abandon()
            raise StudentError("the worker's reply has an unknown form", "code.garbage")
        if type(number := reply.get("number")) is not int or number != self._number:  # a second reply to an earlier question
            self._abandon()
            raise StudentError("more than one process answers: does the code call os.fork() and go on in both?", "code.garbage")
        return reply

    def _left(self) -> float:
        """Seconds that are left for replies. A training is not counted: whoever grades said how long that may take.

        Raises:
            StudentError: There are none.
        """
        left = self.settings.total_seconds - self.waited
        if left <= 0:
            raise self._too_slow()
        return left

    def _too_slow(self) -> StudentError:
        total = f"{self.settings.total_seconds:g} s"
        return StudentError(f"the replies of this hand-in took {total} together, so no more was asked: far too slow?", "code.timeout")

    def _timed(self, do: str, arguments: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Ask, within what is left of the time for all replies together."""
        left, began = self._left() if do != "retrain" else seconds, time.monotonic()
        try:
            return self._exchange(do, arguments, min(seconds, left))
        except StudentError as error:
            if error.cause != "code.timeout" or left >= seconds:
                raise
        finally:
            self.waited += time.monotonic() - began if do != "retrain" else 0
        self.waited = max(self.waited, self.settings.total_seconds)
        raise self._too_slow() from None

    def _send(self, request: list[bytes]) -> None:
        try:
            for piece in request:
                self._requests.write(piece)
            self._requests.flush()
        except (OSError, ValueError):
            pass  # the worker is gone; the reader sees that too and says why

    def _abandon(self) -> None:
        self.close()

    def _cause_of_death(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except Exception:
            code = None
        words = self._last_words()
        self._abandon()
        if code == 137 and "\nended: " in f"\n{words}":  # the guard's last words (see door.py)
            return f"the process was ended: {words.rpartition('ended: ')[2][:200]}"
        # bubblewrap and shells report a death by signal as 128 + its number
        if code is not None and (code < 0 or 128 < code < 160):
            number = -code if code < 0 else code - 128
            why = {9: "killed (out of memory?)", 24: "its CPU time was used up", 11: "a crash in native code"}
            return f"the process ended by signal {number}: {why.get(number, 'killed')}"
        hint = "does the code call os._exit, exit() or quit()?" if code is not None else "it closed the pipe"
        return f"the process ended (exit code {code}): {hint}" + (f"\n{words[-300:]}" if words and code else "")

    def _ask(self, do: str, seconds: float | None = None, **arguments: Any) -> Any:
        self._left()
        if self._process is None:
            self._start()
        reply = self._timed(do, arguments, seconds or self.settings.seconds)
        if reply["ok"]:
            return reply.get("value")
        # whoever took over the worker writes what he likes: nothing here but plain words and known forms
        message, cause, fault = (reply.get(name) for name in ("message", "cause", "fault"))
        message = told(message) if isinstance(message, str) and message else "the worker gave no reason"
        if isinstance(fault, str) and fault == "grader":
            if self.strange and self._has_room():  # a worker that ran a student's code has no say in whose fault it is
                raise StudentError(f"what the code left behind could not be worked with ({do}): {message}", "code.raises")
            raise GraderFault(f"The worker failed at {do}: {message}")
        raise StudentError(message, cause if isinstance(cause, str) and SAID.fullmatch(cause) else "code.raises")

    def _has_room(self) -> bool:
        """Whether the disk on which workers write has room: without it everything fails, and no student is at fault."""
        return self._scratch is None or shutil.disk_usage(self._scratch).free > ROOM

    def define(self, program: Program) -> None:
        """Run a definition, now and in every later worker."""
        self._programs.pop(program.name, None)
        super().define(program)
        self._programs[program.name] = program

    def forget(self, handle: str) -> None:
        if self._process is not None:
            super().forget(handle)

    def put(self, do: str, given: inspect.BoundArguments) -> Any:
        """Send a question, and look at its reply."""
        given.apply_defaults()
        asked, verb = dict(given.arguments), VERBS[do]
        arguments = sendable(do, asked, self.settings.weight_index)
        return verb.receive(self._ask(do, verb.seconds(asked) if verb.seconds else None, **arguments), asked)


class _TimedReader:
    """Reads a pipe until a deadline."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.deadline = descriptor, 0.0

    def read(self, count: int) -> bytes:
        remaining = self.deadline - time.monotonic()
        ready, _, _ = select.select([self.descriptor], [], [], max(0.0, remaining))
        if not ready:
            raise TimeoutError
        return os.read(self.descriptor, count)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
