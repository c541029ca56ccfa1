"""The GPU as the judge sees it: its name, its memory, and who may use it. The driver answers; torch would allocate memory on it."""

import contextlib
import ctypes
import os
import re
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["DRIVERS", "Memory", "gpu_name", "lock_file", "memory", "memory_left_behind", "visible_gpu"]

DRIVERS = ("/usr/local/nvidia/lib64", "/usr/lib64-nvidia")  # where hosted machines keep the driver's libraries
LOCKS = Path("/tmp")  # whatever TMPDIR says: other users' judges must look at the same place
NAMED = re.compile(r"\d{1,3}|GPU-[0-9A-Fa-f-]{1,64}|MIG-(GPU-)?[0-9A-Fa-f-]{1,64}(/\d{1,3}/\d{1,3})?", re.ASCII)  # of CUDA_VISIBLE_DEVICES
SLACK = 64 * 2**20  # bytes by which a GPU's used memory may vary by itself
PATIENCE = 10.0  # seconds in which the driver takes back the memory of a process that ended


class Memory(NamedTuple):
    """Bytes of the GPU's memory."""

    used: int
    total: int


class _NvmlMemory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def visible_gpu() -> str | None:
    """The GPU that CUDA_VISIBLE_DEVICES names first: its number or UUID; None where it names none.

    A number counts as ``nvidia-smi`` does. CUDA does too where all GPUs are of one model, or with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return first if NAMED.fullmatch(first) else None


def _gpu() -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    """The driver's own library, and its handle of the GPU that gates are measured on; None where it knows none."""
    return _found(visible_gpu() or "0")


@cache
def _found(named: str) -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    library, handle = _library(), ctypes.c_void_p()
    if library is None or library.nvmlInit_v2():
        return None
    if named.isdigit():
        failed = library.nvmlDeviceGetHandleByIndex_v2(int(named), ctypes.byref(handle))
    else:
        failed = library.nvmlDeviceGetHandleByUUID(named.encode(), ctypes.byref(handle))
    return None if failed else (library, handle)


def _library() -> ctypes.CDLL | None:
    for name in ("libnvidia-ml.so.1", *(f"{folder}/libnvidia-ml.so.1" for folder in DRIVERS)):
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    return None


def gpu_name() -> str:
    """Name of the GPU that gates are measured on."""
    found, text = _gpu(), ctypes.create_string_buffer(96)
    if found is None or found[0].nvmlDeviceGetName(found[1], text, len(text)):
        return "GPU"
    return text.value.decode("utf-8", "replace").strip() or "GPU"


def memory() -> Memory | None:
    """Memory of the GPU, of all programs; None where the driver does not say."""
    found, numbers = _gpu(), _NvmlMemory()
    if found is None or found[0].nvmlDeviceGetMemoryInfo(found[1], ctypes.byref(numbers)):
        return None
    return Memory(numbers.used, numbers.total)


def lock_file() -> Path:
    """What a judge locks while it uses the GPU: a file that the judges of all runs and users share.

    It is no device file: not every driver lets those be locked. Others can read it, which is all that their locks need.
    """
    found, minor, named = _gpu(), ctypes.c_uint(), visible_gpu() or ""
    if found is not None and not found[0].nvmlDeviceGetMinorNumber(found[1], ctypes.byref(minor)):
        named = str(minor.value)
    path = LOCKS / f"segkit-gpu-{named if named.isdigit() else 0}.lock"
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        os.fchmod(handle, 0o644)  # whatever the umask
        os.close(handle)
    return path


def memory_left_behind(before: Memory | None) -> int:
    """Bytes that are still in use although the worker has ended; waits a while for the driver to take them back.

    Args:
        before: What ``memory`` said before the worker was started.
    """
    end = time.monotonic() + PATIENCE
    while before is not None and (now := memory()) is not None:
        left = now.used - before.used
        if left <= SLACK:
            return 0
        if time.monotonic() >= end:
            return left
        time.sleep(0.1)
    return 0
