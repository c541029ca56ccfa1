"""Temporary folders with their owner in the name, so that a later process can remove those of a killed process.

The name holds the id of the process that made the folder, its start time, and the PID namespace of that id (a container has
its own). A folder is removed only if its owner is certainly dead and the folder belongs to this user.
"""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from autograder.sandbox.users import UNUSED_USERS

__all__ = ["owned_prefix", "remove_leftovers", "scratch_folder"]

MARK = re.compile(r"segkit-[a-z-]+-(?P<process>\d+)\.(?P<start>\d+)\.(?P<space>\d+)-[^.]+")


def _started(process: int) -> int | None:
    """When a process was started, in clock ticks since boot; None if there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _space() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux: such folders are never removed as leftovers
        return 0


def owned_prefix(prefix: str) -> str:
    """Return the prefix of a temporary name with this process in it, for ``tempfile``.

    Args:
        prefix: Such as ``"segkit-worker-"``; small letters and hyphens.
    """
    return f"{prefix}{os.getpid()}.{_started(os.getpid())}.{_space()}-"


def scratch_folder(prefix: str) -> Path:
    """Make a temporary folder. If this process dies without removing it, a later ``remove_leftovers`` removes it."""
    return Path(tempfile.mkdtemp(prefix=owned_prefix(prefix)))


def remove_leftovers(above: Path | None = None) -> list[Path]:
    """Remove the temporary folders of dead processes; those of living processes and of other users stay.

    Args:
        above: Where they lie; the folder of temporary files where it is left out.

    Returns:
        What was removed.
    """
    above, removed = Path(tempfile.gettempdir()) if above is None else above, []
    # root's workers run as users that are lent to them, and so do their folders
    users = {os.geteuid(), *(UNUSED_USERS if os.geteuid() == 0 else ())}
    for entry in os.scandir(above):
        found = MARK.fullmatch(entry.name)
        with suppress(OSError, ValueError):
            if not found or not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid not in users:
                continue
            if int(found["space"]) != _space() or _started(int(found["process"])) == int(found["start"]):
                continue
            shutil.rmtree(entry.path)
            removed.append(Path(entry.path))
    return removed
