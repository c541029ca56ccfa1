"""What only a GPU can show of training: 16 bits, steps that wait for nothing, full memory. What a CPU can run of it runs there too."""

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from course_items import N, descend, ends_alike, facades, net
from fast_runs import config, run
from torch import nn

import segkit.training.segmentation
from segkit.precision import Precision, choose_precision
from segkit.training.batches import Batch, EpochBatches
from segkit.training.descent import Descent
from segkit.training.sources import DecodedPairs
from segkit.training.steps import Stepper

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def stepper(model, device, precision, pairs=None, say=print, **settings):
    """As a run of the fast recipe makes one."""
    model.to(device)
    if precision.half:
        model.to(memory_format=torch.channels_last)
    return Stepper(model, Descent(model, config(warmup=0, **settings), precision, 20), pairs, N, torch.device(device), say)


def in_format(device, name):
    """The format where the device has it; a CPU has no float16 training, but computes in it."""
    try:
        return Precision(name, device) if device == "cpu" else choose_precision(torch.device(device), name)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_one_step_in_16_bits_is_near_a_plain_step_in_32(tmp_path, device, name):
    """Oracle: images one by one in float32 on the CPU. With sgd a first step is the rate times the gradient."""
    data, model, plain = facades(tmp_path), net(0.0), net(0.0)
    one = stepper(model, device, in_format(device, name), DecodedPairs(data), optimizer="sgd", clip=0, weight_decay=0.0)
    if one.descent.precision.needs_scaling:
        one.descent.scaler = torch.amp.GradScaler(device, init_scale=256.0)  # the usual one may overflow at first
    batch = EpochBatches(DecodedPairs(data), seed=0, epoch=1, batch_size=3, pad_to=8, pin=device == "cuda")[0]
    one.step(batch, 0)
    ((loss, count),) = one.read()
    expected = 0.0
    for picture in batch.names:
        image, label = data[data.names.index(picture)]
        below = batch.images.shape[2] - image.shape[1], batch.images.shape[3] - image.shape[2]
        logits = plain(F.pad(image, (0, below[1], 0, below[0]))[None])[0, :, : image.shape[1], : image.shape[2]]
        part = F.cross_entropy(logits[None], label[None], ignore_index=255, reduction="sum") / batch.labelled
        part.backward()
        expected += part.item()
    assert count == 3 and loss == pytest.approx(expected, rel=1e-2)
    for (layer, own), start in zip(model.named_parameters(), plain.parameters(), strict=True):
        step = (start.detach() - own.detach().cpu()) / (1e-2 if layer.endswith("weight") else 2e-2)
        assert (step - start.grad).norm() < 0.03 * start.grad.norm(), layer


@contextmanager
def waiting_forbidden(device):
    if device == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "clip": 0.0, "class_weights": "median"}], ids=["fast", "sgd"])
def test_no_step_but_the_first_waits_for_the_gpu(tmp_path, device, settings):
    pairs = DecodedPairs(facades(tmp_path, 20))
    one = stepper(net(), device, choose_precision(torch.device(device)), pairs, **settings)
    batches = EpochBatches(pairs, seed=0, epoch=1, batch_size=2, pad_to=8, n_class=N, pin=device == "cuda")
    made = [batches[number] for number in range(len(batches))]
    one.step(made[0], 0)
    with waiting_forbidden(device):
        for number, batch in enumerate(made[1:], 1):
            one.step(batch, number)
    assert len(one.read()) == len(made) == 10


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_overflow_of_float16_leaves_weights_and_moments_alone(device, optimizer):
    """Colours side by side, fused, with a step before it and one after it."""
    torch.manual_seed(0)
    model = nn.Conv2d(3, 8, 3)
    descent = stepper(model, device, Precision("float16", device), optimizer=optimizer).descent
    images = torch.rand(2, 3, 16, 16, device=device)

    def loss(factor):
        with descent.precision.autocast():
            return model(images).float().square().mean() * factor

    def all_of_it():
        moments = [value for state in descent.optimizer.state.values() for value in state.values()]
        return [value.detach().clone() for value in (*model.parameters(), *moments)]

    descend(descent, lambda: loss(1.0))
    before, scale = all_of_it(), descent.scaler.get_scale()
    _, norm = descend(descent, lambda: loss(1e36))
    assert not norm.isfinite() and descent.scaler.get_scale() == scale / 2
    assert len(before) == len(all_of_it()) == {"adam": 2 + 6, "sgd": 2 + 2}[optimizer]
    assert all(torch.equal(a, b) for a, b in zip(before, all_of_it(), strict=True))
    descend(descent, lambda: loss(1.0))
    assert model.weight.isfinite().all() and not torch.equal(model.weight, before[0])
    assert model.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kill_at", [2, 8], ids=["in epoch 1", "in epoch 3"])
def test_a_killed_deterministic_run_ends_as_an_unbroken_one(tmp_path, device, kill_at):
    ends_alike("test_training_gpu", run, tmp_path, kill_at, deterministic=True, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_the_best_weights_wait_on_the_cpu_until_they_are_written(tmp_path, monkeypatch, device):
    write, seen = segkit.training.segmentation.save_checkpoint, []

    def looking(path, state):
        seen.extend(state.values())
        return write(path, state)

    monkeypatch.setattr(segkit.training.segmentation, "save_checkpoint", looking)
    model, _ = run(tmp_path, tmp_path / "out", device=device, epochs=2)
    assert seen and {value.device.type for value in seen} == {"cpu"} and next(model.parameters()).device.type == device
    own = {value.data_ptr() for value in model.state_dict().values()}
    assert not own & {value.data_ptr() for value in seen}


def large(count):
    """Images that fill some memory."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 768, 768, generator=generator)
    labels = torch.randint(0, N, (count, 768, 768), generator=generator)
    return Batch(images, labels, [f"image {number}" for number in range(count)], [(768, 768)] * count, labels.numel())


@pytest.mark.gpu
def test_a_gpu_that_is_too_small_for_a_batch_learns_it_in_halves():
    """Memory is held a little above what two images take; four take about twice as much."""

    def make(say=print):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, N, 1))
        return stepper(model, "cuda", choose_precision(torch.device("cuda")), say=say)

    def most(images):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        one = make()
        one.step(large(images), 0)
        return one.read()[0][0], torch.cuda.max_memory_reserved()

    (_, two), (expected, four) = most(2), most(4)
    assert four > 1.6 * two
    torch.cuda.empty_cache()
    said = []
    one = make(said.append)
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(1.25 * two / total)
    try:
        for number in range(2):
            one.step(large(4), number)
        losses = one.read()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert losses[0][0] == pytest.approx(expected, rel=1e-2) and losses[1][0] != losses[0][0]
    assert len(said) == 1 and "out of memory with 4 images of 768 x 768" in said[0]
    assert "going on with 2 at a time" in said[0], "what did not fit once is not tried again"
