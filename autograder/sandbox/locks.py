"""Locks between processes. The kernel releases a lock when its holder ends, in whatever way: no lock outlives a killed process."""

import contextlib
import datetime
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["FolderBusyError", "file_lock", "hold_folder", "one_of", "try_lock"]

FOLDER_LOCK = ".grading.lock"
PAUSE = 0.2  # seconds between two looks for a free place

_held: set[Path] = set()


class FolderBusyError(Exception):
    """Another run is grading into the folder."""


def try_lock(path: Path, wait: bool = False) -> int | None:
    """Lock a file, which is made where it is missing.

    Args:
        path: The file.
        wait: Whether to wait for another holder's end.

    Returns:
        The open descriptor, which holds the lock until it is closed; None if another process has it.
    """
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass  # the last holder removed the file while we waited: our descriptor is no longer the lock
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _open(path: Path) -> int:
    """Open a file that is locked; another user's for reading, which a lock needs no more than."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY | flags)


def _release(path: Path, handle: int) -> None:
    path.unlink(missing_ok=True)
    os.close(handle)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock, after its holder if there is one; the file is gone afterwards."""
    handle = try_lock(path, wait=True)
    assert handle is not None, "try_lock waits until it has the lock"
    try:
        yield
    finally:
        _release(path, handle)


@contextlib.contextmanager
def one_of(paths: Sequence[Path]) -> Iterator[None]:
    """Hold the first of several locks that becomes free; without paths no lock is held. The files stay."""
    handle = None
    while paths and handle is None:
        handle = next((found for path in paths if (found := try_lock(path)) is not None), None)
        if handle is None:
            time.sleep(PAUSE)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[str]:
    """Keep other runs from writing into a folder of results. Within one process it may be held twice.

    Yields:
        Who held it before and could not release it (killed, power loss), or an empty text.

    Raises:
        FolderBusyError: Another run holds it; the text says who, where and since when.
    """
    folder = folder.resolve()
    if folder in _held:
        yield ""
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FOLDER_LOCK
    handle = try_lock(path)
    if handle is None:
        raise FolderBusyError(
            f"Another run is grading into {folder}: {_holder(path) or 'it has just begun'}. Wait until it has ended or stop "
            "it, or give another --out. Nothing was changed."
        )
    _held.add(folder)
    try:
        before = _holder(path)
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": now}).encode())
        yield before
    finally:
        _held.discard(folder)
        _release(path, handle)


def _holder(path: Path) -> str:
    """What a lock file says of its holder."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}, since {holder['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
