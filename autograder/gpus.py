"""The GPU as the judge sees it: its name, its memory, and who may use it. Asked of the driver; torch would take hold of it."""

import ctypes
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Memory", "gpu_name", "lock_file", "memory", "memory_left_behind"]

DEVICES = Path("/dev")
SLACK = 64 * 2**20  # bytes that may come and go on a GPU without anybody's doing
PATIENCE = 10.0  # seconds in which the driver takes back the memory of a process that ended


class Memory(NamedTuple):
    """Bytes of the GPU's memory."""

    used: int
    total: int


class _NvmlMemory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


@cache
def _first_gpu() -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    """The driver's own library, and its handle of the first GPU; None where there is none."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    handle = ctypes.c_void_p()
    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)):
        return None
    return library, handle


def gpu_name() -> str:
    """Name of the GPU that gates are measured on."""
    found, text = _first_gpu(), ctypes.create_string_buffer(96)
    if found is None or found[0].nvmlDeviceGetName(found[1], text, len(text)):
        return "GPU"
    return text.value.decode("utf-8", "replace").strip() or "GPU"


def memory() -> Memory | None:
    """Memory of the GPU, of all programs; None where the driver does not say."""
    found, numbers = _first_gpu(), _NvmlMemory()
    if found is None or found[0].nvmlDeviceGetMemoryInfo(found[1], ctypes.byref(numbers)):
        return None
    return Memory(numbers.used, numbers.total)


def lock_file(folder: Path) -> Path:
    """What a judge locks while it uses the GPU: its device file, which the judges of all runs and users share.

    Args:
        folder: Of the run; a file in it is taken where the GPU has no device file.
    """
    nodes = [path for path in DEVICES.glob("nvidia[0-9]*") if path.name[6:].isdigit()]
    return min(nodes, key=lambda path: int(path.name[6:]), default=folder / "gpu.lock")


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
