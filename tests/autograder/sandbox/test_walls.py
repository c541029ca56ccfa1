"""What a red team found open in the walls: sockets that know no namespaces, rights that read every file, who goes first without memory."""

import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from behind_the_wall import inside

from autograder.sandbox import isolation, users
from autograder.sandbox.isolation import IsolationError, Room, launch
from autograder.sandbox.leftovers import scratch_folder
from autograder.sandbox.users import can_lend_users

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the autograder grades on Linux")


# ------------------------------------------------------------------------------------------------------------ sockets
def test_no_family_of_sockets_is_open_but_local_ones(level, scratch):
    """All families that a kernel may know, with every type and the protocols that some of them ask for."""
    code = """
families = {name: int(getattr(socket, name)) for name in dir(socket) if name.startswith("AF_")}
families |= {f"family {number}": number for number in range(64)}
found = set()
for family in families.values():
    for kind in (1, 2, 3, 5, 10):
        for protocol in (0, 1, 2, 3, 16, 255):
            for make in (socket.socket, socket.socketpair):
                try:
                    for end in (lambda made: made if isinstance(made, tuple) else [made])(make(family, kind, protocol)): end.close()
                    found.add((family, make.__name__))
                except OSError as error:
                    if error.errno != 1: found.add((family, make.__name__))
answer(sorted(found))
"""
    local = [[int(socket.AF_UNIX), "socket"], [int(socket.AF_UNIX), "socketpair"]]
    assert inside(level, scratch, code) == (local if level == "bubblewrap" else local[1:])


@pytest.mark.parametrize("name", ["VSOCK", "NETLINK", "PACKET", "INET", "INET6", "ALG", "BLUETOOTH", "CAN", "TIPC"])
def test_a_family_by_its_name_is_refused_before_the_kernel_looks_at_it(level, scratch, name):
    number = getattr(socket, f"AF_{name}", None)
    if number is None:
        pytest.skip(f"this Python knows no AF_{name}")
    code = f"""
def make(kind): socket.socket({int(number)}, kind)
answer([attempt(make, kind) for kind in (1, 2, 3, 5)])
"""
    assert inside(level, scratch, code) == ["PermissionError"] * 4


def test_other_ways_to_a_socket_are_closed(level, scratch):
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    libc.syscall(*arguments)
    return ctypes.get_errno()
ring, table = ctypes.create_string_buffer(120), {"x86_64": 321, "aarch64": 280}
answer([call(425, 8, ring), call(426, 3, 1, 0, 0, 0), call(427, 3, 0, 0, 0), call(table[os.uname().machine], 0, ring, 120)])
"""
    assert inside(level, scratch, code) == [38, 38, 38, 1]  # io_uring: ENOSYS; bpf: EPERM


def test_what_torch_needs_of_sockets_is_there(level, scratch):
    """Processes that load data pass tensors on over local sockets, or at least start and say why not."""
    code = """
import socket, threading
a, b = socket.socketpair()
def work():
    a.sendall(b.recv(1))
thread = threading.Thread(target=work); thread.start(); a.sendall(b"x"); first = b"x"; thread.join()
import multiprocessing
context = multiprocessing.get_context("fork")
ours, theirs = context.Pipe()
child = context.Process(target=theirs.send, args=(5,)); child.start(); got = ours.recv(); child.join()
answer([got, child.exitcode])
"""
    assert inside(level, scratch, code) == [5, 0]


# ------------------------------------------------------------------------------------------------------------ rights
def secret_of_another(folder: Path) -> Path:
    """A file such as the course's secret: of the judge's own user, and for nobody else."""
    file = folder / "secret"
    file.write_text("hush")
    file.chmod(0o600)
    return file


def test_a_file_of_another_user_is_closed_to_workers_of_root(level, scratch, outside):
    if not can_lend_users():
        pytest.skip("only a judge that runs as root lends users")
    file = secret_of_another(outside)
    code = f"""
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
answer([attempt(read, {str(file)!r}), int(status["CapBnd"], 16) & ~4, int(status["CapPrm"], 16) & ~4, int(status["CapEff"], 16)])
"""
    said, bounds, permitted, effective = inside(level, scratch, code)
    assert said in ("PermissionError", "FileNotFoundError") and bounds == permitted == 0
    assert level != "process" or effective == 0


def run_plainly(scratch: Path, command: list[str], *readable: Path) -> tuple[int, str]:
    with tempfile.TemporaryFile() as log:
        process = launch("process", Room(scratch, readable), command, (), log.fileno())
        try:
            code = process.wait(timeout=60)
        finally:
            isolation.end_process(process)
        log.seek(0)
        return code, log.read().decode()


def test_without_a_wall_around_files_root_gives_no_worker_the_right_to_read_all(scratch, outside, monkeypatch):
    """Also where Python lies in a folder of root: such a worker is refused, not given the right."""
    if not can_lend_users():
        pytest.skip("only a judge that runs as root lends users")
    file = secret_of_another(outside)
    command = ["/bin/sh", "-c", f"cat {file} >&2; grep ^Cap /proc/self/status >&2"]
    monkeypatch.setattr(users, "python_folders", lambda: [file])
    with pytest.raises(IsolationError, match="cannot read .*secret: let all users read it"):
        run_plainly(scratch, command)
    monkeypatch.setattr(users, "python_folders", lambda: [])
    _, words = run_plainly(scratch, command)
    assert "Permission denied" in words and "hush" not in words
    assert set(re.findall(r"^Cap\w+:\s+(\w+)", words, re.M)) == {"0" * 16}, words


def test_a_folder_that_the_judge_unpacked_into_is_passed_through_and_not_looked_into(scratch, monkeypatch):
    """A checkpoint of a zip lies in a temporary folder that is closed to all others."""
    if not can_lend_users():
        pytest.skip("only a judge that runs as root lends users")
    monkeypatch.setattr(users, "python_folders", lambda: [])
    unpacked = scratch_folder("segkit-submission-")
    try:
        (unpacked / "weights").write_text("numbers")
        command = ["/bin/sh", "-c", f"cat {unpacked}/weights >&2; ls {unpacked} >&2"]
        _, words = run_plainly(scratch, command, unpacked / "weights")
        assert "numbers" in words and "weights" not in words and "Permission denied" in words
        assert unpacked.stat().st_mode & 0o777 == 0o701
    finally:
        shutil.rmtree(unpacked)


# ------------------------------------------------------------------------------------------------------------ memory
def test_a_worker_goes_before_the_judge_and_cannot_take_it_back(level, scratch):
    code = """
def lower(number):
    with open("/proc/self/oom_score_adj", "w") as file: file.write(number)
def now(): return int(open("/proc/self/oom_score_adj").read())
before = now()
tried = [attempt(lower, number) for number in ("0", "999", "-1000")]
if not (child := os.fork()):
    os._exit(now() == 1000)
answer([before, tried, now(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])])
"""
    before, tried, after, child = inside(level, scratch, code)
    assert before == 1000
    if level != "process":  # it has no wall around files
        assert "done" not in tried and after == 1000 and child == 1, tried


def test_where_a_worker_cannot_be_made_to_go_first_it_does_not_start(scratch, tmp_path, monkeypatch):
    other = shutil.copytree(isolation.DOOR, tmp_path / "sandbox")
    text = (other / "door.py").read_text()
    assert '"/proc/self/oom_score_adj"' in text
    (other / "door.py").write_text(text.replace('"/proc/self/oom_score_adj"', '"/proc/self/no_such_file"'))
    monkeypatch.setattr(isolation, "DOOR", other)
    assert "room cannot be entered: [Errno" in isolation._try(isolation.best_level(), isolation._style()[0])


def test_the_guard_and_the_judge_stay(scratch):
    """It is the worker that goes first, not who watches it."""
    own = int(Path("/proc/self/oom_score_adj").read_text())
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
        process = launch(isolation.best_level(), Room(scratch), command, (), log.fileno())
        try:
            assert int(Path(f"/proc/{process.pid}/oom_score_adj").read_text()) == own
        finally:
            isolation.end_process(process)
    assert int(Path("/proc/self/oom_score_adj").read_text()) == own
