"""The strongest wall: bubblewrap gives a worker namespaces of its own and a view of nothing but what its room names."""

import os
import sys
from pathlib import Path

from autograder.sandbox.view import Room, visible

__all__ = ["DOOR", "STYLES", "bubblewrap", "styles"]

DOOR = Path(__file__).resolve().parent
DOOR_INSIDE = "/run/door"
DOOR_FILES = ("door.py", "kernel.py", "landlock.py", "seccomp.py")
NOBODY = "65534"
# "user": with a user namespace, for ordinary users. "root": without; root changes to an unused user at the door instead,
# since the kernel counts no processes of root, not even inside a user namespace
STYLES = ("root", "user")


def styles() -> tuple[str, ...]:
    """Styles worth trying for whoever runs the judge, best first."""
    return STYLES if os.geteuid() == 0 else STYLES[1:]


def bubblewrap(program: str, room: Room, style: str) -> list[str]:
    """Command line of bubblewrap up to the command that runs inside.

    Args:
        program: Path of ``bwrap``.
        room: What is seen inside.
        style: One of ``STYLES``.
    """
    command = [program, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if style == "user":
        command += ["--unshare-user", "--uid", NOBODY, "--gid", NOBODY, "--cap-drop", "ALL"]
    else:
        command += ["--cap-drop", "ALL"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_DAC_READ_SEARCH", "CAP_SYS_RESOURCE"):
            command += ["--cap-add", capability]
    command += ["--die-with-parent", "--new-session", "--hostname", "worker", "--proc", "/proc", "--dev", "/dev"]
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
    command += ["--bind", str(room.scratch), str(room.scratch), "--remount-ro", "/", "--chdir", str(room.scratch)]
    return [*command, "--", sys.executable, "-I", "-S", f"{DOOR_INSIDE}/door.py", "enter"]
