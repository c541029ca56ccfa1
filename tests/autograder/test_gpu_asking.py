"""Pictures that are asked of a network: in batches, in 16 bits, one by one; and what a worker answers to batches."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import NET, weights

from autograder.judge import asking, gates
from autograder.judge.asking import Picture, ask_all
from autograder.judge.gates import FINAL
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
