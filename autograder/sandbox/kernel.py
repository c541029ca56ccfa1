"""System calls that Python has no function for. Runs inside the wall's door: standard library only."""

import ctypes
import os
import struct

__all__ = ["become", "call", "prctl", "renounce"]

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 3, 8
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAP_AMBIENT = 36, 38, 22, 47
PR_CAPBSET_DROP, LAST_RIGHT = 24, 63
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def call(number: int, *arguments: object) -> int:
    """Make a system call by number.

    Raises:
        OSError: If the kernel refuses it.
    """
    _libc.syscall.restype = ctypes.c_long
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *converted), f"system call {number}")


def prctl(option: int, *arguments: object) -> int:
    """Call prctl(2).

    Raises:
        OSError: If the kernel refuses it.
    """
    values = [*arguments, *[0] * (4 - len(arguments))]
    converted = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in values]
    return _checked(_libc.prctl(ctypes.c_int(option), *converted), f"prctl {option}")


def become(user: int, keep: int | None = None) -> None:
    """Turn from root into a user without a name, without groups and without rights.

    Args:
        user: User and group id.
        keep: One capability that is kept, also over an exec, or None. Where Python itself lies in a folder that only root
            may enter, a worker needs the right to read it.
    """
    _lower_bounds(keep)
    prctl(PR_SET_KEEPCAPS, int(keep is not None))
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if keep is None:
        return
    _set_rights(1 << keep)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, keep)


def renounce() -> None:
    """Give up every capability, for good."""
    _lower_bounds(None)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _set_rights(0)


def _lower_bounds(keep: int | None) -> None:
    """Give up all capabilities but one that an exec could give. Who has no right to do so is held by "no new rights" alone."""
    for right in range(LAST_RIGHT + 1):
        if right != keep:
            try:
                prctl(PR_CAPBSET_DROP, right)
            except OSError:  # beyond the last one that this kernel knows, or not allowed
                return


def _set_rights(mask: int) -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION, 0))
    sets = ctypes.create_string_buffer(struct.pack("=6I", mask, mask, mask, 0, 0, 0))
    _checked(_libc.capset(header, sets), "capset")
