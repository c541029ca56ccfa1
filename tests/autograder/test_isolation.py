"""The walls around a worker, tried from inside at every level this machine has; all attacks here are harmless ones."""

import importlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autograder.sandbox import bubblewrap as bubblewrap_module
from autograder.sandbox import isolation, users, view
from autograder.sandbox.forking import Zygote
from autograder.sandbox.isolation import LEVELS, IsolationError, Limits, Room, available, best_level, end_process, launch
from autograder.sandbox.users import can_lend_users

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the autograder grades on Linux")
REPO = Path(__file__).resolve().parents[2]
SANDBOX = REPO / "autograder" / "sandbox"
USER_STYLE = "bubblewrap with a user namespace"
SYSTEM_PYTHON = "/usr/bin/python3"
PRELUDE = """
import json, os, resource, signal, socket, sys, time
def answer(value): os.write(int(sys.argv[1]), json.dumps(value).encode() + b"\\n")
def attempt(do, *arguments):
    try:
        do(*arguments)
        return "done"
    except BaseException as error:
        return type(error).__name__
def read(path):
    with open(path, "rb") as file: return len(file.read(100))
def write(path):
    with open(path, "w") as file: file.write("x")
"""


class Wall(str):
    """A level, and whether its workers are forked from a zygote or started anew."""

    forked = False


@pytest.fixture(params=["started anew", "forked"])
def forked(request) -> bool:
    """Both ways to start a worker."""
    return request.param == "forked"


@pytest.fixture(params=[*LEVELS, USER_STYLE])
def level(request, monkeypatch, forked) -> Wall:
    """Every level that can be had, both ways; the others are skipped by name."""
    wall = Wall(_level(request.param, monkeypatch))
    wall.forked = forked
    return wall


def _level(wanted: str, monkeypatch) -> str:
    if wanted != USER_STYLE:
        if wanted == "process" and not available(wanted) and can_lend_users():  # this Python lies in a folder of root: take another
            monkeypatch.setattr(users, "python_folders", lambda: [])
            monkeypatch.setattr(sys, "executable", SYSTEM_PYTHON)
            if not isolation._try(wanted):
                return wanted
        if not available(wanted):
            pytest.skip(f"isolation level {wanted} cannot be had here: {isolation.trouble_with(wanted)}")
        return wanted
    if isolation._style()[0] == "user":
        pytest.skip("the same as bubblewrap, for ordinary users")
    if trouble := isolation._try("bubblewrap", "user"):
        pytest.skip(f"{USER_STYLE} cannot be had here: {trouble}")
    monkeypatch.setattr(isolation, "_style", lambda: ("user", ""))
    return "bubblewrap"


@pytest.fixture
def walled(level) -> str:
    """Levels with a wall around files."""
    if level == "process":
        pytest.skip("the level process has no wall around files")
    return level


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A scratch folder as the judge makes it."""
    with tempfile.TemporaryDirectory(prefix="segkit-test-") as folder:
        yield Path(folder)


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder of the machine that everybody may write to, as /tmp and /dev/shm are."""
    with tempfile.TemporaryDirectory(prefix="segkit-outside-") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


class Inside:
    """Code that runs behind a wall.

    Args:
        level: The wall.
        scratch: Its folder.
        code: Python code; it may use the names of ``PRELUDE`` and calls ``answer`` with what it found.
    """

    def __init__(
        self, level: str, scratch: Path, code: str, limits: Limits | None = None, readable: tuple[Path, ...] = (), gpu: bool = False
    ) -> None:
        read, write = os.pipe()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
        self.folder, self.zygote, self._before = scratch, None, set()
        room = Room(scratch, readable, gpu, limits or Limits())
        if getattr(level, "forked", False):
            self._fork(level, code, room, write)
        else:
            command = [sys.executable, "-I", "-S", "-c", PRELUDE + code, str(write)]
            self.process = launch(level, room, command, (write,), self.log.fileno())
        os.close(write)
        self.pipe = os.fdopen(read, "rb")

    def _fork(self, level: str, code: str, room: Room, write: int) -> None:
        nothing = room.scratch / "nothing.py"
        nothing.write_text("def prepare(): pass")
        self.zygote = Zygote(level, (*room.readable, nothing), nothing, (), room.scratch)
        assert self.zygote.works(), self.zygote.trouble
        self._before = set(relatives(room.scratch))
        self.folder = self.zygote.make_scratch()
        (self.folder / "code.py").write_text(PRELUDE + code)
        command = [str(self.zygote.inside(self.folder) / "code.py"), str(write)]
        self.process = self.zygote.launch(Room(self.folder, limits=room.limits), command, (write,), self.log.fileno())

    def alive(self) -> int:
        """How many processes there are beside those that were there before it."""
        return len(set(relatives(self.zygote.nest if self.zygote else self.folder)) - self._before)

    def line(self) -> Any:
        text = self.pipe.readline()
        assert text, f"no answer from inside; the last words: {self.words()}"
        return json.loads(text)

    def words(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def end(self) -> None:
        end_process(self.process)
        if self.zygote:
            self.zygote.close()
        self.pipe.close()
        self.log.close()

    def __enter__(self) -> "Inside":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def inside(level: str, scratch: Path, code: str, **more: Any) -> Any:
    """Run code behind a wall; returns its answer."""
    with Inside(level, scratch, code, **more) as work:
        return work.line()


def relatives(scratch: Path) -> list[int]:
    """Processes of this machine whose environment names the scratch folder: nobody else's does."""
    mark, found = f"HOME={scratch}".encode(), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path("/proc", name, "environ").read_bytes()
            state = re.search(r"^State:\s+(\w)", Path("/proc", name, "status").read_text(), re.M)
        except OSError:
            continue
        if mark in environment.split(b"\0") and state and state[1] != "Z":
            found.append(int(name))
    return found


# ------------------------------------------------------------------------------------------------------------ files
def test_private_files_home_project_and_others_work_cannot_be_read(walled, scratch, outside):
    (outside / "secret").write_text("everybody may read this outside")
    (outside / "secret").chmod(0o644)
    private = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it lives as long as its name
    paths = [str(outside / "secret"), private.name, "/etc/passwd", "/etc/shadow", str(REPO / "pyproject.toml"),
             str(SANDBOX / "isolation.py"), str(REPO / "segkit" / "reference" / "__init__.py")]  # fmt: skip
    assert all(Path(path).exists() for path in paths)
    found = inside(walled, scratch, f"answer({{path: attempt(read, path) for path in {paths}}})")
    assert set(found.values()) <= {"PermissionError", "FileNotFoundError"}, found
    folders = [str(REPO / "segkit"), str(REPO / "notebooks"), str(outside), str(Path.home() / ".cache"), "/etc/ssl", "/var"]
    found = inside(walled, scratch, f"answer([attempt(os.listdir, path) for path in {folders}])")
    assert set(found) <= {"PermissionError", "FileNotFoundError"}, found


def test_what_the_room_names_can_be_read_and_not_written(walled, scratch, outside):
    given = outside / "given.txt"
    given.write_text("read me")
    given.chmod(0o666)
    code = f"answer([attempt(read, {str(given)!r}), attempt(write, {str(given)!r}), attempt(os.truncate, {str(given)!r}, 0)])"
    found = inside(walled, scratch, code, readable=(given,))
    assert found[0] == "done" and set(found[1:]) <= {"PermissionError", "OSError"}, found
    assert given.read_text() == "read me"


def test_only_the_scratch_folder_can_be_written(walled, scratch, outside):
    (outside / "old").write_text("old")
    (outside / "old").chmod(0o666)
    shared = f"{scratch.name}-shared"
    code = f"""
out = {str(outside)!r}
write("mine"); os.mkdir("folder"); os.rename("mine", "folder/mine"); os.symlink(out, "link")
answer([attempt(write, "folder/mine"), attempt(write, out + "/new"), attempt(write, out + "/old"), attempt(write, "link/new"),
        attempt(os.rename, "folder/mine", out + "/new"), attempt(os.link, "folder/mine", out + "/new"),
        attempt(os.truncate, out + "/old", 0), attempt(os.remove, out + "/old"), attempt(os.mkfifo, out + "/new"),
        attempt(os.mkdir, out + "/new"), attempt(write, "/dev/shm/{shared}"), attempt(write, "/tmp/{shared}")])
"""
    try:
        first, *rest = inside(walled, scratch, code)
        assert not Path("/dev/shm", shared).exists()  # bubblewrap has a /dev/shm of its own
    finally:
        for folder in ("/dev/shm", "/tmp"):
            Path(folder, shared).unlink(missing_ok=True)
    assert first == "done"
    refusals = {"PermissionError", "FileNotFoundError", "OSError", "NotADirectoryError"}
    assert set(rest[:-2]) <= refusals and rest[-1] in refusals, rest
    assert os.listdir(outside) == ["old"] and (outside / "old").read_text() == "old"


def test_modes_and_times_of_files_outside_stay_as_they_are(level, scratch, outside):
    file = outside / "old"
    file.write_text("old")
    file.chmod(0o644)
    os.utime(file, (1, 1))
    code = f"answer([attempt(os.chmod, {str(file)!r}, 0), attempt(os.utime, {str(file)!r}), attempt(os.chmod, {str(outside)!r}, 0)])"
    inside(level, scratch, code, readable=(file,))
    assert file.stat().st_mode & 0o777 == 0o644 and file.stat().st_mtime == 1
    assert outside.stat().st_mode & 0o777 == 0o777


def test_no_room_for_files_without_a_limit_is_left_beside_the_scratch_folder(level, scratch):
    if level != "bubblewrap":
        pytest.skip("only bubblewrap makes folders of its own")
    code = """
def fill():
    for number in range(60):
        with open(f"/dev/shm/{number}", "wb") as file: file.write(bytes(2 * 2**20))
places = ["/", "/dev", "/dev/pts", "/run", "/run/door", "/usr", "/tmp", "/proc", "/proc/self"]
answer([[place for place in places if attempt(write, place + "/new") == "done"], attempt(fill)])
"""
    assert inside(level, scratch, code) in ([[], "OSError"], [[], "PermissionError"])


def test_processes_of_a_worker_share_a_little_memory(level, scratch):
    if level != "bubblewrap":
        pytest.skip("only bubblewrap has a /dev/shm of its own")
    if not level.forked and not bubblewrap_module.knows(shutil.which("bwrap"), "--size", "--perms"):
        pytest.skip("this bubblewrap cannot bound a folder")
    code = """
import multiprocessing
context = multiprocessing.get_context("fork")
numbers, queue = context.Array("d", 1000), context.SimpleQueue()
def work(): numbers[5] = 7; queue.put(8)
process = context.Process(target=work); process.start(); process.join()
room = os.statvfs("/dev/shm")
answer([numbers[5], queue.get(), room.f_blocks * room.f_frsize])
"""
    assert inside(level, scratch, code) == [7, 8, 64 * 2**20]


def test_an_old_bubblewrap_that_cannot_bound_a_folder_gives_none_that_is_writable(scratch, tmp_path):
    from autograder.sandbox.bubblewrap import bubblewrap

    room = Room(scratch)
    for number, words in enumerate(("--tmpfs DEST", "--perms OCTAL\n--size BYTES\n--tmpfs DEST")):
        program = tmp_path / f"bwrap{number}"
        program.write_text(f"#!/bin/sh\necho '{words}'\n")
        program.chmod(0o755)
        command = bubblewrap(str(program), room, "user")
        assert ("--size" in command) is ("/dev/shm" in command) is bool(number)
        assert command[command.index("--remount-ro") + 1] == "/dev"
    assert "--size" not in bubblewrap(str(tmp_path / "none"), room, "user")


# ------------------------------------------------------------------------------------------------------------ network
def test_no_tcp_no_udp_and_no_socket_files_but_connected_pairs(level, scratch, outside):
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_UNIX) as local:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        local.bind(str(outside / "socket"))
        os.chmod(outside / "socket", 0o777)
        local.listen()
        code = f"""
def tcp(): socket.create_connection(("127.0.0.1", {tcp.getsockname()[1]}), 3)
def udp(): socket.socket(type=socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", {udp.getsockname()[1]}))
def local(): socket.socket(socket.AF_UNIX).connect({str(outside / "socket")!r})
def pair():
    a, b = socket.socketpair()
    a.send(b"x")
    assert b.recv(1) == b"x"
answer([attempt(tcp), attempt(udp), attempt(local), attempt(pair)])
"""
        found = inside(level, scratch, code)
        assert found[0] != "done" and found[2] != "done" and found[3] == "done", found
        for listener in (tcp, udp, local):
            listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            udp.recv(100)
        for listener in (tcp, local):
            with pytest.raises(TimeoutError):
                listener.accept()


# ------------------------------------------------------------------------------------------------------------ the judge
def test_judge_guard_and_everybody_else_are_out_of_reach_of_signals(level, scratch):
    code = f"""
others = [{os.getpid()}, os.getppid()]  # signal 0 only asks whether a signal could be sent
def by_pipe():
    import fcntl
    ends = os.pipe()
    fcntl.fcntl(ends[0], fcntl.F_SETOWN, {os.getpid()})
    fcntl.fcntl(ends[0], 10, signal.SIGURG)  # F_SETSIG; harmless where it is not ignored
    fcntl.fcntl(ends[0], fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(ends[1], b"x")
if os.getppid() in (0, 1): others.remove(os.getppid())  # pid 1 of a process namespace is no guard, and shields itself
attempt(by_pipe)
attempt(os.kill, -1, signal.SIGURG)  # says nothing about whom it reached; whoever did not ask for SIGURG ignores it
answer([[attempt(os.kill, number, 0) for number in others], attempt(os.kill, os.getpid(), 0), attempt(signal.raise_signal, 0)])
"""
    received = []
    before = signal.signal(signal.SIGURG, lambda *_: received.append(1))
    try:
        found, own, raised = inside(level, scratch, code)
        time.sleep(0.05)
    finally:
        signal.signal(signal.SIGURG, before)
    assert set(found) <= {"PermissionError", "ProcessLookupError"}, found
    assert own == "done" and not received
    assert raised in ("done", "OSError")


def test_memory_limits_and_environment_of_the_judge_are_closed(level, scratch):
    code = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
judge = {os.getpid()}
buffer = ctypes.create_string_buffer(16)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 16)
answer([attempt(open, f"/proc/{{judge}}/mem", "rb"), attempt(read, f"/proc/{{judge}}/environ"),
        attempt(os.readlink, f"/proc/{{judge}}/fd/0"),
        attempt(resource.prlimit, judge, resource.RLIMIT_NOFILE), attempt(os.sched_setaffinity, judge, {{0}}),
        libc.ptrace(16, judge, 0, 0) and "refused", (libc.process_vm_readv(judge, vector, 1, vector, 1, 0) < 0) and "refused"])
"""  # fmt: skip
    affinity = os.sched_getaffinity(0)
    found = inside(level, scratch, code)
    assert set(found) <= {"PermissionError", "ProcessLookupError", "FileNotFoundError", "refused"}, found
    assert os.sched_getaffinity(0) == affinity


def test_judge_is_closed_to_debuggers_only_while_workers_run(scratch):
    def dumpable() -> int:
        import ctypes

        return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)

    assert dumpable() == 1
    with Inside(best_level(), scratch, "answer(1); time.sleep(30)") as work:
        work.line()
        assert dumpable() == 0
    assert dumpable() == 1


def test_no_rights_no_new_namespaces_and_no_odd_system_calls(level, scratch):
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
NEWUSER = 0x10000000
answer({"user": os.getuid(), "groups": os.getgroups(), "rights": int(status["CapEff"], 16) & ~4, "gain": status["NoNewPrivs"].strip(),
        "filter": status["Seccomp"].strip(), "setuid": attempt(os.setuid, 0), "unshare": libc.unshare(NEWUSER),
        "io_uring": libc.syscall(425, 1, 0), "keyctl": libc.syscall({"x86_64": 250, "aarch64": 219}[os.uname().machine], 0, -3, 0),
        "mount": libc.mount(b"none", b".", b"tmpfs", 0, 0), "session": os.getsid(0) == os.getpid()})
"""
    found = inside(level, scratch, code)
    assert found["rights"] == 0 and found["gain"] == "1" and found["filter"] == "2", found
    assert found["setuid"] in ("PermissionError", "OSError") or found["user"] == os.geteuid(), found
    assert {found[name] for name in ("unshare", "io_uring", "keyctl", "mount")} == {-1}
    if can_lend_users():
        assert found["user"] >= 60000 and 0 not in found["groups"]


def test_the_environment_holds_nothing_of_the_judges(level, scratch, monkeypatch):
    monkeypatch.setenv("SEGKIT_COURSE_SECRET", "secret")
    found = inside(level, scratch, "answer(dict(os.environ))")
    assert set(found) - {"PWD", "LC_CTYPE"} == set(view.environment(Room(scratch)))


def test_workers_side_by_side_have_users_of_their_own(level, scratch, outside):
    if not can_lend_users() or (isolation._style() == ("user", "") and level == "bubblewrap"):
        pytest.skip("only a judge that runs as root can lend users")
    second = outside / "second"
    second.mkdir()
    with Inside(level, scratch, "answer(os.getuid()); time.sleep(30)") as one, Inside(level, second, "answer(os.getuid())") as two:
        assert one.line() != two.line()


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
DAEMON = """
if os.fork() == 0:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        answer("a daemon lives")
        os.close(int(sys.argv[1])); time.sleep(60)
    os._exit(0)
"""


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


def wait_until(true: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize(("code", "expected"), [
    ("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 137), ("import ctypes; ctypes.string_at(0)", 139), ("pass", 0),
])  # fmt: skip
def test_how_a_command_ended_is_passed_on(level, scratch, code, expected):
    with Inside(level, scratch, code) as work:
        assert work.process.wait(timeout=15) == expected


# ------------------------------------------------------------------------------------------------------------ choosing
@pytest.fixture
def machine(monkeypatch):
    """Pretend what a machine has: level -> what is wrong with it."""

    def pretend(**troubles: str) -> None:
        monkeypatch.setattr(isolation, "trouble_with", lambda level: troubles.get(level, ""))

    return pretend


def test_the_strongest_level_is_used(machine):
    machine()
    assert best_level() == best_level("process") == "bubblewrap"
    machine(bubblewrap="no")
    assert best_level() == best_level("landlock") == "landlock"
    machine(bubblewrap="no", landlock="no")
    assert best_level() == "process"


def test_a_level_that_is_demanded_and_not_there_is_refused_with_its_reason(machine):
    machine(bubblewrap="user namespaces are refused", landlock="old kernel")
    with pytest.raises(IsolationError, match="bubblewrap: user namespaces are refused") as caught:
        best_level("bubblewrap")
    assert "old kernel" not in str(caught.value) and "apt install bubblewrap" in str(caught.value)
    with pytest.raises(IsolationError, match="landlock: old kernel"):
        best_level("landlock")
    with pytest.raises(IsolationError, match="Expected an isolation level among bubblewrap, landlock, process, but got 'none'"):
        best_level("none")


def test_a_machine_that_cannot_hold_a_worker_off_the_judge_does_not_grade(machine):
    machine(bubblewrap="a", landlock="b", process="no seccomp")
    with pytest.raises(IsolationError, match="cannot be held back at all on this machine[^!]*process: no seccomp"):
        best_level()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_told_where_to_grade(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(IsolationError, match=f"grades on Linux only.*{platform}.*(container|WSL)"):
        best_level()


def test_refused_user_namespaces_are_noticed(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(isolation, "_style", isolation._style.__wrapped__)
    monkeypatch.setattr(isolation, "trouble_with", isolation.trouble_with.__wrapped__)
    assert "No permissions to create new namespace" in isolation.trouble_with("bubblewrap")
    assert best_level() in ("landlock", "process")
    with pytest.raises(IsolationError, match="No permissions to create new namespace"):
        best_level("bubblewrap")


def test_a_plain_process_of_the_judges_own_user_needs_the_filter(scratch, monkeypatch):
    monkeypatch.setattr(users, "python_folders", lambda: [])
    assert isolation._enter_spec("process", Room(scratch), None)["filter_needed"]
    assert isolation._enter_spec("process", Room(scratch), None)["filter"]["signals"]
    assert not isolation._enter_spec("process", Room(scratch), 61184)["filter_needed"]
    assert isolation._enter_spec("landlock", Room(scratch), 61184)["filter_needed"]


def test_a_worker_that_keeps_the_right_to_read_all_needs_the_filter(scratch, tmp_path, monkeypatch):
    assert isolation._enter_spec("bubblewrap", Room(scratch), 61184)["filter_needed"]
    assert not isolation._enter_spec("bubblewrap", Room(scratch), None)["filter_needed"]
    if isolation._style()[0] != "root":
        pytest.skip("needs a judge that runs as root, and bubblewrap")
    other = shutil.copytree(SANDBOX, tmp_path / "sandbox")
    text = (other / "seccomp.py").read_text()
    assert '"x86_64": (' in text and '"aarch64": (' in text
    (other / "seccomp.py").write_text(text.replace('"x86_64": (', '"sparc1": (').replace('"aarch64": (', '"sparc2": ('))
    for module in (isolation, bubblewrap_module):
        monkeypatch.setattr(module, "DOOR", other)
    assert "no seccomp filter for" in isolation._try("bubblewrap", "root")
    tried = isolation._try("bubblewrap", "user")
    monkeypatch.setattr(isolation, "_style", isolation._style.__wrapped__)
    assert isolation._style()[0] == (None if tried else "user")  # that style leaves no such right


def test_root_that_cannot_lend_users_gives_no_worker_its_own_rights(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for rights, expected in ((0b11100001, ("root", "user")), (0b11100000, ("user",))):
        monkeypatch.setattr(users, "rights", lambda rights=rights: rights)
        assert bubblewrap_module.styles() == expected


def test_files_cannot_be_opened_by_number(level, scratch):
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer(b"\\x08\\0\\0\\0\\x01\\0\\0\\0\\x80\\0\\0\\0\\0\\0\\0\\0", 16)
place = os.open(".", os.O_RDONLY)
answer([libc.open_by_handle_at(place, handle, 0), ctypes.get_errno()])
"""
    assert inside(level, scratch, code) == [-1, 1]  # EPERM, before the kernel looks at the number (ESTALE)


def test_a_file_that_no_worker_could_read_is_refused_by_name(scratch, outside, monkeypatch):
    (outside / "weights").write_text("")
    (outside / "weights").chmod(0o600)
    monkeypatch.setattr(users, "python_folders", lambda: [])
    room = Room(scratch, (outside / "weights",))
    for rights, level, expected in ((0b100, "landlock", 2), (0b110, "landlock", 2), (0b010, "landlock", 1)):
        monkeypatch.setattr(users, "rights", lambda rights=rights: rights)
        assert users.reading_right(level, room) == expected
    for rights, level in ((0b001, "landlock"), (0b110, "process")):
        monkeypatch.setattr(users, "rights", lambda rights=rights: rights)
        with pytest.raises(IsolationError, match="cannot read .*weights: let all users read it"):
            users.reading_right(level, room)
    (outside / "weights").chmod(0o644)
    assert users.reading_right("process", room) is None


def test_gpu_devices_are_let_in_only_where_the_room_says_so(scratch, tmp_path, monkeypatch):
    real = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, what: [Path("/dev/nvidia0")] if str(self) == "/dev" else real(self, what))
    from autograder.sandbox.bubblewrap import bubblewrap

    for gpu in (False, True):
        room = Room(scratch, gpu=gpu)
        assert (Path("/dev/nvidia0") in view.devices(room)) is gpu
        assert ("/dev/nvidia0" in bubblewrap("bwrap", room, "user")) is gpu


def test_the_project_is_cut_out_of_a_visible_folder(tmp_path):
    for name in ("opt/project/segkit", "opt/tool", "bin"):
        (tmp_path / name).mkdir(parents=True)
    found = view.without(tmp_path, [tmp_path / "opt" / "project"])
    assert found == [tmp_path / "bin", tmp_path / "opt" / "tool"]
    assert view.without(tmp_path / "bin", [tmp_path / "opt"]) == [tmp_path / "bin"]
    assert view.without(tmp_path / "opt", [tmp_path / "opt"]) == []


# ------------------------------------------------------------------------------------------------------------ the filter
ALLOW, KILL, ENOSYS, EPERM = 0x7FFF0000, 0x80000000, 0x00050026, 0x00050001
ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def decide(code: bytes, machine: str, number: int, *arguments: int) -> int:
    """What a filter says to a system call: the few instructions of classic BPF that it uses, run in Python."""
    data = struct.pack("<IIQ6Q", number, ARCHES[machine], 0, *[*arguments, *[0] * (6 - len(arguments))])
    at, value = 0, 0
    while True:
        operation, yes, no, k = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if operation == 0x06:
            return k
        if operation == 0x20:
            value = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x54:
            value &= k
        else:
            test = {0x15: value == k, 0x45: bool(value & k), 0x35: value >= k}[operation]
            at += yes if test else no


def sandbox_module(name: str) -> Any:
    """A module as the door's own scripts see it."""
    sys.path.insert(0, str(SANDBOX))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SANDBOX))


@pytest.fixture(scope="module")
def seccomp():
    return sandbox_module("seccomp")


def numbers_of_the_kernel(machine: str) -> dict[str, int]:
    header = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}[machine]
    if not Path(header).is_file():
        pytest.skip(f"{header} is not installed")
    return {name: int(n) for name, n in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", Path(header).read_text())}


@pytest.mark.parametrize("machine", list(ARCHES))
def test_numbers_of_system_calls_are_those_of_the_kernel(seccomp, machine):
    kernel = numbers_of_the_kernel(machine)
    column = list(ARCHES).index(machine)
    ours = {name: pair[column] for name, pair in seccomp.NUMBERS.items() if pair[column] is not None}
    shared = set(ours) & set(kernel)
    assert len(shared) > 60 and {name: ours[name] for name in shared} == {name: kernel[name] for name in shared}


@pytest.mark.parametrize("machine", list(ARCHES))
def test_the_filter_decides_by_call_and_argument(seccomp, machine):
    code = seccomp.program(machine, 1000, network=True, signals=True, attributes=True, memory=True)
    column = list(ARCHES).index(machine)

    def said(name: str, *arguments: int) -> int:
        return decide(code, machine, seccomp.NUMBERS[name][column], *arguments)

    assert decide(code, machine, 1) == ALLOW  # some ordinary call
    assert said("socket", 2, 1) == said("socket", 1, 1) == EPERM
    assert said("socketpair", 1, 1 | 0x80000) == ALLOW and said("socketpair", 1, 2) == said("socketpair", 2, 1) == EPERM
    assert said("kill", 1000, 9) == ALLOW and said("kill", 0xFFFFFFFF, 9) == said("kill", 0, 9) == said("kill", 1, 9) == EPERM
    assert said("clone", 0x3D0F00) == ALLOW and said("clone", 0x10000000) == EPERM and said("clone3") == ENOSYS
    assert said("prlimit64", 0) == ALLOW and said("prlimit64", 999) == EPERM
    assert said("fcntl", 3, 1) == ALLOW and said("fcntl", 3, 8) == EPERM
    assert said("fchmod", 3) == 0x00050000  # "done", without doing it
    assert said("mmap", 0, 4096, 3, 0x22) == said("mmap", 0, 4096, 3, 0x1) == said("mmap", 0, 4096, 3, 0x4022) == ALLOW
    assert said("mmap", 0, 4096, 3, 0x21) == said("mmap", 0, 4096, 1, 0x8021) == EPERM  # shared, without a file
    assert said("memfd_create") == said("memfd_secret") == ENOSYS
    open_code = seccomp.program(machine, 1000, network=False, signals=False, attributes=False, memory=False)
    assert decide(open_code, machine, seccomp.NUMBERS["mmap"][column], 0, 4096, 3, 0x21) == ALLOW
    assert decide(open_code, machine, seccomp.NUMBERS["socket"][column], 1, 1) == ALLOW
    for family in (0, 2, 10, 16, 17, 31, 38, 40, 44, 0xFFFFFFFF):  # 40: AF_VSOCK, which knows no namespaces
        assert decide(open_code, machine, seccomp.NUMBERS["socket"][column], family, 1) == EPERM
        assert decide(open_code, machine, seccomp.NUMBERS["socketpair"][column], family, 1) == EPERM
    for name in ("kill", "fchmod", "fcntl", "memfd_create"):
        assert decide(open_code, machine, seccomp.NUMBERS[name][column], 8, 8) == ALLOW
    assert decide(open_code, machine, seccomp.NUMBERS["ptrace"][column]) == EPERM


def test_calls_of_another_architecture_and_unknown_machines_are_refused(seccomp):
    code = seccomp.program("x86_64", 1, True, True, True, True)
    assert decide(code, "aarch64", 1) == KILL
    assert decide(code, "x86_64", 0x40000000 + 41, 2) == ENOSYS  # socket(2) by its x32 number
    with pytest.raises(OSError, match="no seccomp filter for sparc"):
        seccomp.program("sparc", 1, True, True, True, True)
