"""Memory that is kept for the next map."""

import ctypes
import os
import subprocess
import sys

import pytest

from segkit import malloc

FAULTS = """
import resource, sys
import torch
from segkit.malloc import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(25, 2**20)  # 100 MiB, gone at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    keep_memory()
print(min(faults() for _ in range(20)))  # small things settle in the first holes
"""


def faults(way: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_the_memory_of_a_map_that_is_gone_serves_the_next_one():
    """A page is 4 KiB; with large pages there would be few faults either way, and nothing to compare."""
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < malloc.ENOUGH:
        pytest.skip("this computer has little memory")
    usual = faults("usual")
    if usual < 10_000:
        pytest.skip(f"100 MiB cost {usual} page faults here: large pages")
    assert faults("kept") < usual / 20


@pytest.mark.parametrize("system, pages", [("darwin", 2**30), ("win32", 2**30), ("linux", 2**20)], ids=["macOS", "Windows", "4 GiB"])
def test_nothing_is_kept_on_other_systems_or_where_memory_is_short(monkeypatch, system, pages):
    monkeypatch.setattr(malloc.sys, "platform", system)
    monkeypatch.setattr(malloc.os, "sysconf", lambda name: {"SC_PHYS_PAGES": pages, "SC_PAGE_SIZE": 4096}[name])
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda *_: pytest.fail("the C library was asked"))
    malloc.keep_memory()
