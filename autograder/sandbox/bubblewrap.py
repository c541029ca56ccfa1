"""The strongest wall: bubblewrap gives a worker namespaces of its own and a view of nothing but what its room names."""

import os
import sys
from pathlib import Path

from autograder.sandbox.view import Room, visible

__all__ = ["DOOR", "DOOR_INSIDE", "STYLES", "bubblewrap", "bubblewrap_for_zygote", "styles"]

DOOR = Path(__file__).resolve().parent
DOOR_INSIDE = "/run/door"
DOOR_FILES = ("door.py", "kernel.py", "landlock.py", "namespaces.py", "seccomp.py", "zygote.py")
NOBODY = "65534"
# "user": with a user namespace, for ordinary users. "root": without; root changes to an unused user at the door instead,
# since the kernel counts no processes of root, not even inside a user namespace
STYLES = ("root", "user")


def styles() -> tuple[str, ...]:
    """Styles worth trying for whoever runs the judge, best first."""
    return STYLES if os.geteuid() == 0 else STYLES[1:]


# what a worker's door needs to hand it to another user, and what a zygote needs beyond that to give it namespaces of its own
DOOR_RIGHTS = ("CAP_SETUID", "CAP_SETGID", "CAP_DAC_READ_SEARCH", "CAP_SYS_RESOURCE")
ZYGOTE_RIGHTS = ("CAP_SYS_ADMIN",)


def bubblewrap(program: str, room: Room, style: str) -> list[str]:
    """Command line of bubblewrap up to the command that runs inside, where a worker starts anew.

    Args:
        program: Path of ``bwrap``.
        room: What is seen inside.
        style: One of ``STYLES``.
    """
    rights = DOOR_RIGHTS if style == "root" else ()
    command = [*_namespaces(program, style, rights), "--proc", "/proc", "--dev", "/dev", *_view(room), "--remount-ro", "/"]
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
    command += ["--dev", "/dev", *_view(room), "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*command, "--chdir", str(room.scratch), "--", sys.executable, "-s", f"{DOOR_INSIDE}/zygote.py"]


def _namespaces(program: str, style: str, rights: tuple[str, ...]) -> list[str]:
    command = [program, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--unshare-user", "--uid", NOBODY, "--gid", NOBODY] if style == "user" else []
    command += ["--cap-drop", "ALL"]
    for right in rights:
        command += ["--cap-add", right]
    return [*command, "--die-with-parent", "--new-session", "--hostname", "worker"]


def _view(room: Room) -> list[str]:
    """The files and folders of a room, the door's own among them."""
    command = []
    for path in visible(room):
        if path.is_symlink() and path.parent == Path("/"):
            command += ["--symlink", os.readlink(path), str(path)]
        elif not str(path).startswith("/proc/"):
            command += ["--ro-bind", str(path), str(path)]
    if room.gpu:
        for device in sorted(Path("/dev").glob("nvidia*")):
            command += ["--dev-bind", str(device), str(device)]
    for name in DOOR_FILES:
        command += ["--ro-bind", str(DOOR / name), f"{DOOR_INSIDE}/{name}"]
    return [*command, "--bind", str(room.scratch), str(room.scratch)]
