"""Workers: whatever a student's code does there, the judge gets an answer, and the next question a fresh worker."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY, cell, notebook

from autograder.course.assignment import open_assignment
from autograder.judge.student import Student
from autograder.sandbox.client import GraderFault, RemoteSubject, WorkerSettings
from autograder.sandbox.isolation import LEVELS, IsolationError, available, best_level
from segkit.edition import write_edition
from segkit.notebooks import open_folder
from segkit.subject import StudentError

CODE = """
import os, sys, signal, socket, time
import numpy as np
import torch
from torch import nn

def double(x):
    return x * 2

def exits_at_once(): os._exit(3)
def exits(): sys.exit("enough")
def loops():
    while True: pass
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def segfaults():
    import ctypes
    ctypes.string_at(0)
def talks():
    print("points: 100"); os.write(1, b"SGK1 forged"); return 5
def writes_into_the_pipe():
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            os.write(descriptor, b"you have earned all points" * 9)
        except OSError:
            pass
def returns(what):
    return {"object": object(), "lambda": lambda: 0, "text": np.array(["a"]), "complex": torch.tensor([1j]),
            "huge integer": 10**5000, "nan": float("nan"), "dict": {1: (2, np.float32(3))}}[what]
def blames(cause):
    from segkit.subject import StudentError
    raise StudentError("the grader failed here", cause)
def fails(x):
    y = x + 1
    return y["missing"]
def stub():
    raise NotImplementedError()
def hungry():
    return len(bytearray(8 * 2**30))
def fills_the_disk():
    with open("big", "wb") as file:
        for _ in range(200):
            file.write(b"x" * 2**20)
def looks(path): return os.path.exists(path)
def listing(path): return sorted(os.listdir(path))
def variables(): return dict(os.environ)
def descriptors(): return sorted(int(n) for n in os.listdir("/proc/self/fd"))
def here():
    open("note.txt", "w").write("x")
    return os.getcwd()
def connects():
    with socket.socket() as s:
        s.settimeout(3)
        return s.connect_ex(("127.0.0.1", int(open("port").read())) if os.path.exists("port") else ("1.1.1.1", 80))
def modules(): return sorted(m for m in sys.modules if m.startswith(("segkit", "autograder")))
def imports(name):
    try:
        __import__(name)
        return "imported"
    except ImportError:
        return "no such module"
def processes(): return sum(name.isdigit() for name in os.listdir("/proc"))

class Net(nn.Module):
    def __init__(self, n_class=2):
        super().__init__()
        self.conv = nn.Conv2d(3, n_class, 1)
    def forward(self, x):
        return self.conv(x)

class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
    def forward(self, x):
        return {"x1": self.conv(x), "x2": x[:, :, ::2], "x3": x}

class Over(nn.Module):
    def __init__(self, trunk, n_class=2):
        super().__init__()
        self.trunk, self.last = trunk, nn.Conv2d(2, n_class, 1)
    def forward(self, x):
        return self.last(self.trunk(x)["x1"])
"""
NAMES = [line.split()[1].partition("(")[0] for line in CODE.splitlines() if line.startswith(("def ", "class "))]
REPO = Path(__file__).resolve().parents[2]


def works(level: str) -> bool:
    try:
        return available(level) and (best_level(level) == level or level == "process")
    except IsolationError:
        return False


@pytest.fixture(scope="module")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edition")
    write_edition(folder)
    open_assignment(TINY).hook("without_torchvision")(folder)
    return folder


def start(edition: Path, folder: Path, level: str, code: str = CODE, **more) -> Student:
    notebook(folder / "work.ipynb", cell("# work", kind="markdown"), cell(code))
    settings = WorkerSettings(level, edition, **({"seconds": 20.0} | more))
    return Student(open_folder(folder, {}), RemoteSubject(settings))


@pytest.fixture(scope="module", params=LEVELS)
def student(request, edition, tmp_path_factory) -> Iterator[Student]:
    """One worker for all tests of a level; those that end it cost the next one a new start."""
    if not works(request.param):
        pytest.skip(f"isolation level {request.param} cannot be had on this machine")
    student = start(edition, tmp_path_factory.mktemp("work"), request.param)
    yield student
    student.subject.close()


def failure(student: Student, name: str, *arguments) -> StudentError:
    with pytest.raises(StudentError) as caught:
        student.call(name, *arguments)
    return caught.value


# ------------------------------------------------------------------------------------------- what leaves the worker alive
def test_a_network_is_handed_to_the_constructor_of_another_and_gives_maps_by_name(student):
    trunk = student.build("Trunk")
    over = student.build("Over", trunk, n_class=4)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype(np.float32)
    maps = student.maps(trunk, x, ("x1", "x2"))
    assert list(maps) == ["x1", "x2"] and np.array_equal(maps["x2"], x[:, :, ::2])
    student.forget(trunk)
    assert [layer.path for layer in student.describe(over)] == ["trunk.conv", "last"] and student.forward(over, x).shape == (2, 4, 4, 6)
    with pytest.raises(StudentError, match="expected a dictionary with x4"):
        student.maps(student.build("Trunk"), x, ["x4"])
    with pytest.raises(StudentError, match=r"Over\(Trunk, n_class='a'\)"):
        student.build("Over", student.build("Trunk"), n_class="a")


def test_values_go_there_and_come_back(student):
    assert student.call("double", np.arange(3)).tolist() == [0, 2, 4]


def test_an_error_names_notebook_cell_line_and_quotes_it(student):
    error = failure(student, "fails", np.float64(1))
    assert error.cause == "code.raises"
    line = CODE.splitlines().index('    return y["missing"]') + 1
    assert f'work.ipynb, cell 2, line {line}, in fails:  return y["missing"]' in str(error)
    assert "IndexError" in str(error) or "TypeError" in str(error)
    assert "subject.py" not in str(error)


def test_sys_exit_is_named_and_the_worker_lives_on(student):
    before = student.generation
    error = failure(student, "exits")
    assert error.cause == "code.exit" and "line" in str(error) and "exits" in str(error)
    assert student.generation == before and student.call("double", 4) == 8


@pytest.mark.parametrize(("said", "told"), [
    ("grader.fault", "code.raises"), ("submission.empty", "code.raises"), ("gate.differs", "code.raises"), ("shape.size", "shape.size"),
])  # fmt: skip
def test_a_worker_names_no_cause_of_the_grader(student, said, told):
    assert failure(student, "blames", said).cause == told


def test_a_stub_is_named_unfinished(student):
    with pytest.raises(StudentError, match="not finished") as caught:
        student.call("stub")
    assert caught.value.cause == "code.unfinished"


@pytest.mark.parametrize(("what", "found"), [
    ("object", {"type": "object"}), ("lambda", {"type": "function"}), ("text", {"type": "ndarray of <U1"}), ("dict", {"1": [2, 3.0]}),
])  # fmt: skip
def test_results_without_a_plain_form_come_back_as_their_type(student, what, found):
    assert student.call("returns", what) == found


@pytest.mark.parametrize("what", ["complex", "huge integer"])
def test_results_that_cannot_be_sent_are_the_students_fault_and_the_worker_lives_on(student, what):
    before = student.generation
    assert failure(student, "returns", what).cause == "code.type"
    assert student.generation == before


def test_prints_and_forged_lines_on_stdout_reach_nobody(student):
    assert student.call("talks") == 5


def test_memory_has_a_limit(student):
    error = failure(student, "hungry")
    assert error.cause == "code.memory" and "memory" in str(error)


def test_the_environment_is_empty(student, monkeypatch):
    found = student.call("variables")
    assert not set(found) & {"SEGKIT_COURSE_SECRET", "GITHUB_TOKEN", "USER", "LOGNAME", "VIRTUAL_ENV", "PYTHONPATH", "SSH_AUTH_SOCK"}
    assert set(found) <= {"HOME", "TMPDIR", "PATH", "LANG", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONHASHSEED",
                          "MPLBACKEND", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "SEGKIT_WORKER", "PWD",
                          "LC_CTYPE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK",
                           "TORCHINDUCTOR_CACHE_DIR"}  # fmt: skip


def test_no_descriptor_of_the_judge_is_inherited(student):
    # the pipe's two ends, the standard three, and the folder that is being listed; libraries may hold one or two more
    assert len(student.call("descriptors")) <= 9


def test_the_worker_knows_the_student_edition_and_nothing_of_the_grader(student):
    found = student.call("modules")
    assert "segkit.subject" in found and not any(name.startswith(("autograder", "segkit.reference")) for name in found)
    for name in ("segkit.reference", "segkit.edition", "autograder", "autograder.judge.run"):  # not even by an editable install
        assert student.call("imports", name) == "no such module", name


def test_under_bubblewrap_the_project_and_other_processes_are_out_of_sight(student):
    if student.subject.settings.isolation != "bubblewrap":
        pytest.skip("only bubblewrap hides files and processes")
    for place in ("autograder/assignments", "segkit", "notebooks", "tests", "pyproject.toml"):
        assert (REPO / place).exists() and student.call("looks", str(REPO / place)) is False, place
    assert student.call("listing", str(REPO / "autograder")) == ["sandbox"]
    assert student.call("listing", str(REPO / "autograder" / "sandbox")) == ["lazy.py", "offline.py", "wire.py", "worker.py"]
    assert student.call("looks", str(Path.home() / ".ssh")) is False
    assert student.call("looks", "/etc/passwd") is False
    assert student.call("processes") <= 4


def test_under_bubblewrap_there_is_no_network(student):
    if student.subject.settings.isolation != "bubblewrap":
        pytest.skip("only bubblewrap has a network of its own")
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        Path(student.call("here"), "port").write_text(str(server.getsockname()[1]))
        with pytest.raises(StudentError, match="Operation not permitted"):  # not even a socket can be had
            student.call("connects")


def test_the_scratch_folder_is_the_working_folder_and_goes_with_the_worker(student):
    scratch = Path(student.call("here"))
    assert (scratch / "note.txt").read_text() == "x"
    student.subject.close()
    assert not scratch.exists()
    assert student.call("double", 3) == 6


# ------------------------------------------------------------------------------------------- what ends the worker
@pytest.mark.parametrize(("name", "cause", "words"), [
    ("exits_at_once", "code.died", "os._exit"), ("killed", "code.died", "signal 9"),
    ("segfaults", "code.died", "crash in native code"), ("writes_into_the_pipe", "code.garbage", "cannot be read"),
    ("fills_the_disk", None, ""),
])  # fmt: skip
def test_a_death_is_named_and_the_next_question_gets_a_fresh_worker(student, name, cause, words):
    error = failure(student, name)
    assert cause is None or error.cause == cause
    assert words in str(error)
    assert student.call("double", 5) == 10


def test_an_endless_loop_is_ended_after_the_limit_and_named(edition, tmp_path):
    student = start(edition, tmp_path, best_level(), seconds=3.0)
    with student.subject:
        student.call("double", 1)
        began = time.monotonic()
        error = failure(student, "loops")
        assert error.cause == "code.timeout" and "3 s" in str(error) and "endless loop" in str(error)
        assert time.monotonic() - began < 8
        handle = student.build("Net", 2)
        assert student.describe(handle)[0].path == "conv"
        # objects of a worker that died are gone, and whoever keeps one is told so
        generation = student.generation
        kept = student.once(("net",), lambda: handle)
        failure(student, "exits_at_once")
        assert student.generation != generation
        assert student.once(("net",), lambda: student.build("Net", 2)) and kept
        student.describe(student.once(("net",), lambda: "never"))
        with pytest.raises(StudentError, match="is not defined|not found"):
            student.call("nowhere")


def test_code_that_dies_while_it_is_defined_leaves_the_other_definitions(edition, tmp_path):
    dies = cell("LIMIT = __import__('os')._exit(1)\ndef dies():\n    return LIMIT")
    notebook(tmp_path / "a.ipynb", dies, cell("def lives():\n    return 7"))
    with RemoteSubject(WorkerSettings(best_level(), edition, seconds=20.0)) as subject:
        student = Student(open_folder(tmp_path, {}), subject)
        assert failure(student, "dies").cause == "code.died"
        assert student.call("lives") == 7


def test_a_text_beside_a_notebook_is_read_when_a_function_is_called(edition, tmp_path):
    (tmp_path / "hw").mkdir()
    notebook(tmp_path / "hw" / "a.ipynb", cell("def pad():\n    with open('pad.txt') as file:\n        return int(file.read())"))
    (tmp_path / "hw" / "pad.txt").write_text("100\n")
    with RemoteSubject(WorkerSettings(best_level(), edition, seconds=20.0)) as subject:
        assert Student(open_folder(tmp_path, {}), subject).call("pad") == 100


def test_a_worker_that_cannot_start_is_the_graders_fault(tmp_path):
    empty = tmp_path / "edition"
    empty.mkdir()
    with RemoteSubject(WorkerSettings(best_level(), empty)) as subject, pytest.raises(GraderFault, match="did not start"):
        subject.call("anything")


def test_no_worker_outlives_its_subject(edition, tmp_path):
    with start(edition, tmp_path, best_level()).subject as subject:
        subject._start()
        number = subject._process.pid
        os.kill(number, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_an_unknown_level_is_refused():
    with pytest.raises(IsolationError, match="expected|Expected"):
        best_level("a strong wish")
