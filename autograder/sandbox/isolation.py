"""The walls around a worker, behind one interface: bubblewrap where it works, else a plain process with limits.

Levels, from strong to weak: ``bubblewrap`` (own user, process, network and mount namespaces; a read-only view of Python, the
student edition and nothing else), ``process`` (limits, a new session, an empty environment).
"""

import functools
import os
import shutil
import signal
import site
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["LEVELS", "IsolationError", "Room", "best_level", "end_process", "launch"]

LEVELS = ("bubblewrap", "process")
UNUSED_ID = "65534"


class IsolationError(Exception):
    """The level that was asked for cannot be had on this machine."""


@dataclass(frozen=True)
class Room:
    """What a worker may see.

    Attributes:
        scratch: The one folder it may write to.
        readable: Files and folders it may read, beside Python itself.
        gpu: Whether the GPU's device files are let in.
    """

    scratch: Path
    readable: Sequence[Path] = field(default_factory=tuple)
    gpu: bool = False


def environment(room: Room) -> dict[str, str]:
    """The worker's whole environment."""
    return {
        "HOME": str(room.scratch), "TMPDIR": str(room.scratch), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "SEGKIT_WORKER": "1",
    }  # fmt: skip


def python_folders() -> list[Path]:
    """Folders without which this Python does not run: its prefix, the base it was made from, and site-packages."""
    folders = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), *map(Path, site.getsitepackages())}
    return sorted(folder for folder in folders if folder.is_dir())


def _bubblewrap(room: Room) -> list[str]:
    """Command line of bubblewrap for a room."""
    command = [
        "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--uid", UNUSED_ID, "--gid", UNUSED_ID,
        "--cap-drop", "ALL", "--hostname", "worker", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
    ]  # fmt: skip
    for folder in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives"):
        if os.path.islink(folder):
            command += ["--symlink", os.readlink(folder), folder]
        elif os.path.exists(folder):
            command += ["--ro-bind", folder, folder]
    for path in [*python_folders(), *room.readable]:
        command += ["--ro-bind", str(path), str(path)]
    if room.gpu:
        for device in sorted(Path("/dev").glob("nvidia*")):
            command += ["--dev-bind", str(device), str(device)]
        command += ["--ro-bind-try", "/sys", "/sys", "--ro-bind-try", "/usr/local/nvidia", "/usr/local/nvidia"]
    command += ["--bind", str(room.scratch), str(room.scratch), "--chdir", str(room.scratch), "--clearenv"]
    for name, value in environment(room).items():
        command += ["--setenv", name, value]
    return command


@functools.cache
def _works(level: str) -> bool:
    """Try a level on this machine."""
    if not sys.platform.startswith("linux"):
        return False
    if level == "process":
        return True
    if shutil.which("bwrap") is None:
        return False
    probe = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    try:
        return subprocess.run(probe, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def best_level(demanded: str | None = None) -> str:
    """Return the strongest level this machine has.

    Args:
        demanded: The weakest level that is acceptable.

    Raises:
        IsolationError: If there is none, or none as strong as demanded.
    """
    if demanded is not None and demanded not in LEVELS:
        raise IsolationError(f"Expected an isolation level among {', '.join(LEVELS)}, but got {demanded!r}.")
    accepted = LEVELS[: LEVELS.index(demanded) + 1] if demanded else LEVELS
    for level in accepted:
        if _works(level):
            return level
    if not sys.platform.startswith("linux"):
        raise IsolationError(f"The autograder grades on Linux; this is {sys.platform}. Notebooks and segkit work here.")
    raise IsolationError(
        f"Isolation level {demanded} cannot be had on this machine. Install bubblewrap (Debian, Ubuntu: apt install "
        "bubblewrap) and allow user namespaces, or accept a weaker level."
    )


def launch(level: str, room: Room, command: Sequence[str], descriptors: Sequence[int], errors: int) -> subprocess.Popen:
    """Start a command behind a wall.

    Args:
        level: One of ``LEVELS``.
        room: What it may see.
        command: The command.
        descriptors: File descriptors that it inherits.
        errors: File descriptor for its standard error.
    """
    full = [*_bubblewrap(room), "--", *command] if level == "bubblewrap" else list(command)
    return subprocess.Popen(
        full, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, pass_fds=tuple(descriptors),
        env=environment(room), cwd=room.scratch, start_new_session=True, close_fds=True,
    )  # fmt: skip


def end_process(process: subprocess.Popen) -> None:
    """Kill a worker and everything in its session, and wait for it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
