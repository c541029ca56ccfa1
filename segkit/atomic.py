"""Write a file so that a reader sees the old or the new one, never a half-written one.

A training run that is killed, or that meets a full disk, must not destroy the best checkpoint of the
last three hours. Everything that the kit writes more than once goes through :func:`replacing`.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["DiskFullError", "HeldError", "WriteError", "disk_is_full", "move_over", "replacing"]

# Windows replaces no file that another program holds: a sync client or a scanner does for a moment, mostly just after it was written
HELD = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY}
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds


class WriteError(OSError):
    """A file could not be written; an older file of that name is untouched. ``strerror`` says what to do."""


class DiskFullError(WriteError):
    """There was no room."""


class HeldError(WriteError):
    """Another program held the older file for too long."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block succeeds, that file replaces ``path``.

    The temporary name is fixed (``.best.safetensors.partial``), so that what a killed run leaves behind
    is overwritten by the next one instead of piling up.

    Args:
        path: the file to be written. Missing folders above it are made.

    Yields:
        The path to write to, in the same folder (a rename is atomic only within one file system).

    Raises:
        DiskFullError: no space was left. ``path`` still holds what it held before.
        HeldError: another program held ``path`` for seconds; it still holds what it held before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors makes files that only their owner can read; a grader could not
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())  # without this, a power cut may leave an empty file under the final name
        move_over(partial, path)
    except BaseException as error:
        written = partial.stat().st_size if partial.exists() else 0
        partial.unlink(missing_ok=True)
        if disk_is_full(error) and not isinstance(error, DiskFullError):  # that one names the file which found no room
            raise DiskFullError(errno.ENOSPC, _disk_full_text(path, written)) from error
        raise


def move_over(source: Path, path: Path) -> None:
    """Let a file take the place of another in the same file system, waiting a little for a program that holds one of them.

    Raises:
        HeldError: it holds it for seconds.
        OSError: any other error of the system.
    """
    for pause in (*PAUSES, None):
        try:
            return os.replace(source, path)
        except OSError as error:
            if error.errno not in HELD or path.is_dir():
                raise
            if pause is None:
                raise HeldError(error.errno, _held_text(path, error)) from error
        time.sleep(pause)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error of Python, torch or safetensors comes from a full disk, a quota or a size limit.

    torch and safetensors wrap the system's error into their own types, which only keep its text, or
    raise another error while they handle it.
    """
    codes = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    while error is not None:
        if isinstance(error, OSError) and error.errno in codes:
            return True
        if any(f"os error {code}" in str(error) or os.strerror(code) in str(error) for code in codes):
            return True
        error = error.__cause__ or error.__context__
    return False


def _held_text(path: Path, error: OSError) -> str:
    return (
        f"{path}: could not be replaced for {sum(PAUSES):.0f} seconds ({error.strerror}), and is what it was before. Another program may "
        "hold it, or you may not replace it: close what has it open, pause a sync client (OneDrive, Dropbox) or keep this folder out of "
        "it, and run it again."
    )


def _disk_full_text(path: Path, written: int) -> str:
    free = shutil.disk_usage(path.parent).free
    kept = "The file that was there before is untouched." if path.exists() else "Nothing was written."
    return (
        f"{path}: no space left on the disk after {written / 2**20:.0f} MiB "
        f"({free / 2**20:.0f} MiB are free there now). {kept} "
        "Delete what you no longer need, or write to another disk, and run it again."
    )
