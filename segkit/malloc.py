"""How this process gets its memory from the system."""

import ctypes
import os
import sys
from contextlib import suppress

__all__ = ["keep_memory"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
ENOUGH = 16 * 2**30  # bytes; kept memory has holes, which take half as much again as is in use


def keep_memory(enough: int = ENOUGH) -> None:
    """Let this process, and its forks, keep freed memory for later tensors.

    glibc returns every large block to the system at once, and gets the next one page by page, zeroed: a third of the time
    of a network on a CPU. Elsewhere, and on a computer with less memory than ``enough`` bytes, nothing changes.
    """
    if not sys.platform.startswith("linux") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < enough:
        return
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
