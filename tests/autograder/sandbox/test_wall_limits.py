"""What a worker may take, and how it ends, at every level this machine has."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
from behind_the_wall import DAEMON, PRELUDE, REPO, Inside, inside, relatives, sandbox_module, wait_until

from autograder.sandbox import isolation
from autograder.sandbox.isolation import Limits

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the autograder grades on Linux")


# ------------------------------------------------------------------------------------------------------------ limits
def test_memory_has_a_limit(level, scratch):
    code = "answer([attempt(bytearray, 400 * 2**20), attempt(bytearray, 20 * 2**20)])"
    assert inside(level, scratch, code, limits=Limits(memory_megabytes=200)) == ["MemoryError", "done"]


# each step takes 32 MiB, and keeps it: "mapped" as what processes share, "file" as a file without a place, "zero" by a device;
# "closed" has private pages that the kernel's own count leaves out
TAKERS = {
    "mapped": "m = mmap.mmap(-1, SIZE); m.write(bytes(SIZE))",
    "file": "os.write(os.memfd_create('m'), bytes(SIZE))",
    "zero": "m = mmap.mmap(os.open('/dev/zero', os.O_RDWR), SIZE); m.write(bytes(SIZE))",
    "closed": "m = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); m.write(bytes(SIZE)); close(m)",
}


@pytest.mark.parametrize("way", list(TAKERS))
def test_memory_that_is_not_private_counts_as_well_also_that_of_one_process(level, scratch, way):
    code = f"""
import ctypes, mmap
SIZE, kept = 32 * 2**20, []
libc = ctypes.CDLL(None, use_errno=True)
def close(m):
    address = ctypes.addressof(ctypes.c_char.from_buffer(m))
    assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(SIZE), mmap.PROT_READ) == 0
def take():
    for _ in range(24):
        m = None
        {TAKERS[way]}
        kept.append(m)
        time.sleep(0.02)
answer(1)
answer(attempt(take)); time.sleep(20)
"""
    with Inside(level, scratch, code, limits=Limits(memory_megabytes=300)) as work:
        work.line()
        text = work.pipe.readline()
        if not text or json.loads(text) == "done":
            assert work.process.wait(timeout=5) == 137, "768 MiB are held, 300 are allowed"
            assert re.search(r"all processes together hold \d+ MiB, 300 are allowed", work.words())
        else:
            assert json.loads(text) in ("PermissionError", "OSError") and way != "closed"
    assert relatives(scratch) == []


def test_memory_that_a_process_shares_or_had_from_its_parent_is_counted():
    code = """
import mmap, os, sys
private, shared = bytearray(os.urandom(1)) * (32 * 2**20), mmap.mmap(-1, 64 * 2**20)
shared.write(bytes(len(shared)))
if (child := os.fork()) == 0: sys.stdin.read(); os._exit(0)
print(child, flush=True); sys.stdin.read()
"""
    door = sandbox_module("door")
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        one, both = door.memory([process.pid]), door.memory([process.pid, child])
        process.stdin.close()
    assert 96 <= one <= 96 + 32  # the rest is Python's own
    assert one + 32 <= both <= 2 * one  # a fork has its parent's private pages, and not yet touched what they share


def test_where_the_kernel_does_not_tell_what_is_shared_private_memory_is_counted(monkeypatch):
    door, real = sandbox_module("door"), open
    monkeypatch.setattr("builtins.open", lambda path, **more: real("/dev/null" if path.endswith("/status") else path, **more))
    assert door.memory([os.getpid()]) >= 5
    assert door.memory([2**22 + 1]) == 0  # nobody has this number


def test_many_processes_cannot_take_more_memory_than_one(level, scratch):
    code = """
answer(1)
for _ in range(4):
    if os.fork() == 0:
        data = bytearray(os.urandom(1)) * (60 * 2**20)
        time.sleep(20); os._exit(0)
time.sleep(20)
"""
    with Inside(level, scratch, code, limits=Limits(memory_megabytes=100)) as work:
        work.line()
        assert work.process.wait(timeout=15) == 137
        assert re.search(r"all processes together hold \d+ MiB, 100 are allowed", work.words())
    assert relatives(scratch) == []


def test_a_file_and_all_files_together_have_a_size(level, scratch):
    code = """
def fill(name, megabytes):
    with open(name, "wb") as file:
        for _ in range(megabytes): file.write(b"x" * 2**20)
answer([attempt(fill, "small", 1), attempt(fill, "big", 4)])
for number in range(20): attempt(fill, f"file{number}", 1); time.sleep(0.1)
"""
    with Inside(level, scratch, code, limits=Limits(file_megabytes=2, disk_megabytes=8)) as work:
        assert work.line() == ["done", "OSError"]
        assert work.process.wait(timeout=15) == 137
        assert "the files take more than 8 MiB" in work.words()
        assert (work.folder / "big").stat().st_size == 2 * 2**20


def test_processes_have_a_limit_also_for_a_judge_that_runs_as_root(level, scratch):
    code = """
started = 0
answer("begins")
for _ in range(100):
    try:
        if os.fork() == 0:
            time.sleep(1); os._exit(0)
    except BlockingIOError:
        break
    started += 1
answer(started); time.sleep(5)
"""
    with Inside(level, scratch, code, limits=Limits(processes=30)) as work:
        work.line()
        text = work.pipe.readline()
        # the kernel refuses the next one, or the guard has counted too many and ended them all
        if not text or int(text) > 30:
            assert work.process.wait(timeout=15) == 137
            assert re.search(r"\d+ processes, 30 are allowed", work.words())
    assert relatives(scratch) == []


def test_files_that_are_open_have_a_limit(level, scratch):
    code = "answer(attempt(lambda: [os.dup(1) for _ in range(100)]))"
    assert inside(level, scratch, code, limits=Limits(open_files=50)) == "OSError"


# ------------------------------------------------------------------------------------------------------------ the end


def test_a_daemon_ends_with_the_process_that_left_it(level, scratch):
    with Inside(level, scratch, DAEMON + "time.sleep(0.3); os._exit(7)") as work:
        assert work.line() == "a daemon lives"
        assert work.process.wait(timeout=15) == 7
        wait_until(lambda: work.alive() == 0, 1)  # the guard says how it ended, and ends


def test_a_daemon_ends_when_the_judge_ends_the_worker(level, scratch):
    with Inside(level, scratch, DAEMON + "time.sleep(60)") as work:
        assert work.line() == "a daemon lives"
        assert work.alive() >= 2
        began = time.monotonic()
    assert relatives(scratch) == [] and time.monotonic() - began < 10


def test_a_chain_of_forks_that_runs_ahead_is_caught(level, scratch):
    code = """
os.setsid() if os.getsid(0) != os.getpid() else None
answer("runs")
end = time.monotonic() + 8  # of itself, should the guard fail
while time.monotonic() < end:
    if os.fork(): os._exit(0)
"""
    with Inside(level, scratch, code) as work:
        work.line()
        work.process.wait(timeout=15)
        wait_until(lambda: work.alive() == 0, 1)


def test_nothing_outlives_a_judge_that_is_killed(level, scratch):
    if isolation._style() == ("user", "") and os.geteuid() == 0:
        pytest.skip("the other judge would choose the style itself")
    code = f"""
import sys; sys.path.insert(0, {str(REPO)!r})
from pathlib import Path
from autograder.sandbox.isolation import Room, launch
worker = {PRELUDE + DAEMON + "time.sleep(60)"!r}
launch({str(level)!r}, Room(Path({str(scratch)!r})), [sys.executable, "-I", "-S", "-c", worker, "1"], (), 2).wait()
"""
    if level.forked:
        code = f"""
import sys; sys.path.insert(0, {str(REPO)!r})
from pathlib import Path
from autograder.sandbox.forking import Zygote
from autograder.sandbox.isolation import Room
script = Path({str(scratch / "nothing.py")!r})
script.write_text("def prepare(): pass")
zygote = Zygote({str(level)!r}, (script,), script, (), script.parent)
assert zygote.works(), zygote.trouble
folder = zygote.make_scratch()
(folder / "worker.py").write_text({PRELUDE + DAEMON + "time.sleep(60)"!r})
zygote.launch(Room(folder), [str(zygote.inside(folder) / "worker.py"), "1"], (), 2).wait()
"""
    judge = subprocess.Popen([sys.executable, "-c", code])
    try:
        # the worker and its daemon; guards, and what forks workers, show themselves to root only
        many = 5 if level.forked and os.geteuid() == 0 else 2
        wait_until(lambda: len(relatives(scratch)) >= many, 15)
    finally:
        judge.kill()
        judge.wait()
    wait_until(lambda: relatives(scratch) == [], 10)


@pytest.mark.parametrize(("code", "expected"), [
    ("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 137), ("import ctypes; ctypes.string_at(0)", 139), ("pass", 0),
])  # fmt: skip
def test_how_a_command_ended_is_passed_on(level, scratch, code, expected):
    with Inside(level, scratch, code) as work:
        assert work.process.wait(timeout=15) == expected
