"""A judge that runs as root gives each worker an unused user id: for root the kernel neither counts processes nor blocks
signals.
"""

import functools
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from autograder.sandbox.view import IsolationError, Room, open_to_all, python_folders

__all__ = ["can_lend_users", "hand_over", "lend", "reading_right", "rights", "running", "take_back"]

# unused by convention: systemd lends these ids to services, and first checks that one is free, as we do
UNUSED_USERS = range(61184, 65520)
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID = 0, 1, 2, 5, 6, 7


def running() -> dict[int, int]:
    """How many processes and threads each user runs."""
    counts: dict[int, int] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                # not the folder's owner: it is root for every process that closed its memory
                status = dict(line.split(":", 1) for line in (process / "status").read_text("utf-8", "replace").splitlines())
                owner = int(status["Uid"].split()[0])
                counts[owner] = counts.get(owner, 0) + int(status["Threads"])
            except (OSError, KeyError, ValueError):
                continue
    return counts


_taken: set[int] = set()
_lock = threading.Lock()


def lend() -> int:
    """Choose a user id without an account and without processes. Parallel judges start their search at different numbers."""
    import pwd  # does not exist on Windows, where this module is imported but not used

    known = {entry.pw_uid for entry in pwd.getpwall()} | set(running())
    begin = (os.getpid() * 37 + len(_taken)) % len(UNUSED_USERS)
    for step in range(len(UNUSED_USERS)):
        user = UNUSED_USERS[(begin + step) % len(UNUSED_USERS)]
        with _lock:
            if user not in known and user not in _taken:
                _taken.add(user)
                return user
    raise IsolationError("no unused user id is left for a worker")


@functools.cache
def rights() -> int:
    """The judge's effective capabilities, as bits."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def can_lend_users() -> bool:
    """Whether the judge may hand files and processes to other users, and end them there. Root in a container often may not."""
    return os.geteuid() == 0 and all(rights() >> right & 1 for right in (CAP_CHOWN, CAP_KILL, CAP_SETGID, CAP_SETUID))


def reading_right(level: str, room: Room) -> int | None:
    """The right to read that a worker of root needs, where Python or its files lie in a folder closed to others.

    Raises:
        IsolationError: If the judge has no such right to give, or the level leaves files open that it would read.
    """
    if level == "bubblewrap":
        return CAP_DAC_READ_SEARCH  # the view holds nothing but what may be read
    if level == "process":
        _let_through(room.readable)
    closed = [str(above) for above in room.scratch.parents if not above.stat().st_mode & 0o001]
    closed += [str(path) for path in [*python_folders(), *room.readable] if not open_to_all(path)]
    if not closed:
        return None
    # both rights allow reading every file, the course's secret as well: given only where Landlock restricts the files
    for right in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if level == "landlock" else ():
        if rights() >> right & 1:
            return right
    raise IsolationError(f"a worker's user cannot read {closed[0]}: let all users read it (chmod o+rX), and enter the folders above")


def _let_through(paths: Iterable[Path]) -> None:
    """Let other users pass, but not look around in, the judge's own temporary folders above what a worker reads."""
    from autograder.sandbox.leftovers import MARK  # which imports this module

    for above in {above for path in paths for above in Path(path).parents if MARK.fullmatch(above.name)}:
        above.chmod(above.stat().st_mode | 0o001)


def take_back(user: int | None) -> None:
    """Let a user be lent again."""
    with _lock:
        _taken.discard(user)


def hand_over(folder: Path, user: int) -> None:
    """Give a folder with all that is in it to a user."""
    os.chown(folder, user, user)
    for above, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            os.chown(Path(above, name), user, user, follow_symlinks=False)
