"""Gates on a GPU, with a GPU that is made up: turns, memory, names. What is faster must not be felt in the points."""

import multiprocessing
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tiny import TINY, InProcess, open_run, weights, write_submission

from autograder.cli import main
from autograder.course.rubric import RubricError
from autograder.judge import grade
from autograder.judge.gates import near_a_step
from autograder.judge.grade import grade_path
from autograder.sandbox import gpus
from autograder.sandbox.client import GraderFault
from autograder.sandbox.gpus import Memory
from autograder.sandbox.locks import one_of
from autograder.sandbox.view import Room, environment
from segkit.subject import StudentError


class OnGpu(InProcess):
    """A worker that says it has a GPU; networks run where they can."""

    half: list[str] = []

    def __init__(self, settings, checkpoints=None):
        super().__init__(settings, checkpoints)
        self._told = "cuda" if settings.gpu else "cpu"

    @property
    def device(self):
        return getattr(self, "_told", "cpu") if hasattr(self, "_names") and not getattr(self, "_inside", False) else "cpu"

    @device.setter
    def device(self, value):
        pass

    def _in(self, function, *arguments):
        self._inside = True
        try:
            return function(*arguments)
        finally:
            self._inside = False

    def predict(self, handle, x, precision="float32"):
        self.half.append(precision)
        return self._in(super().predict, handle, x, precision)

    def load_checkpoint(self, handle, file):
        return self._in(super().load_checkpoint, handle, file)

    def probe(self):
        return self._in(super().probe)

    def peak_bytes(self):
        return 3 * 2**30


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A GPU in the eyes of the judge; returns what its driver says."""
    said = {"memory": Memory(2**30, 100 * 2**30)}
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)
    monkeypatch.setattr(gpus, "memory", lambda: said["memory"])
    monkeypatch.setattr(gpus, "gpu_name", lambda: "Made-up 9000")
    monkeypatch.setattr("autograder.judge.run.gpu_name", lambda: "Made-up 9000")
    monkeypatch.setattr("autograder.judge.run._gpu_is_there", lambda: True)
    monkeypatch.setattr(gpus, "_library", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "PATIENCE", 0.3)
    monkeypatch.setattr(grade, "RemoteSubject", OnGpu)
    OnGpu.half = []
    return said


def graded(tmp_path, name="alice", **more):
    with open_run(tmp_path / "out", device="cuda", only=("net.accuracy",), **more) as run:
        return grade_path(run, write_submission(tmp_path / name, checkpoint=weights()), name)


def test_time_memory_device_and_format_stand_in_the_result(gpu, tmp_path):
    result = graded(tmp_path)
    assert result["checks"][0]["status"] == "earned" and result["device"] == "cuda"
    (note,) = result["notes"]
    assert note.startswith("net.accuracy: 4 pictures in ") and note.endswith(" s on Made-up 9000, float32, at most 3072 MiB.")


def test_predictions_of_another_gpu_or_format_are_not_reused(gpu, tmp_path, monkeypatch):
    graded(tmp_path)
    asked = len(OnGpu.half)
    graded(tmp_path)
    assert len(OnGpu.half) == asked
    graded(tmp_path, precision="bfloat16")
    assert len(OnGpu.half) > asked and "bfloat16" in OnGpu.half[asked:]
    asked = len(OnGpu.half)
    monkeypatch.setattr("autograder.judge.run.gpu_name", lambda: "Another")
    graded(tmp_path)
    assert len(OnGpu.half) > asked
    assert len(list((tmp_path / "out" / ".gates").glob("gate-*.npz"))) == 3


def test_memory_that_stays_taken_is_told(gpu, tmp_path, monkeypatch):
    said = iter([Memory(2**30, 2**36)])
    monkeypatch.setattr(gpus, "memory", lambda: next(said, Memory(2**30 + 700 * 2**20, 2**36)))
    result = graded(tmp_path)
    assert "net.accuracy: 700 MiB of the GPU were not free again after the gate." in result["notes"]
    assert result["checks"][0]["status"] == "earned"


def test_memory_that_comes_back_late_is_waited_for(monkeypatch):
    said = iter([Memory(5 * 2**30, 2**36), Memory(3 * 2**30, 2**36), Memory(2**30, 2**36)])
    monkeypatch.setattr(gpus, "memory", lambda: next(said))
    assert gpus.memory_left_behind(Memory(2**30, 2**36)) == 0
    assert gpus.memory_left_behind(None) == 0


@pytest.mark.parametrize(("used", "status"), [(2**30, "not_earned"), (60 * 2**30, "could_not_grade")])
def test_no_room_is_the_students_fault_only_where_the_gpu_was_free(gpu, tmp_path, monkeypatch, used, status):
    gpu["memory"] = Memory(used, 100 * 2**30)

    def full(*_, **__):
        raise StudentError("CUDA out of memory", "code.memory")

    monkeypatch.setattr(OnGpu, "predict", full)
    check = graded(tmp_path)["checks"][0]
    assert check["status"] == status
    if status == "could_not_grade":
        assert check["cause"] == "grader.memory" and "60.0 of its 100.0 GiB" in check["message"] and "--device cpu" in check["message"]


def test_a_gpu_that_is_asked_for_and_not_there_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RubricError, match="--device cuda: PyTorch finds no CUDA GPU here"):
        open_run(tmp_path / "out", device="cuda")
    (tmp_path / "alice").mkdir()
    told = CliRunner().invoke(main, ["grade", str(tmp_path / "alice"), "--out", str(tmp_path / "o"), "--assignment", str(TINY),
                                     "--data", "drawn", "--device", "cuda"])  # fmt: skip
    assert told.exit_code == 2 and "Give --device cpu" in told.output and "Traceback" not in told.output


def test_a_worker_without_the_gpu_is_not_taken_for_one_with_it(gpu, tmp_path, monkeypatch):
    """CUDA may be there for the judge and not behind the wall; what the CPU computes must not be kept under the GPU's name."""
    monkeypatch.setattr(OnGpu, "device", property(lambda self: "cpu", lambda self, value: None))
    check = graded(tmp_path)["checks"][0]
    assert (check["status"], check["points"], check["cause"]) == ("could_not_grade", None, "grader.fault")
    assert "to be measured on Made-up 9000, but PyTorch found no CUDA GPU in the worker" in check["message"]
    assert not OnGpu.half and not list((tmp_path / "out" / ".gates").glob("gate-*.npz"))


def test_a_worker_is_started_before_the_gpu_is_taken_and_ended_before_it_is_handed_on(gpu, tmp_path, monkeypatch):
    events = []

    @contextmanager
    def turn(run):
        events.append("taken")
        yield
        events.append("handed on")

    monkeypatch.setattr("autograder.judge.run.Run.gpu_turn", turn)
    monkeypatch.setattr(OnGpu, "peak_bytes", lambda self: events.append("asked") or 0)
    build, load, predict = OnGpu.build, OnGpu.load_checkpoint, OnGpu.predict
    monkeypatch.setattr(OnGpu, "probe", lambda self: events.append("probed"))
    monkeypatch.setattr(OnGpu, "build", lambda *given, **more: (events.append("built"), build(*given, **more))[1])
    monkeypatch.setattr(OnGpu, "load_checkpoint", lambda *given: (events.append("loaded"), load(*given))[1])
    monkeypatch.setattr(OnGpu, "predict", lambda *given: (events.append("predicted"), predict(*given))[1])
    monkeypatch.setattr(OnGpu, "close", lambda self: events.append("ended") if self.settings.gpu else None)
    graded(tmp_path)
    assert list(dict.fromkeys(events)) == ["asked", "taken", "probed", "built", "loaded", "predicted", "ended", "handed on"]


def broken(self):
    raise GraderFault("The worker failed at probe: AcceleratorError: CUDA error: uncorrectable ECC error encountered")


def test_a_gpu_that_cannot_compute_is_found_before_anything_of_the_students_runs(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(OnGpu, "probe", broken)
    monkeypatch.setattr(OnGpu, "build", lambda *_, **__: pytest.fail("nothing of the student's may run"))
    check = graded(tmp_path)["checks"][0]
    assert (check["status"], check["points"], check["cause"]) == ("could_not_grade", None, "grader.fault")
    assert "Made-up 9000 does not compute a small convolution" in check["message"] and "ECC" in check["message"]


def test_a_gpu_so_full_that_cuda_does_not_even_start_has_no_room(gpu, tmp_path, monkeypatch):
    def full(self):
        raise GraderFault("The worker failed at probe: AcceleratorError: CUDA error: out of memory")

    gpu["memory"] = Memory(98 * 2**30, 100 * 2**30)
    monkeypatch.setattr(OnGpu, "probe", full)
    check = graded(tmp_path)["checks"][0]
    assert (check["status"], check["cause"]) == ("could_not_grade", "grader.memory")
    assert "98.0 of its 100.0 GiB" in check["message"]


@pytest.mark.parametrize(("sound", "status"), [(True, "not_earned"), (False, "could_not_grade")])
@pytest.mark.parametrize("text", [
    "CUDA error: an illegal memory access was encountered", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
])  # fmt: skip
def test_after_an_error_of_cuda_a_fresh_worker_tells_whose_fault_it_was(gpu, tmp_path, monkeypatch, text, sound, status):
    """A class that asserts on the device loses its own worker only; a GPU that is broken is so for the next worker too."""
    probed = []

    def probe(self):
        probed.append(self)
        if len(probed) > 1 and not sound:
            broken(self)

    def fails(self, *_, **__):
        raise StudentError(f"DotNet.forward failed.\nRuntimeError: {text}", "code.raises")

    monkeypatch.setattr(OnGpu, "probe", probe)
    monkeypatch.setattr(OnGpu, "predict", fails)
    check = graded(tmp_path)["checks"][0]
    assert check["status"] == status and text in check["message"]
    assert len(probed) == 2 and probed[0] is not probed[1]


def test_a_faulty_checkpoint_asks_nothing_more_of_the_gpu(gpu, tmp_path, monkeypatch):
    probed = []
    monkeypatch.setattr(OnGpu, "probe", lambda self: probed.append(self))
    with open_run(tmp_path / "out", device="cuda", only=("net.accuracy",)) as run:
        result = grade_path(run, write_submission(tmp_path / "bob", checkpoint={"other": torch.zeros(1)}), "bob")
    assert result["checks"][0]["cause"] == "checkpoint.unreadable" and len(probed) == 1


@pytest.mark.parametrize(("value", "named"), [
    ("2,0", "2"), ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"), (" 1 , 3", "1"),
    ("MIG-8932f937-d72c-4106-c12f-20bd9faed9f6,1", "MIG-8932f937-d72c-4106-c12f-20bd9faed9f6"), ("MIG-GPU-89-f/1/0", "MIG-GPU-89-f/1/0"),
    ("", None), ("-1", None), ("NoDevFiles", None), ("0;LD_PRELOAD=x", None), ("GPU-../../x", None), ("1\n2", None),
])  # fmt: skip
def test_the_worker_sees_the_gpu_that_the_judge_was_given(tmp_path, monkeypatch, value, named):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    inside = environment(Room(tmp_path, gpu=True))
    assert inside.get("CUDA_VISIBLE_DEVICES") == named and inside["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert not [name for name in environment(Room(tmp_path)) if name.startswith("CUDA")]


def test_folders_of_the_system_where_the_driver_may_lie_are_passed_on_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr("autograder.sandbox.view.DRIVERS", ("/usr/no-such-folder",))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/usr/lib:{tmp_path}::/usr/no-such-folder:/usr/../{tmp_path.name}:lib")
    assert environment(Room(tmp_path, gpu=True))["LD_LIBRARY_PATH"] == "/usr/lib"
    assert "LD_LIBRARY_PATH" not in environment(Room(tmp_path))
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert "LD_LIBRARY_PATH" not in environment(Room(tmp_path, gpu=True))


def test_folders_where_hosted_machines_keep_the_driver_are_always_searched(tmp_path, monkeypatch):
    assert gpus.DRIVERS == ("/usr/local/nvidia/lib64", "/usr/lib64-nvidia")
    monkeypatch.setattr("autograder.sandbox.view.DRIVERS", ("/usr/lib", "/usr/no-such-folder"))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/share")
    assert environment(Room(tmp_path, gpu=True))["LD_LIBRARY_PATH"] == "/usr/share:/usr/lib"
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert environment(Room(tmp_path, gpu=True))["LD_LIBRARY_PATH"] == "/usr/lib"
    assert "LD_LIBRARY_PATH" not in environment(Room(tmp_path))


class Driver:
    """NVIDIA's library with two GPUs, whose device files are numbered the other way round; answers as C does, 0 for success."""

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        handle._obj.value = index + 1 if index < 2 else None
        return int(index >= 2)

    def nvmlDeviceGetHandleByUUID(self, name, handle):
        known = {b"GPU-aa": 1, b"GPU-bb": 2}
        handle._obj.value = known.get(name)
        return int(name not in known)

    def nvmlDeviceGetName(self, handle, text, size):
        text.value = f"GPU {handle.value}".encode()
        return 0

    def nvmlDeviceGetMinorNumber(self, handle, minor):
        minor._obj.value = 2 - handle.value
        return 0


@pytest.mark.parametrize(("value", "name", "file"), [
    (None, "GPU 1", "1"), ("0", "GPU 1", "1"), ("1,0", "GPU 2", "0"), ("GPU-bb", "GPU 2", "0"),
    ("GPU-aa", "GPU 1", "1"), ("GPU-cc", "GPU", "0"),  # not known to the driver: no other GPU's name
])  # fmt: skip
def test_the_gpu_that_is_named_and_locked_is_the_one_that_is_used(tmp_path, monkeypatch, value, name, file):
    gpus._found.cache_clear()
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)
    monkeypatch.setattr(gpus, "_library", Driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value) if value else monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (gpus.gpu_name(), gpus.lock_file().name) == (name, f"segkit-gpu-{file}.lock")
    gpus._found.cache_clear()


@pytest.mark.parametrize(("value", "file"), [("1", "1"), ("7", "7"), ("GPU-aa", "0"), ("", "0")])
def test_without_a_driver_to_ask_the_number_tells_the_lock(gpu, tmp_path, monkeypatch, value, file):
    gpus._found.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert gpus.lock_file() == tmp_path / f"segkit-gpu-{file}.lock"


def test_other_users_can_hold_the_lock_of_a_gpu_whatever_the_umask_of_the_first(gpu, tmp_path):
    before = os.umask(0o077)
    try:
        path = gpus.lock_file()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644 and gpus.lock_file() == path


def test_a_link_in_the_place_of_a_gpus_lock_changes_nothing_of_what_it_points_to(gpu, tmp_path):
    (tmp_path / "theirs").write_text("hush")
    (tmp_path / "theirs").chmod(0o600)
    (tmp_path / "segkit-gpu-0.lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError), one_of([gpus.lock_file()]):
        pass
    assert (tmp_path / "theirs").stat().st_mode & 0o777 == 0o600 and (tmp_path / "theirs").read_text() == "hush"


def hold(out, locks, seconds, told):
    gpus.LOCKS = locks
    with open_run(out, device="cuda") as run, run.gate_turn(), run.gpu_turn():
        told.put(("begin", time.monotonic()))
        time.sleep(seconds)
        told.put(("end", time.monotonic()))


def test_two_runs_never_measure_on_one_gpu_at_once(gpu, tmp_path):
    """Runs of different folders, as two people would start them; each told when it was inside."""
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    runs = [context.Process(target=hold, args=(tmp_path / name, tmp_path, 0.4, told)) for name in "abc"]
    for process in runs:
        process.start()
    seen = sorted((told.get(timeout=60) for _ in range(6)), key=lambda event: event[1])
    for process in runs:
        process.join(timeout=20)
    assert [what for what, _ in seen] == ["begin", "end"] * 3


def test_a_cpu_gate_waits_for_no_gpu(gpu, tmp_path):
    with open_run(tmp_path / "a", device="cuda") as first, open_run(tmp_path / "b", device="cpu") as second, first.gpu_turn():
        entered = threading.Event()

        def enter():
            with second.gate_turn(), second.gpu_turn():
                entered.set()

        threading.Thread(target=enter, daemon=True).start()
        assert entered.wait(timeout=10)


def test_a_judge_without_a_driver_knows_no_gpu():
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a driver")
    assert gpus.memory() is None and gpus.gpu_name() == "GPU"


@pytest.mark.parametrize(("value", "near"), [
    (0.4, True), (0.409, True), (0.411, False), (0.36, True), (0.299, True), (0.297, False), (0.6, False), (0.05, False),
])  # fmt: skip
def test_a_value_near_a_step_of_half_points_is_known(value, near):
    """Between the limits of 0.30 and 0.40 a half point is 0.0083 wide: all of it is near a step."""
    assert near_a_step(value, 0.40, 0.30, 6) is near


def test_between_two_steps_that_lie_far_apart_no_step_is_near():
    """By hand: points go down by a half at 0.8, 0.6, 0.4 and 0.2 (rounded down)."""
    assert [near_a_step(value, 0.8, 0.0, 2) for value in (0.595, 0.588, 0.5, 0.412, 0.405)] == [True, False, False, False, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_real_gpu_is_named_and_its_memory_counted():
    assert gpus.gpu_name() in torch.cuda.get_device_name(0) or torch.cuda.get_device_name(0) in gpus.gpu_name()
    assert abs(gpus.memory().total - torch.cuda.mem_get_info()[1]) < 2**30
    assert gpus.lock_file().exists()
