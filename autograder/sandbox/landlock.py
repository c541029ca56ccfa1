"""Landlock: a process gives up every file but those it names, TCP, and signals to others. No privilege needed.

Runs inside the wall's door: standard library only. See https://docs.kernel.org/userspace-api/landlock.html .
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autograder.sandbox import kernel
else:
    import kernel

__all__ = ["abi", "restrict"]

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION = 1
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
FIRST_RIGHTS = (1 << 13) - 1
TCP = 0b11  # bind, connect
SCOPES = 0b11  # abstract sockets, signals
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE


def abi() -> int:
    """Version of Landlock in this kernel; 0 if there is none.

    1: files (Linux 5.13), 3: truncation (6.2), 4: TCP (6.7), 5: device ioctls (6.10), 6: signals (6.12).
    """
    try:
        return kernel.call(CREATE_RULESET, None, 0, VERSION)
    except OSError:
        return 0


def _rights(version: int) -> int:
    extra = [REFER if version >= 2 else 0, TRUNCATE if version >= 3 else 0, IOCTL_DEVICE if version >= 5 else 0]
    return FIRST_RIGHTS | sum(extra)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a path that does not exist needs no rule
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= ON_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle))
        kernel.call(ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
    finally:
        os.close(handle)


def restrict(readable: Iterable[str], writable: Iterable[str], devices: Iterable[str]) -> None:
    """Give up all files but these, for good and for all children.

    Args:
        readable: Files and folders that may be read and executed.
        writable: Folders in which all is allowed.
        devices: Device files that may be read, written and configured.

    Raises:
        OSError: If this kernel has no Landlock, or refuses.
    """
    version = kernel.call(CREATE_RULESET, None, 0, VERSION)
    handled = _rights(version)
    fields = [handled, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0]
    size = 8 * (3 if version >= 6 else 2 if version >= 4 else 1)  # an older kernel refuses a longer structure
    attributes = ctypes.create_string_buffer(struct.pack("=3Q", *fields)[:size], size)
    ruleset = kernel.call(CREATE_RULESET, attributes, size, 0)
    try:
        for path in readable:
            _allow(ruleset, path, EXECUTE | READ_FILE | READ_DIR)
        for path in writable:
            _allow(ruleset, path, handled & ~IOCTL_DEVICE)
        for path in devices:
            _allow(ruleset, path, handled & (WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE))
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
