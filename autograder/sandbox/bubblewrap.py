"""The strongest wall: bubblewrap gives a worker its own namespaces and shows it only what its room names."""

import functools
import os
import stat
import subprocess
import sys
from pathlib import Path

from autograder.sandbox.namespaces import SHARED_MEMORY
from autograder.sandbox.users import can_lend_users
from autograder.sandbox.view import Room, visible

__all__ = ["DOOR", "DOOR_INSIDE", "STYLES", "bubblewrap", "bubblewrap_for_zygote", "knows", "styles"]

DOOR = Path(__file__).resolve().parent
DOOR_INSIDE = "/run/door"
DOOR_FILES = ("door.py", "kernel.py", "landlock.py", "namespaces.py", "seccomp.py", "zygote.py")
NOBODY = "65534"
# "user": with a user namespace, for ordinary users. "root": without; root changes to an unused user at the door instead,
# since the kernel counts no processes of root, not even inside a user namespace
STYLES = ("root", "user")


def styles() -> tuple[str, ...]:
    """Styles to try for the user who runs the judge, best first. Root that cannot lend users would give workers its own rights."""
    return STYLES if can_lend_users() else STYLES[1:]


@functools.cache
def knows(program: str, *options: str) -> bool:
    """Whether this bubblewrap has options that old ones lack."""
    try:
        done = subprocess.run([program, "--help"], capture_output=True, text=True, errors="replace", timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    words = (done.stdout + done.stderr).split()
    return all(option in words for option in options)


# DOOR_RIGHTS: what a worker's door needs to hand it to another user. ZYGOTE_RIGHTS: what a zygote needs in addition to give a
# worker its own namespaces. Both need the right to give up rights for good.
DOOR_RIGHTS = ("CAP_SETUID", "CAP_SETGID", "CAP_DAC_READ_SEARCH", "CAP_SYS_RESOURCE", "CAP_SETPCAP")
ZYGOTE_RIGHTS = ("CAP_SYS_ADMIN", "CAP_SETPCAP")


def bubblewrap(program: str, room: Room, style: str) -> list[str]:
    """Command line of bubblewrap up to the command that runs inside, where a worker starts anew.

    Args:
        program: Path of ``bwrap``.
        room: What is seen inside.
        style: One of ``STYLES``.
    """
    rights = DOOR_RIGHTS if style == "root" else ()
    command = [*_namespaces(program, style, rights), "--proc", "/proc", *_devices(), *_view(room), *_shared_memory(program)]
    command += ["--remount-ro", "/dev", "--remount-ro", "/"]
    command += [] if room.gpu else ["--remount-ro", "/proc"]  # CUDA's driver names its threads there, and fails where it cannot
    return [*command, "--chdir", str(room.scratch), "--", sys.executable, "-I", "-S", f"{DOOR_INSIDE}/door.py", "enter"]


def bubblewrap_for_zygote(program: str, room: Room, style: str) -> list[str]:
    """Command line of bubblewrap for a zygote: it keeps the right to make namespaces, and runs no student's code itself.

    Args:
        program: Path of ``bwrap``.
        room: What is seen inside; its scratch folder is the one that holds those of the workers.
        style: One of ``STYLES``.
    """
    rights = (*DOOR_RIGHTS, *ZYGOTE_RIGHTS) if style == "root" else ZYGOTE_RIGHTS
    command = _namespaces(program, style, rights)
    # in a user namespace the kernel mounts a new /proc only over one that hides nothing; the zygote's children do so
    command += ["--proc", "/proc"] if style == "root" else ["--bind", "/proc", "/proc"]
    command += [*_devices(), *_view(room), "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*command, "--chdir", str(room.scratch), "--", sys.executable, "-s", f"{DOOR_INSIDE}/zygote.py"]


def _namespaces(program: str, style: str, rights: tuple[str, ...]) -> list[str]:
    command = [program, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--unshare-user", "--uid", NOBODY, "--gid", NOBODY] if style == "user" else []
    command += ["--cap-drop", "ALL"]
    for right in rights:
        command += ["--cap-add", right]
    return [*command, "--die-with-parent", "--new-session", "--hostname", "worker"]


def _devices() -> list[str]:
    """A folder of devices. /dev/full also reads as zeros, but cannot be mapped as shared memory, which no limit covers."""
    return ["--dev", "/dev", "--dev-bind", "/dev/full", "/dev/zero"]


def _shared_memory(program: str) -> list[str]:
    """Shared memory for a worker's processes; none where bubblewrap cannot limit its size, or is setuid and therefore refuses to."""
    if not knows(program, "--perms", "--size") or _setuid(program):
        return []
    return ["--perms", "1777", "--size", str(SHARED_MEMORY), "--tmpfs", "/dev/shm"]


def _setuid(program: str) -> bool:
    """Whether a program runs with other rights than those of whoever starts it."""
    return os.geteuid() != 0 and os.path.exists(program) and bool(Path(program).stat().st_mode & stat.S_ISUID)


def _view(room: Room) -> list[str]:
    """The files and folders of a room, the door's own among them."""
    command = []
    for path in visible(room):
        if path.is_symlink() and path.parent == Path("/"):
            command += ["--symlink", str(path.readlink()), str(path)]
        elif not str(path).startswith("/proc/"):
            command += ["--ro-bind", str(path), str(path)]
    if room.gpu:
        for device in sorted(Path("/dev").glob("nvidia*")):
            command += ["--dev-bind", str(device), str(device)]
    for name in DOOR_FILES:
        command += ["--ro-bind", str(DOOR / name), f"{DOOR_INSIDE}/{name}"]
    return [*command, "--bind", str(room.scratch), str(room.scratch)]
