"""The walls around a worker, behind one interface. The strongest level of this machine is used, and every result names it.

Levels, from strong to weak:

``bubblewrap``: own process, network and mount namespaces; a read-only view of Python, the student edition and nothing else.
``landlock``: files and signals are held back by Landlock, sockets by a seccomp filter. Needs no privilege and no namespaces.
``process``: no wall around files; signals, sockets and other processes' memory are held back by the seccomp filter, and a
judge that runs as root hands the worker to an unused user, without any right: that user must be able to read Python by itself.

At every level: an empty environment, no inherited descriptors, limits, no way to gain rights, and a guard process
(``door.py``) that ends the whole tree of processes. Where not even ``process`` can protect the judge from a worker, grading is
refused: there a student's ``kill(-1)`` would end the judge.
"""

import contextlib
import ctypes
import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from autograder.sandbox import users
from autograder.sandbox.bubblewrap import DOOR, bubblewrap, bubblewrap_for_zygote, styles
from autograder.sandbox.leftovers import owned_prefix
from autograder.sandbox.view import IsolationError, Limits, Room, devices, environment, visible

__all__ = [
    "LEVELS", "IsolationError", "Limits", "Room", "available", "best_level", "end_process", "forked_order", "launch", "launch_zygote",
    "mark_running",
]  # fmt: skip

LEVELS = ("bubblewrap", "landlock", "process")
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
ZERO = "/dev/zero"  # a process that may write to it can map it as shared memory, which no limit covers
SIGNAL_SCOPES = 6  # version of Landlock that keeps signals inside


class Worker(Protocol):
    """A started process, as ``end_process`` needs it; ``user`` was lent for it, or is None."""

    user: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


AnyWorker = TypeVar("AnyWorker", bound=Worker)


class GuardedProcess(subprocess.Popen[bytes]):
    """A guard with the command that it guards; ``user`` was lent for it (``end_process`` takes it back), or is None."""

    user: int | None = None


# --------------------------------------------------------------------------------------------------------------- choosing
@functools.cache
def _landlock_version() -> int:
    """Version of Landlock, asked in a process of its own; 0 if there is none."""
    question = f"import sys; sys.path.insert(0, {str(DOOR)!r}); import landlock; print(landlock.abi())"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", question], capture_output=True, text=True, timeout=60)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else 0


def _try(level: str, style: str | None = None) -> str:
    """Start Python behind a wall; returns what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-probe-")) as scratch, tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-I", "-S", "-c", "open('proof', 'w').write('1')"]
        try:
            process = _start(level, style, Room(Path(scratch)), command, (), errors.fileno())
            try:
                code = process.wait(timeout=30)
            finally:
                end_process(process)
        except (OSError, subprocess.TimeoutExpired, IsolationError) as error:
            return str(error)
        errors.seek(0)
        words = errors.read().decode("utf-8", "replace").strip()[-300:]
        return "" if code == 0 and Path(scratch, "proof").is_file() else words or f"exit code {code}"


@functools.cache
def _style() -> tuple[str | None, str]:
    """How bubblewrap works here (None: not at all), and why not."""
    if shutil.which("bwrap") is None:
        return None, "bubblewrap is not installed"
    troubles = []
    for style in styles():
        trouble = _try("bubblewrap", style)
        if not trouble:
            return style, ""
        troubles.append(trouble)
    return None, "; ".join(troubles)


@functools.cache
def trouble_with(level: str) -> str:
    """Try a level on this machine; returns why it cannot be had, or nothing."""
    if not sys.platform.startswith("linux"):
        return f"this is {sys.platform}, not Linux"
    if level == "bubblewrap":
        return _style()[1]
    if level == "landlock" and _landlock_version() == 0:
        return "this kernel has no Landlock (Linux 5.13 or newer, with landlock among its security modules)"
    return _try(level)


def available(level: str) -> bool:
    """Whether a level can be had on this machine."""
    return level in LEVELS and not trouble_with(level)


def best_level(demanded: str | None = None) -> str:
    """Return the strongest level this machine has.

    Args:
        demanded: The weakest level that is acceptable.

    Raises:
        IsolationError: If there is none, or none as strong as demanded.
    """
    if demanded is not None and demanded not in LEVELS:
        raise IsolationError(f"Expected an isolation level among {', '.join(LEVELS)}, but got {demanded!r}.")
    if not sys.platform.startswith("linux"):
        raise IsolationError(
            f"The autograder grades on Linux only, since it needs Linux to hold student code back; this is {sys.platform}. "
            "Notebooks, segkit and the release work here. Grade in a Linux container, a virtual machine, WSL 2 or CI."
        )
    accepted = LEVELS[: LEVELS.index(demanded) + 1] if demanded else LEVELS
    for level in accepted:
        if available(level):
            return level
    reasons = "\n".join(f"  {level}: {trouble_with(level)}" for level in accepted)
    raise IsolationError(
        f"Student code cannot be held back {'as strongly as demanded' if demanded else 'at all'} on this machine:\n{reasons}\n"
        "Install bubblewrap (Debian, Ubuntu: apt install bubblewrap) and allow user namespaces, or use a kernel with "
        "Landlock and seccomp" + (", or accept a weaker level." if demanded not in (None, LEVELS[-1]) else ".")
    )


# --------------------------------------------------------------------------------------------------------------- starting
def _enter_spec(level: str, room: Room, user: int | None) -> dict[str, Any]:
    """What ``door.py enter`` is told."""
    limits = room.limits
    outside = level != "bubblewrap"
    needed = {
        "bubblewrap": user is not None,  # such a worker keeps a right that would let it open the machine's files by handle
        "landlock": True,
        "process": user is None,  # without the filter, only another user id protects the judge from a plain process
    }
    contained = user is not None or (level == "landlock" and _landlock_version() >= SIGNAL_SCOPES)
    running = 0 if user is not None else users.running().get(os.geteuid(), 0)
    return {
        "memory_megabytes": limits.memory_megabytes, "file_megabytes": limits.file_megabytes,
        "open_files": limits.open_files, "cpu_seconds": limits.cpu_seconds,
        # the kernel counts all processes of the user, not only the worker's
        "process_limit": limits.processes + running,
        "user": user, "capability": users.reading_right(level, room) if user is not None else None, "guard": None,
        "landlock": level == "landlock",
        "readable": [*map(str, visible(room)), *_proc_files(), ZERO] if level == "landlock" else [],
        "writable": [str(room.scratch)], "devices": [str(path) for path in devices(room) if str(path) != ZERO],
        "filter": {
            "network": outside, "signals": outside and not contained, "attributes": outside, "memory": bool(limits.memory_megabytes),
            "gpu": room.gpu,
        },
        "filter_needed": needed[level], "names_threads": room.gpu,
    }  # fmt: skip


def _proc_files() -> list[str]:
    """What libraries read about the machine."""
    return ["/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/sys/devices/system"]


def _start(level: str, style: str | None, room: Room, command: Sequence[str], descriptors: Sequence[int], errors: int) -> GuardedProcess:
    """Start a command behind one kind of wall."""
    room = _real(room)
    user = users.lend() if style != "user" and users.can_lend_users() else None
    try:
        guard, enter = _guard_spec(room) | {"goes_first": True}, _enter_spec(level, room, user)
        if level == "bubblewrap":
            inside = [*bubblewrap(shutil.which("bwrap") or "bwrap", room, style or "user"), json.dumps(enter), *command]
        else:
            guard["enter"], inside = enter, list(command)
        if user is not None:
            users.hand_over(room.scratch, user)
        process = _open(guard, inside, room, descriptors, errors)
    except BaseException:
        users.take_back(user)
        raise
    process.user = user
    return process


def _real(room: Room) -> Room:
    return dataclasses.replace(room, scratch=Path(os.path.realpath(room.scratch)))


def _guard_spec(room: Room) -> dict[str, Any]:
    """What the guard before a worker is told."""
    limits = room.limits
    return {
        "judge": os.getpid(), "scratch": str(room.scratch), "processes": limits.processes,
        "memory_megabytes": limits.memory_megabytes, "disk_megabytes": limits.disk_megabytes, "stays_first": room.gpu,
    }  # fmt: skip


def _open(guard: dict[str, Any], inside: Sequence[str], room: Room, descriptors: Sequence[int], errors: int) -> GuardedProcess:
    """Start a guard with the command that it guards."""
    return GuardedProcess(
        [sys.executable, "-I", "-S", str(DOOR / "door.py"), "guard", json.dumps(guard), *inside], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=errors, pass_fds=tuple(descriptors), env=environment(room), cwd=room.scratch,
        start_new_session=True, close_fds=True,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- forking
UNBOUNDED = Limits(memory_megabytes=0, disk_megabytes=2**20, processes=2**16)


def launch_zygote(level: str, room: Room, preparation: str, descriptor: int, errors: int) -> GuardedProcess:
    """Start a process that forks workers behind a wall (see ``zygote.py``). It runs no student's code: each worker that it
    forks has a guard and limits of its own. End it with ``end_process``.

    Args:
        level: One of ``LEVELS``.
        room: What its workers may see; the scratch folder is the one that holds theirs.
        preparation: JSON: the script and arguments of what is imported.
        descriptor: Its end of a socket pair.
        errors: File descriptor for its standard error.

    Raises:
        OSError: If nothing can be started.
    """
    room = dataclasses.replace(_real(room), limits=UNBOUNDED)
    if level == "bubblewrap":
        inside = bubblewrap_for_zygote(shutil.which("bwrap") or "bwrap", room, _style()[0] or "user")
    else:
        inside = [sys.executable, "-s", str(DOOR / "zygote.py")]
    return _open(_guard_spec(room) | {"goes_first": False}, [*inside, str(descriptor), preparation], room, (descriptor,), errors)


def forked_order(level: str, room: Room, command: Sequence[str], descriptors: Sequence[int]) -> tuple[dict[str, Any], int | None]:
    """What a zygote is told of a worker, and the user that was lent for it (for ``users.take_back``).

    Args:
        level: The zygote's level.
        room: The worker's room; its scratch folder lies in that of the zygote's room.
        command: A script and its arguments.
        descriptors: Numbers that the command expects its descriptors to have.
    """
    room = _real(room)
    separate = level == "bubblewrap"
    user = users.lend() if not (separate and _style()[0] == "user") and users.can_lend_users() else None
    try:
        inside = room.scratch.parent if separate else room.scratch
        order = {
            "namespaces": separate, "nest": str(room.scratch.parent), "scratch": str(room.scratch), "inside": str(inside),
            "guard": _guard_spec(room), "enter": _enter_spec(level, room, user), "command": list(command), "descriptors": list(descriptors),
        }  # fmt: skip
        if user is not None:
            users.hand_over(room.scratch, user)
    except BaseException:
        users.take_back(user)
        raise
    return order, user


def launch(level: str, room: Room, command: Sequence[str], descriptors: Sequence[int], errors: int) -> GuardedProcess:
    """Start a command behind a wall. End it with ``end_process``, also when it ended by itself.

    Args:
        level: One of ``LEVELS``.
        room: What it may see and use.
        command: The command; its first word is a path.
        descriptors: File descriptors that it inherits.
        errors: File descriptor for its standard error.

    Raises:
        IsolationError: If the level cannot be had here.
        OSError: If nothing can be started.
    """
    style, trouble = _style() if level == "bubblewrap" else (None, "")
    if trouble:
        raise IsolationError(f"Isolation level {level} cannot be had on this machine: {trouble}")
    with mark_running() as running:
        return running(_start(level, style, room, command, descriptors, errors))


def end_process(process: Worker) -> None:
    """End a worker with all it started, and wait until all of that is gone.

    Args:
        process: From ``launch``, ``launch_zygote`` or ``Zygote.launch``.
    """
    if process.poll() is None:
        process.terminate()  # its guard kills whatever is left, and ends last
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            if isinstance(process, subprocess.Popen):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait(timeout=10)
    users.take_back(process.user)
    _open_memory(process)


# --------------------------------------------------------------------------------------------------- the judge's own memory
_lock = threading.Lock()
_running: set[Worker] = set()
_was_dumpable = 1


@contextlib.contextmanager
def mark_running() -> Iterator[Callable[[AnyWorker], AnyWorker]]:
    """Close the judge's memory before a worker starts; ``end_process`` opens it again after the last one.

    Yields:
        A function to which the started worker is given; it returns the worker.
    """
    _close_memory()

    def running(process: AnyWorker) -> AnyWorker:
        with _lock:
            _running.add(process)
        return process

    try:
        yield running
    except BaseException:
        _open_memory()
        raise


def _close_memory() -> None:
    """While workers run, no process of the same user may open ``/proc/JUDGE/mem`` or attach a debugger to the judge."""
    global _was_dumpable
    with _lock:
        if not _running:
            libc = ctypes.CDLL(None)
            _was_dumpable = libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
            libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _open_memory(process: Worker | None = None) -> None:
    """Forget a worker; after the last one the judge's memory is as before."""
    with _lock:
        if process is not None:
            _running.discard(process)
        if not _running and _was_dumpable == 1:
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
