"""Files, network and the judge, tried from behind the walls at every level; all attacks here are harmless ones."""

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest
from behind_the_wall import REPO, SANDBOX, Inside, inside

from autograder.sandbox import bubblewrap as bubblewrap_module
from autograder.sandbox import isolation, view
from autograder.sandbox.isolation import Room, best_level
from autograder.sandbox.users import can_lend_users

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the autograder grades on Linux")


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


def test_files_cannot_be_opened_by_number(level, scratch):
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer(b"\\x08\\0\\0\\0\\x01\\0\\0\\0\\x80\\0\\0\\0\\0\\0\\0\\0", 16)
place = os.open(".", os.O_RDONLY)
answer([libc.open_by_handle_at(place, handle, 0), ctypes.get_errno()])
"""
    assert inside(level, scratch, code) == [-1, 1]  # EPERM, before the kernel looks at the number (ESTALE)
