"""What a room with a GPU lets in that others do not, tried from inside without a GPU; and, where there is one, CUDA behind each wall."""

# ruff: noqa: F401  (fixtures of another file)
import os
import subprocess
import sys
from pathlib import Path

import pytest
from behind_the_wall import Inside, inside, sandbox_module

from autograder.sandbox import isolation
from autograder.sandbox.client import RemoteSubject, WorkerSettings
from autograder.sandbox.isolation import LEVELS
from segkit.edition import write_edition

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the autograder grades on Linux")
CUDA_STARTS = """
import threading
def bind(kind, flags=0):
    made = socket.socket(socket.AF_UNIX, kind | flags)
    made.bind(f"\\0cuda-uvmfd-{os.getpid()}-{kind}")  # a name that is no file
    made.listen()
    return made
"""


@pytest.fixture
def forked() -> bool:
    """A worker with a GPU is never forked."""
    return False


@pytest.mark.parametrize("gpu", [False, True], ids=["ordinary", "gpu"])
def test_the_socket_that_cuda_binds_is_left_to_rooms_with_a_gpu_and_leads_nowhere(level, scratch, gpu):
    code = (
        CUDA_STARTS
        + """
def connect(kind):
    mine, _ = socket.socketpair(socket.AF_UNIX, kind)
    mine.connect(f"\\0cuda-uvmfd-{os.getpid()}-5")
def made(kind): socket.socket(socket.AF_UNIX, kind)
packets = attempt(bind, socket.SOCK_SEQPACKET, socket.SOCK_CLOEXEC)
answer([packets, attempt(made, socket.SOCK_STREAM), attempt(made, socket.SOCK_DGRAM), attempt(socket.socket, socket.AF_INET, 5),
        [attempt(connect, kind) for kind in (1, 5)]])
"""
    )
    packets, stream, datagrams, network, connected = inside(level, scratch, code, gpu=gpu)
    assert network == "PermissionError"
    if level == "bubblewrap":  # its network holds nobody else, whose socket could be connected to
        assert packets == stream == datagrams == "done"
    else:
        assert packets == ("done" if gpu else "PermissionError")
        assert stream == datagrams == "PermissionError" and connected == ["PermissionError"] * 2


@pytest.mark.parametrize("gpu", [False, True], ids=["ordinary", "gpu"])
def test_no_room_reaches_a_socket_of_the_machine(level, scratch, gpu):
    """One that listens under a name, as another user's CUDA does."""
    import socket

    name = f"\0segkit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as theirs:
        theirs.bind(name)
        theirs.listen()
        theirs.settimeout(0.1)
        code = f"""
def reach(): socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect({name!r})
answer(attempt(reach))
"""
        assert inside(level, scratch, code, gpu=gpu) in ("PermissionError", "ConnectionRefusedError")
        with pytest.raises(TimeoutError):
            theirs.accept()


@pytest.mark.parametrize("gpu", [False, True], ids=["ordinary", "gpu"])
def test_threads_can_be_named_by_others_in_rooms_with_a_gpu(level, scratch, gpu):
    """As the C library's pthread_setname_np does for a thread that is not the caller's."""
    code = """
import threading
stay = threading.Event()
thread = threading.Thread(target=stay.wait, daemon=True); thread.start()
place = f"/proc/self/task/{thread.native_id}/comm"
said = attempt(write, place)
answer([said, open(place).read().strip()])
"""
    said, name = inside(level, scratch, code, gpu=gpu)
    assert (said, name == "x") == (("done", True) if gpu or level == "process" else (said, False))
    assert gpu or level == "process" or said in ("PermissionError", "OSError")


@pytest.mark.parametrize("gpu", [False, True], ids=["ordinary", "gpu"])
def test_what_the_driver_reads_of_the_machine_is_shown_to_rooms_with_a_gpu(level, scratch, gpu):
    paths = ["/proc/devices", "/proc/sys/vm/overcommit_memory", *(["/proc/modules"] if os.path.exists("/proc/modules") else [])]
    found = inside(level, scratch, f"answer([attempt(read, path) for path in {paths}])", gpu=gpu)
    assert found == ["done" if gpu or level != "landlock" else "PermissionError"] * len(paths)


def test_a_room_with_a_gpu_opens_no_more_of_proc(level, scratch):
    judge = os.getpid()
    code = f"""
answer([attempt(read, "/proc/{judge}/environ"), attempt(open, "/proc/{judge}/mem", "rb"), attempt(write, "/proc/{judge}/comm"),
        attempt(write, "/proc/sys/vm/overcommit_memory"), attempt(write, "/proc/sysrq-trigger"), attempt(os.mkdir, "/proc/self/task/1")])
"""
    assert set(inside(level, scratch, code, gpu=True)) <= {"PermissionError", "FileNotFoundError", "OSError", "FileExistsError"}


def test_folders_of_the_driver_below_proc_are_shown_by_their_names(tmp_path, monkeypatch):
    real = Path.glob
    names = [Path("/proc/self/driver-nvidia"), Path("/proc/cmdline")]
    monkeypatch.setattr(Path, "glob", lambda self, what: names if (str(self), what) == ("/proc/driver", "nvidia*") else real(self, what))
    for gpu in (False, True):
        shown = isolation.visible(isolation.Room(tmp_path, gpu=gpu))
        assert (Path("/proc/cmdline") in shown) is gpu and names[0] not in shown  # one that there is not needs no rule


# --------------------------------------------------------------------------------------------------- who goes first
def test_a_room_with_a_gpu_does_not_let_a_worker_outlive_the_judge_when_memory_runs_out(level, scratch):
    """Root's workers cannot take back what root wrote; anyone else's are ended by their guard."""
    code = """
def lower(path):
    with open(path, "w") as file: file.write("0")
said = [attempt(lower, f"/proc/self/{path}oom_score_adj") for path in ("", f"task/{os.getpid()}/")]
time.sleep(1.5)
answer([said, int(open("/proc/self/oom_score_adj").read())])
"""
    with Inside(level, scratch, code, gpu=True) as work:
        line = work.pipe.readline()
        assert (b"1000]" in line and b"done" not in line) if line else "to outlive others" in work.words()


@pytest.mark.parametrize("stays", [False, True])
def test_the_guard_ends_what_no_longer_goes_first(tmp_path, stays):
    door = sandbox_module("door")
    spec = {"processes": 9, "memory_megabytes": 0, "scratch": str(tmp_path), "disk_megabytes": 9, "stays_first": stays}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            place = Path(f"/proc/{child.pid}/oom_score_adj")
            place.write_text("900")
            assert bool(door.excess(spec, [child.pid])) is stays
            place.write_text("1000")
            assert door.excess(spec, [child.pid]) == ""
        finally:
            child.kill()
    assert door.excess(spec, [child.pid]) == ""  # it has ended


# ------------------------------------------------------------------------------------------------------- with a GPU
@pytest.fixture
def subject(level, tmp_path):
    """A worker as gates have it, without a student's code."""
    edition = tmp_path / "edition"
    write_edition(edition, for_workers=True)
    tmp_path.chmod(0o755)
    with RemoteSubject(WorkerSettings(level, edition, gpu=True)) as subject:
        subject.strange = False
        yield subject


@pytest.mark.gpu
def test_cuda_starts_and_computes_behind_each_wall(subject):
    subject.probe()
    assert subject.device == "cuda" and subject.peak_bytes() > 0


@pytest.mark.gpu
def test_a_worker_hands_the_gpu_back_when_it_ends(subject):
    from autograder.sandbox import gpus

    before = gpus.memory()
    assert before is not None
    subject.probe()
    held = gpus.memory().used - before.used
    subject.close()
    assert held > 50 * 2**20 and gpus.memory_left_behind(before) == 0


@pytest.mark.gpu
def test_a_worker_without_the_gpus_room_finds_none(level, tmp_path):
    edition = tmp_path / "edition"
    write_edition(edition, for_workers=True)
    tmp_path.chmod(0o755)
    with RemoteSubject(WorkerSettings(level, edition)) as subject:
        subject.peak_bytes()
        assert subject.device == "cpu"
