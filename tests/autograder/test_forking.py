"""Workers forked from a zygote: what one leaves behind the next does not find, and no worker sees another."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import cell, notebook

from autograder.judge.student import Student
from autograder.sandbox import isolation, worker
from autograder.sandbox.client import RemoteSubject, WorkerSettings, make_zygote
from autograder.sandbox.forking import ForkedProcess, Zygote
from autograder.sandbox.isolation import LEVELS, Room, available, best_level, end_process
from segkit.edition import write_edition
from segkit.notebooks import open_folder
from segkit.subject import StudentError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the autograder grades on Linux")


@pytest.fixture(params=LEVELS)
def level(request) -> str:
    if not available(request.param):
        pytest.skip(f"isolation level {request.param} cannot be had here: {isolation.trouble_with(request.param)}")
    return request.param


@pytest.fixture
def nest() -> Iterator[Path]:
    """A folder as a run makes it."""
    with tempfile.TemporaryDirectory(prefix="segkit-test-") as folder:
        yield Path(folder)


@pytest.fixture
def zygote(level, nest) -> Iterator[Zygote]:
    """A zygote that imports nothing."""
    script = nest / "nothing.py"
    script.write_text("def prepare(): pass")
    with Zygote(level, (script,), script, (), nest) as zygote:
        assert zygote.works(), zygote.trouble
        yield zygote


class Forked:
    """A script in a forked worker; its answers are lines of JSON."""

    def __init__(self, zygote: Zygote, code: str) -> None:
        self.zygote, self.folder = zygote, zygote.make_scratch()
        (self.folder / "code.py").write_text("import json, os, sys, time\ndef answer(v): print(json.dumps(v), file=out, flush=True)\n"
                                             "out = os.fdopen(int(sys.argv[1]), 'w')\n" + code)  # fmt: skip
        read, write = os.pipe()
        with tempfile.TemporaryFile() as log:
            command = [str(zygote.inside(self.folder) / "code.py"), str(write)]
            self.process = zygote.launch(Room(self.folder), command, (write,), log.fileno())
        os.close(write)
        self.pipe = os.fdopen(read)

    def answer(self) -> Any:
        text = self.pipe.readline()
        assert text, "no answer from inside"
        return json.loads(text)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        end_process(self.process)
        self.pipe.close()


def test_workers_side_by_side_see_neither_files_nor_processes_of_each_other(zygote):
    if zygote.level == "process":
        pytest.skip("the level process has no wall around files")
    look = """
def peep(path):
    try: return sorted(os.listdir(path))
    except OSError as error: return type(error).__name__
"""
    with Forked(zygote, "open('secret', 'w').write('mine'); answer(1); time.sleep(60)") as one:
        one.answer()
        places = [str(zygote.nest), str(one.folder)]
        with Forked(zygote, look + f"answer([peep(place) for place in {places!r}])") as two:
            listing, others = two.answer()
    assert others in ("PermissionError", "FileNotFoundError")
    assert listing in (["code.py"], "PermissionError")


def test_workers_side_by_side_share_no_shared_memory_and_no_abstract_socket(zygote):
    if zygote.level != "bubblewrap":
        pytest.skip("only bubblewrap gives namespaces")
    one_code = """
import socket
open('/dev/shm/left', 'w').write('x')
server = socket.socket(socket.AF_UNIX); server.bind('\\0here'); server.listen()
answer(1); time.sleep(60)
"""
    two_code = """
import socket
try:
    socket.socket(socket.AF_UNIX).connect('\\0here'); reached = True
except OSError:
    reached = False
answer([os.listdir('/dev/shm'), reached, sorted(n for n in os.listdir('/proc') if n.isdigit())])
"""
    with Forked(zygote, one_code) as one:
        one.answer()
        with Forked(zygote, two_code) as two:
            assert two.answer() == [[], False, ["1", "2"]]


def test_nothing_of_a_worker_is_left_for_the_next(zygote):
    code = "sys.modules['mark'] = 1; os.environ['MARK'] = '1'; open('mark', 'w').close(); answer(1)"
    with Forked(zygote, code) as one:
        one.answer()
    with Forked(zygote, "answer(['mark' in sys.modules, 'MARK' in os.environ, os.path.exists('mark')])") as two:
        assert two.answer() == [False, False, False]


def test_a_worker_holds_no_descriptor_of_the_zygote(zygote):
    with Forked(zygote, "answer(sorted(int(n) for n in os.listdir('/proc/self/fd')))") as work:
        found = work.answer()
    assert len(found) <= 6, found  # three usual ones, the pipe, the script, the listing itself


def test_a_worker_cannot_undo_its_namespaces_or_gain_rights(zygote):
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
status = dict(l.split(':', 1) for l in open('/proc/self/status'))
answer([libc.umount2(b'/proc', 0), libc.unshare(0x10000000), libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None),
        int(status['CapEff'], 16) & ~4, int(status['CapPrm'], 16) & ~4, int(status['NoNewPrivs'])])
"""
    with Forked(zygote, code) as work:
        if zygote.level == "bubblewrap":
            assert work.answer() == [-1, -1, -1, 0, 0, 1]
        else:
            assert work.answer()[:3] == [-1, -1, -1]


def test_memory_is_kept_before_torch_takes_any_however_little_there_is(nest):
    write_edition(nest)
    (nest / "torch.py").write_text("import ctypes, json, sys; sys.exit(json.dumps(ctypes.asked))")
    code = f"""
import ctypes, os, runpy
class Library:
    def mallopt(self, *what): ctypes.asked.append(what)
ctypes.asked, ctypes.CDLL = [], lambda name: Library()
os.sysconf = lambda name: 1
runpy.run_path({worker.__file__!r})["prepare"]({str(nest)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == "[[-3, 1073741824], [-1, 2147483647]]\n"  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def test_a_zygote_that_died_is_started_anew(zygote):
    zygote._process.kill()
    zygote._process.wait()
    assert zygote.works()
    with Forked(zygote, "answer(5)") as work:
        assert work.answer() == 5


def test_a_zygote_ends_with_its_judge(level, nest):
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from pathlib import Path
from autograder.sandbox.forking import Zygote
nest = Path({str(nest)!r}); script = nest / "nothing.py"; script.write_text("def prepare(): pass")
zygote = Zygote({level!r}, (script,), script, (), nest)
assert zygote.works(), zygote.trouble
print("ready", flush=True); sys.stdin.read()
"""
    judge = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert judge.stdout.readline() == "ready\n"
    judge.kill()
    judge.wait()
    end = time.monotonic() + 10
    while _named(str(nest)):
        assert time.monotonic() < end, _named(str(nest))
        time.sleep(0.05)
    judge.stdin.close()
    judge.stdout.close()


def _named(text: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes() and " Z " not in (folder / "stat").read_text():
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_where_none_can_be_had_the_reason_is_kept_and_workers_start_anew(nest):
    broken = nest / "broken.py"
    broken.write_text("def prepare(): raise RuntimeError('no such luck')")
    with Zygote(best_level(), (broken,), broken, (), nest) as zygote:
        assert not zygote.works()
        assert "no such luck" in zygote.trouble
        edition = nest / "edition"
        edition.mkdir()
        write_edition(edition)
        nest.chmod(0o755)
        with RemoteSubject(WorkerSettings(best_level(), edition, seconds=20.0, zygote=zygote)) as subject:
            assert subject.call("torch:is_tensor", 1) is False
            assert not isinstance(subject._process, ForkedProcess)


@pytest.mark.slow
def test_a_subject_answers_from_forked_workers_and_survives_their_death(level, nest):
    edition = nest / "edition"
    edition.mkdir()
    write_edition(edition)
    nest.chmod(0o755)
    workers = nest / "workers"
    workers.mkdir()
    settings = WorkerSettings(level, edition, seconds=20.0)
    with make_zygote(settings, workers) as zygote:
        settings = WorkerSettings(level, edition, seconds=20.0, zygote=zygote)
        with RemoteSubject(settings) as subject:
            assert subject.call("torch:is_tensor", 1) is False
            assert isinstance(subject._process, ForkedProcess)
            notebook(nest / "work.ipynb", cell("def loops():\n    while True: pass"))
            subject.define(Student(open_folder(nest, {}), subject).program("loops"))
            with pytest.raises(StudentError, match="no reply within"):
                subject._ask("call", name="loops", args=[], kwargs={}, seconds=0.5)
            assert subject.call("torch:is_tensor", 2) is False
        assert sorted(path.name for path in workers.glob("worker-*")) == []
