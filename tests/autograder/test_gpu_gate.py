"""Gates on a GPU, with a GPU that is made up: batches, 16 bits, turns, memory. What is faster must not be felt in the points."""

import multiprocessing
import os
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny import NET, TINY, InProcess, open_run, weights, write_submission

from autograder.cli import main
from autograder.course.rubric import RubricError
from autograder.judge import asking, gates, grade
from autograder.judge.asking import Picture, ask_all
from autograder.judge.gates import FINAL, near_a_step
from autograder.judge.grade import grade_path
from autograder.sandbox import gpus
from autograder.sandbox.client import GraderFault
from autograder.sandbox.gpus import Memory
from autograder.sandbox.locks import one_of
from autograder.sandbox.view import Room, environment
from segkit import memory_errors
from segkit.checkpoints import save_checkpoint
from segkit.subject import LocalSubject, StudentError


class Network:
    """Answers like a student behind the gate: labels are the whole part of the first channel.

    Args:
        fails: Cause with which batches fail, or empty.
    """

    def __init__(self, fails=""):
        self.fails = fails
        self.asked: list[tuple[int, str]] = []

    def predict(self, handle, x, precision="float32"):
        self.asked.append((len(x) if x.ndim == 4 else 1, precision))
        if x.ndim == 4 and self.fails:
            raise StudentError("no", self.fails)
        return x[..., 0, :, :].astype(np.uint8)


def pictures(sizes):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 12, (3, *size)).astype(np.float32) for size in sizes]
    names = [f"p{number}" for number in range(len(sizes))]
    expected = {name: image[0].astype(np.uint8) for name, image in zip(names, images, strict=True)}
    return [Picture(n, i.shape[1:], partial(lambda i: i, i)) for n, i in zip(names, images, strict=True)], expected


SIZES = [(10, 10), (9, 4), (10, 10), (10, 10), (10, 10), (9, 4), (20, 30), (10, 10)] + [(5, 5)] * 9


def same(found, expected):
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)


def test_on_a_cpu_each_picture_is_asked_by_itself_in_order():
    network, (asked, expected) = Network(), pictures(SIZES)
    done = []
    found, how = ask_all(network, "net", asked, progress=done.append)
    assert same(found, expected) and list(found) == list(expected) and how == "float32"
    assert network.asked == [(1, "float32")] * len(SIZES) and done == list(range(1, len(SIZES) + 1))


def test_pictures_of_one_size_are_asked_together_in_16_bits():
    network, (asked, expected) = Network(), pictures(SIZES)
    found, how = ask_all(network, "net", asked, 400, "bfloat16")
    assert same(found, expected) and how == "bfloat16 in batches"
    assert network.asked == [(count, "bfloat16") for count in (1, 4, 1, 2, 9)]  # the largest first


@pytest.mark.parametrize("fails", ["code.raises", "code.memory", "gate.precision"])
def test_a_network_that_cannot_be_asked_the_fast_way_is_asked_picture_by_picture_in_float32(fails):
    network, (asked, expected) = Network(fails=fails), pictures(SIZES)
    found, how = ask_all(network, "net", asked, 400, "bfloat16")
    assert same(found, expected) and how == "float32"
    assert network.asked == [(1, "bfloat16"), (4, "bfloat16")] + [(1, "float32")] * len(SIZES)


def test_a_network_that_answers_for_fewer_pictures_than_a_batch_holds_is_asked_picture_by_picture():
    class First(Network):
        def predict(self, handle, x, precision="float32"):
            labels = super().predict(handle, x, precision)
            return labels[:1] if x.ndim == 4 else labels

    asked, expected = pictures(SIZES)
    found, how = ask_all(First(), "net", asked, 400)
    assert same(found, expected) and how == "float32"


@pytest.mark.parametrize("cause", asking.GONE)
def test_a_worker_that_ended_is_not_asked_again(cause):
    network = Network(fails=cause)
    with pytest.raises(StudentError):
        ask_all(network, "net", pictures(SIZES)[0], 400, "bfloat16")
    assert network.asked[-1][0] == 4


@pytest.mark.parametrize("answer", [np.zeros((3, 3), np.uint8), np.zeros((10, 10), np.int64)])
def test_what_is_no_label_map_is_said(answer):
    class Odd(Network):
        def predict(self, handle, x, precision="float32"):
            return answer

    with pytest.raises(StudentError, match=r"expected a label map of shape \(10, 10\)"):
        ask_all(Odd(), "net", pictures([(10, 10)])[0])


def test_pictures_whose_sizes_nobody_knows_are_asked_singly():
    asked, expected = pictures(SIZES)
    network = Network()
    found, how = ask_all(network, "net", [Picture(p.name, None, p.load) for p in asked], 400)
    assert same(found, expected) and how == "float32" and {count for count, _ in network.asked} == {1}


# ------------------------------------------------------------------------------------------------------------- the worker
def local(tmp_path, net):
    save_checkpoint(tmp_path / "dots.safetensors", weights())
    names = {}
    exec(net, names)
    subject = LocalSubject(tmp_path, checkpoints={"dots": tmp_path / "dots.safetensors"})
    subject.adopt("DotNet", names["DotNet"])
    handle = subject.build("DotNet")
    subject.load_checkpoint(handle, "dots")
    return subject, handle


@pytest.mark.parametrize("extra", [
    "self.register_buffer('ones', torch.ones(2, 1, 1), persistent=False)", "self.ones = torch.ones(2, 1, 1)",
])  # fmt: skip
def test_what_a_constructor_computes_beside_the_checkpoint_has_its_values(tmp_path, extra):
    """Networks are built without memory, where that does; here it does not."""
    net = NET.replace("super().__init__()", f"super().__init__()\n        {extra}").replace("self.conv(x)", "self.conv(x) * self.ones")
    subject, _ = local(tmp_path, net)
    with pytest.raises(StudentError, match="have no values") as caught:
        subject.load_checkpoint(subject.build("DotNet", meta=True), "dots")
    assert caught.value.cause not in FINAL
    x = np.random.default_rng(0).random((3, 7, 5)).astype(np.float32)
    handle = gates._load(SimpleNamespace(build=subject.build, load_checkpoint=subject.load_checkpoint), "DotNet", "dots")
    assert np.array_equal(subject.predict(handle, x), (x[0] > 0.5).astype(np.uint8))


def test_a_batch_predicts_what_its_pictures_do_in_either_format(tmp_path):
    subject, handle = local(tmp_path, NET)
    x = np.random.default_rng(0).random((3, 3, 7, 5)).astype(np.float32)
    x = np.where(abs(x - 0.5) < 0.05, 0.9, x).astype(np.float32)  # nothing that rounding may exchange
    expected = (x[:, 0] > 0.5).astype(np.uint8)
    for precision in ("float32", "bfloat16"):
        together = subject.predict(handle, x, precision)
        assert together.dtype == np.uint8 and np.array_equal(together, expected)
        assert np.array_equal(subject.predict(handle, x[1], precision), expected[1])


def test_16_bits_that_a_device_would_emulate_are_refused(tmp_path):
    """Then a gate is asked in float32. The meta device stands in for an older GPU: it has no 16 bits either."""
    subject, handle = local(tmp_path, NET)
    subject.device = "meta"
    with pytest.raises(StudentError, match="'float16'") as caught:
        subject.predict(handle, np.zeros((3, 7, 5), np.float32), "float16")
    assert caught.value.cause == "gate.precision"


def test_16_bits_are_16_bits(tmp_path):
    subject, handle = local(tmp_path, NET)
    x = np.full((3, 4, 4), 0.5 + 2**-12, np.float32)  # rounds to a half, which is no dot
    assert (subject.predict(handle, x) == 1).all() and (subject.predict(handle, x, "bfloat16") == 0).all()


@pytest.mark.parametrize(("forward", "found"), [
    ("self.conv(x)[:1]", r"expected logits of shape \(2, n_class, 7, 5\), but got \(1, 2, 7, 5\)"),
    ("self.conv(x)[..., 1:]", r"but got \(2, 2, 7, 4\)"),
    ("(self.conv(x),)", "expected a tensor, but got tuple"),
])  # fmt: skip
def test_an_output_of_another_shape_is_named_for_batches_too(tmp_path, forward, found):
    subject, handle = local(tmp_path, NET.replace("return self.conv(x)", f"return {forward}"))
    with pytest.raises(StudentError, match=found):
        subject.predict(handle, np.zeros((2, 3, 7, 5), np.float32))


def test_argmax_in_forward_passes_for_batches_too(tmp_path):
    subject, handle = local(tmp_path, NET.replace("return self.conv(x)", "return self.conv(x).argmax(1)"))
    assert subject.predict(handle, np.ones((2, 3, 7, 5), np.float32)).sum() == 70


def test_a_gpu_without_room_is_a_lack_of_memory(tmp_path):
    subject, handle = local(tmp_path, NET.replace("return self.conv(x)", "raise torch.OutOfMemoryError('CUDA out of memory. Tried')"))
    with pytest.raises(StudentError, match="ran out of memory. CUDA out of memory") as caught:
        subject.predict(handle, np.zeros((3, 7, 5), np.float32))
    assert caught.value.cause == "code.memory"


def test_the_memory_of_a_process_is_told(tmp_path):
    subject, _ = local(tmp_path, NET)
    before = subject.peak_bytes()
    block = np.ones(2**25)  # 256 MiB
    assert subject.peak_bytes() >= max(before, block.nbytes) and before > 2**20


# -------------------------------------------------------------------------------------------------------------- the judge
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


def test_the_probe_computes_what_it_should_and_notices_what_is_wrong(tmp_path, monkeypatch):
    subject, _ = local(tmp_path, NET)
    assert subject.probe() is None
    usual = torch.nn.functional.conv2d
    answers = iter([lambda x: x, lambda x: x * 1.01])
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, weight: next(answers)(usual(x, weight)))
    with pytest.raises(RuntimeError, match="a small convolution on cpu is wrong by up to"):
        subject.probe()


@pytest.mark.parametrize(("text", "little", "cause"), [
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED", False, "code.memory"), ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", False, "code.memory"),
    ("GET was unable to find an engine to execute this computation", True, "code.memory"),
    ("GET was unable to find an engine to execute this computation", False, "code.raises"),
    ("CUDA error: misaligned address", True, "code.raises"),
])  # fmt: skip
def test_what_cuda_says_without_an_error_class_is_a_lack_of_memory_too(tmp_path, monkeypatch, text, little, cause):
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr(memory_errors, "_little_is_free", lambda: little)
    subject, handle = local(tmp_path, NET.replace("return self.conv(x)", f"raise RuntimeError({text!r})"))
    with pytest.raises(StudentError) as caught:
        subject.predict(handle, np.zeros((3, 7, 5), np.float32))
    assert caught.value.cause == cause


@pytest.mark.parametrize(("free", "own", "reserved", "cap", "little"), [
    (70, 0, 0, 1.0, False), (10, 50, 60, 1.0, True), (10, 20, 60, 1.0, False), (70, 15, 15, 0.2, True), (70, 5, 5, 0.4, False),
])  # fmt: skip
def test_what_is_free_for_a_process_counts_its_own_cache_and_its_cap(monkeypatch, free, own, reserved, cap, little):
    """By hand, of 100: what the driver has left and the process keeps unused; at most its share without what it uses."""
    for name, value in {"is_initialized": True, "mem_get_info": (free, 100), "memory_allocated": own, "memory_reserved": reserved,
                        "get_per_process_memory_fraction": cap}.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert memory_errors._little_is_free() is little


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


