"""Namespaces of a forked worker, inside the room that bubblewrap made for its zygote. Runs in that room: standard library only."""

import ctypes
import os

__all__ = ["SHARED_MEMORY", "own_files", "own_processes"]

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x08000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
CLOSED = MS_NOSUID | MS_NODEV | MS_NOEXEC
SHARED_MEMORY = 64 * 2**20  # bytes

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    if _libc.mount(*texts, ctypes.c_ulong(flags), None if data is None else data.encode()) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount on {target}: {os.strerror(number)}")


def _unshare(flags: int) -> None:
    if _libc.unshare(ctypes.c_int(flags)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")


def own_processes() -> None:
    """Give the next child, and all below it, process numbers, network and shared memory of their own.

    Raises:
        OSError: If the kernel refuses it.
    """
    _unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC)


def own_files(nest: str, scratch: str) -> None:
    """Mount one scratch folder over the folder that holds all of them, and show only this namespace's processes.

    Args:
        nest: Folder of the scratch folders; afterwards it is the one scratch folder.
        scratch: A folder in it.

    Raises:
        OSError: If the kernel refuses it.
    """
    _unshare(CLONE_NEWNS)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount(scratch, nest, None, MS_BIND)
    if os.path.isdir("/dev/shm"):
        # nr_inodes: empty files take memory too
        _mount("tmpfs", "/dev/shm", "tmpfs", CLOSED, f"size={SHARED_MEMORY},nr_inodes=4096,mode=1777")
    _mount("proc", "/proc", "proc", CLOSED)
    _mount(None, "/proc", None, MS_REMOUNT | MS_BIND | MS_RDONLY | CLOSED)
