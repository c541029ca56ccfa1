"""Measuring on a GPU, and in 16 bits: the same counts, but for pixels that tie."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from noise import CPU, SIZES, Noise, by_hand, counted, judged, plain, whole_numbers
from torch import nn
from torch.overrides import TorchFunctionMode

from segkit.precision import Precision, tie_tolerance
from segkit.reference import confusion_matrix
from segkit.reference.fcn.metrics import _product_counts, confusion_matrix_on_device
from segkit.training import measuring
from segkit.training.batches import collate
from segkit.training.measuring import (
    PIXELS_AT_ONCE,
    _Counter,
    _laid_out,
    _Seeing,
)


class Blank(nn.Module):
    """Class 1 everywhere."""

    def forward(self, x):
        return torch.stack([torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])], 1)


def products(pred, gt, n_class):
    """A student's way to count: a product of matrices, which autocast would round."""
    classes = torch.arange(n_class, device=gt.device)[:, None]
    rows, columns = ((values.flatten()[None] == classes).float() for values in (gt, pred))
    return (rows @ columns.T).long()


BIG = (257, 263)
"""67591 pixels: no number of bfloat16, and infinite in float16."""


def test_coarser_formats_tie_sooner():
    formats = [Precision("float32", "cpu"), Precision("float16", "cuda"), Precision("bfloat16", "cuda")]
    tolerances = [tie_tolerance(precision) for precision in formats]
    assert tolerances == sorted(tolerances) and len(set(tolerances)) == 3


@pytest.mark.parametrize(("conv", "expected"), [(None, 2**-9), ("ieee", 2**-14), ("tf32", 2**-9)])
def test_whether_a_gpu_rounds_products_is_asked_in_a_way_that_both_settings_allow(conv, expected):
    """torch refuses to answer the older question (cudnn.allow_tf32) after the newer setting was made."""
    before = torch.backends.cudnn.conv.fp32_precision
    try:
        if conv is not None:
            torch.backends.cudnn.conv.fp32_precision = conv
        assert tie_tolerance(Precision("float32", "cuda")) == expected
    finally:
        torch.backends.cudnn.conv.fp32_precision = before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_counts_like_the_plain_loop_but_for_pixels_that_tie():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 7, padding=3), nn.ReLU(), nn.Conv2d(64, 12, 5, padding=2)).eval()
    data = Noise([(120, 90)] * 5 + [(64, 100)], 12)
    expected = by_hand(model, data, 12)
    counts = counted(
        model, data, device=torch.device("cuda"), precision=Precision("float32", "cuda"),
        threads=2, most_pixels=2**16, ties=True, progress=False,
    )  # fmt: skip
    assert abs(counts.hists - expected).sum() <= 2 * counts.ties
    assert next(model.parameters()).device.type == "cpu"


def test_away_from_the_cpu_counts_are_made_over_there_and_put_in_order():
    """On meta tensors nothing could be read back: what asked for values would fail."""

    def count(pred, gt, n_class):
        raise AssertionError("a label map came back")

    count.on_device = lambda pred, gt, n_class: torch.full((n_class, n_class), pred.shape[0])
    counter = _Counter(count, torch.device("meta"))
    for indices, height in (([2, 0], 7), ([1], 5)):
        maps = torch.empty(len(indices), height, 3, dtype=torch.int64, device="meta")
        counter.add(counter.begin(maps, maps, 4), SimpleNamespace(names=["a", "b"][: len(indices)], labels=None), indices)
    assert counter.finish(3)[:, 0, 0].tolist() == [7, 5, 7] and not counter.as_tensor


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("n_class", [1, 2, 12, 17])
def test_counting_on_the_device_agrees_with_counting_on_the_cpu(dtype, n_class):
    generator = torch.Generator().manual_seed(n_class)
    gt = torch.randint(0, n_class, (37, 53), generator=generator)
    gt[torch.rand(37, 53, generator=generator) < 0.3] = 255
    pred = torch.randint(0, n_class, (37, 53), generator=generator)
    expected = np.zeros((n_class, n_class), dtype=int)
    for truth, guess in zip(gt.flatten().tolist(), pred.flatten().tolist(), strict=True):
        if truth < n_class:
            expected[truth, guess] += 1
    gt, pred = gt.to(dtype), pred.to(dtype)
    assert (confusion_matrix_on_device(pred, gt, n_class).numpy() == expected).all()
    assert (_product_counts(pred.flatten(), gt.flatten(), n_class, block=100).numpy() == expected).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counting_by_products_is_exact_under_autocast(dtype):
    generator = torch.Generator().manual_seed(0)
    gt, pred = (torch.randint(0, 3, (300_007,), generator=generator) for _ in range(2))
    gt[:70_001] = pred[:70_001] = 0
    with torch.autocast("cpu", dtype):
        found = _product_counts(pred, gt, 3)
        assert torch.is_autocast_enabled("cpu")
    assert (found.numpy() == confusion_matrix(pred, gt, 3)).all() and found[0, 0] > 65504


@pytest.mark.parametrize("count", [products, _product_counts, confusion_matrix_on_device])
def test_counts_made_over_there_are_exact_while_the_network_runs_in_16_bits(count):
    """As on a GPU, on the CPU: the network under autocast, the counting not."""
    image, label = torch.zeros(3, *BIG), torch.ones(BIG, dtype=torch.long)
    label[0] = 0
    half = []

    def count_there(pred, gt, n_class):
        half.append(torch.is_autocast_enabled("cpu"))
        return count(pred.flatten(), gt.flatten(), n_class)

    model = Blank()
    model.register_forward_pre_hook(lambda *_: half.append(torch.is_autocast_enabled("cpu")))
    with torch.inference_mode(), Precision("bfloat16", "cpu").autocast(), _Counter(count_there, CPU) as counter:
        counter.on_device = count_there
        _Seeing(model, CPU, counter, 0.1).look(collate([(image, label)], ["big"]), [0])
        assert counter.finish(1)[0].tolist() == [[0, 263], [0, 256 * 263]]
    assert half == [True, False]


@pytest.mark.parametrize("convert", [lambda counts: counts, lambda counts: counts.numpy()], ids=["tensor", "array"])
def test_a_students_products_are_exact_while_the_network_runs_in_16_bits(convert):
    image, label = torch.zeros(3, *BIG), torch.ones(BIG, dtype=torch.long)

    def counting(pred, gt, n_class):
        return convert(products(pred, gt, n_class))

    result = judged(Blank(), [(image, label)], precision="bfloat16", confusion_matrix=counting)
    assert result.hist.tolist() == [[0, 0], [0, 257 * 263]] and result.loss == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)


def test_a_network_can_be_trained_after_its_weights_were_laid_out_for_a_gpu():
    model, x = whole_numbers(4), torch.ones(1, 3, 5, 5)
    before = [value.detach().clone() for value in model.parameters()]
    with torch.inference_mode(), _laid_out(model, Precision("bfloat16", "cuda")):
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last) and torch.is_inference_mode_enabled()
        model(x)
    assert all(value.is_contiguous() and not value.is_inference() for value in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    model(x).sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()


def test_a_network_made_in_inference_mode_can_be_laid_out_for_a_gpu_too():
    with torch.inference_mode():
        model = whole_numbers(4)
    with torch.inference_mode(), _laid_out(model, Precision("bfloat16", "cuda")):
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0].weight.is_contiguous()


def test_only_copies_to_a_cuda_gpu_do_not_wait():
    """From an Apple GPU or the CPU a copy that does not wait may be read half done."""

    class Copies(TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            if function is torch.Tensor.to and (options or {}).get("non_blocking"):
                hasty.append(arguments[1:])
            return function(*arguments, **(options or {}))

    hasty = []
    with Copies():
        counted(whole_numbers(4), Noise(SIZES, 4), confusion_matrix=plain)
    assert hasty == []


def test_the_copy_of_a_label_map_is_awaited_on_the_gpu_that_makes_it(monkeypatch):
    """Not on the current one: its queue knows nothing of the copy."""
    recorded = []
    event = SimpleNamespace(record=lambda stream=None: recorded.append(stream), synchronize=lambda: recorded.append("awaited"))
    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"the stream of {device}")
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory, **options: empty(*size, **options))
    there = torch.device("cuda:1")
    predicted = SimpleNamespace(device=there, to=torch.tensor([[[3, 200]]]).to)
    assert measuring._send(predicted, 256)().tolist() == [[[3, 200]]]
    assert recorded == ["the stream of cuda:1", "awaited"]


@pytest.mark.parametrize(("device", "most"), [("cuda:0", PIXELS_AT_ONCE), ("cpu", 0), ("mps", 0)])
def test_pictures_of_one_size_share_a_batch_on_a_gpu_alone(monkeypatch, device, most):
    class Planned(Exception):
        pass

    def planned(sizes, count, most_pixels):
        assert most_pixels == most
        raise Planned

    monkeypatch.setattr(measuring, "batches_of_one_size", planned)
    with pytest.raises(Planned):
        counted(Blank(), Noise(SIZES, 2), device=torch.device(device))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("counting", [plain, confusion_matrix], ids=["a student's function", "the reference's"])
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_gpu_in_16_bits_counts_every_pixel_and_leaves_a_network_that_trains(counting, name):
    data, model = Noise([(300, 400)] * 3 + [(64, 100)], 4), whole_numbers(4)  # whole numbers below 256: exact in 16 bits
    with torch.no_grad():
        model[2].weight.clamp_(-1, 1)
        model[0].weight.mul_(0), model[2].bias.copy_(torch.tensor([0, 1, 0, 0]))
    result = judged(model, data, device="cuda", confusion_matrix=counting, precision=name)
    assert (result.by_image == by_hand(model, data, 4)).all()
    model(torch.ones(1, 3, 5, 5)).sum().backward()
