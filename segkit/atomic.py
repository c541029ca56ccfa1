"""Write a file so that a reader sees the old or the new one, never a half-written one.

A training run that is killed, or that meets a full disk, must not destroy the best checkpoint of the
last three hours. Everything that the kit writes more than once goes through :func:`replacing`.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["DiskFullError", "disk_is_full", "replacing"]


class DiskFullError(OSError):
    """There was no room for a file; an older file of that name is untouched."""


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
        os.replace(partial, path)
    except BaseException as error:
        written = partial.stat().st_size if partial.exists() else 0
        partial.unlink(missing_ok=True)
        if disk_is_full(error) and not isinstance(error, DiskFullError):  # that one names the file which found no room
            raise DiskFullError(errno.ENOSPC, _disk_full_text(path, written)) from error
        raise


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


def _disk_full_text(path: Path, written: int) -> str:
    free = shutil.disk_usage(path.parent).free
    kept = "The file that was there before is untouched." if path.exists() else "Nothing was written."
    return (
        f"{path}: no space left on the disk after {written / 2**20:.0f} MiB "
        f"({free / 2**20:.0f} MiB are free there now). {kept} "
        "Delete what you no longer need, or write to another disk, and run it again."
    )
