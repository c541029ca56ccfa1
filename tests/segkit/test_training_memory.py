"""Too little memory: smaller pieces, advice, and nothing that is held on to."""

import gc
import math
import weakref

import pytest
import torch
from course_items import comparable, facades, net
from fast_runs import config, run, stepper
from safetensors.torch import load_file
from torch import nn

import segkit.training.measuring
import segkit.training.run
from segkit.evaluation import EvaluationError
from segkit.reference import confusion_matrix, scores
from segkit.training import TrainingError, fit
from segkit.training.batches import EpochBatches
from segkit.training.descent import Descent
from segkit.training.memory import means_out_of_memory
from segkit.training.sources import DecodedPairs


class Fragile(nn.Module):
    """Has memory for so many pixels at once."""

    def __init__(self, most, error=None):
        super().__init__()
        self.inner, self.most, self.sizes = net(0.0), most, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def forward(self, x):
        if self.training:
            self.sizes.append(x.shape[0])
            if x.shape[0] * x.shape[2] * x.shape[3] > self.most:
                raise self.error
        return self.inner(x)


@pytest.mark.parametrize("error", [None, RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")])
def test_a_batch_that_does_not_fit_is_tried_in_pieces_and_said(tmp_path, capsys, error):
    _, expected = run(tmp_path, tmp_path / "whole", net(0.0), batch_size=4, epochs=2)
    model = Fragile(2 * 48 * 48, error)
    _, history = run(tmp_path, tmp_path / "out", model, batch_size=4, epochs=2, progress=True)
    out = capsys.readouterr().out
    assert "out of memory with 4 images of" in out and "(cmp_b" in out
    assert "going on with 2 at a time, gradients added up (batch_size=2, --batch-size 2, would be faster)" in out
    assert model.sizes.count(4) <= 2, "what did not fit once is not tried again"
    for own, other in zip(history.epochs[1:], expected.epochs[1:], strict=True):
        assert own.train_loss == pytest.approx(other.train_loss, rel=1e-4)


def test_one_image_that_does_not_fit_ends_with_batch_size_and_advice(tmp_path):
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", Fragile(10), batch_size=4)
    text = str(caught.value)
    assert "Out of memory on cpu with 4 images of" in text and ", 1 at a time (cmp_b" in text
    assert "--set crop=" in text and "saved in epoch 1, before batch 0" in text and "another folder" in text
    assert (tmp_path / "out" / "resume.pt").exists()


def test_what_did_not_fit_is_gone_before_the_run_is_saved(tmp_path, monkeypatch):
    seen = []

    class Hoarding(Fragile):
        def forward(self, x):
            features = self.inner[0](x)
            if self.training:
                seen.append(weakref.ref(features))
                raise self.error
            return self.inner(x)

    write = segkit.training.run.save_resume

    def looking(path, state, *more):
        seen.append([kept() for kept in seen])
        write(path, state, *more)

    monkeypatch.setattr(segkit.training.run, "save_resume", looking)
    with pytest.raises(TrainingError, match="The run is saved in epoch 1, before batch 0"):
        run(tmp_path, tmp_path / "out", Hoarding(10), batch_size=1)
    assert seen[-1] == [None]


def test_no_memory_for_saving_either_hides_the_first_reason_from_nobody(tmp_path, monkeypatch):
    def full(path, state, *more):
        raise torch.OutOfMemoryError("CUDA out of memory, again")

    monkeypatch.setattr(segkit.training.run, "save_resume", full)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", Fragile(10), batch_size=4)
    text = str(caught.value)
    assert "Out of memory on cpu with 4 images of" in text and "--set crop=" in text
    assert "in epoch 1, before batch 0, and could not be saved there (CUDA out of memory, again)" in text


@pytest.mark.parametrize("cache", ["off", "auto"])
@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), EvaluationError("no scores"), None])
def test_scores_that_fail_once_cost_nothing_but_themselves(tmp_path, cache, error):
    """In epoch 2, with epoch 1's weights in memory only. None: the network has no memory for an image."""
    _, expected = run(tmp_path, tmp_path / "whole", cache=cache)
    model = net()
    scoring = {"done": 0}

    def failing(hist):
        scoring["done"] += 1
        if scoring["done"] == 3 and error is not None:
            raise error
        return scores(hist)

    def full(module, x):
        if error is None and not module.training and scoring["done"] == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = model.register_forward_pre_hook(full)
    options = {"out": tmp_path / "out", "device": "cpu", "confusion_matrix": confusion_matrix, "progress": False}
    with pytest.raises(TrainingError, match=r"The run is saved in epoch 2, before its scores; put that right"):
        fit(model, facades(tmp_path), facades(tmp_path, 3, start=9), config=config(cache=cache), scores=failing, **options)
    handle.remove()
    assert scoring["done"] == (2 if error is None else 3)
    _, history = run(tmp_path, tmp_path / "out", resume=True, cache=cache)
    assert comparable(history) == comparable(expected)
    kept, other = (load_file(tmp_path / folder / "best.safetensors") for folder in ("whole", "out"))
    assert all(torch.equal(value, other[name]) for name, value in kept.items())


def test_memory_for_the_optimizer_is_not_sought_in_smaller_batches(tmp_path, monkeypatch):
    pairs = DecodedPairs(facades(tmp_path))
    one = stepper(net(), pairs)
    batch = EpochBatches(pairs, seed=0, epoch=1, batch_size=2)[0]

    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(one.descent.scaler, "step", full)
    with pytest.raises(MemoryError, match="with the optimizer's two moments, as large as the weights each"):
        one.step(batch, 0)


def test_other_errors_are_no_lack_of_memory(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: False)
    assert means_out_of_memory(MemoryError()) and means_out_of_memory(RuntimeError("CUDA error: out of memory"))
    for text in (
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.",
    ):
        assert means_out_of_memory(RuntimeError(text)) and not means_out_of_memory(ValueError(text))
    assert not means_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"))
    assert not means_out_of_memory(RuntimeError("shape mismatch")) and not means_out_of_memory(ValueError("out of memory"))


def test_a_network_that_does_not_fit_on_the_device_is_told_with_advice_and_brought_back(tmp_path):
    asked = []

    class Crowded(nn.Sequential):
        def to(self, *args, **kwargs):
            asked.append(str(*args))
            if len(asked) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 392.00 MiB.\nmore")
            return super().to(*args, **kwargs)

    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", Crowded(*net()))
    text = str(caught.value)
    assert "Out of memory on cpu with the weights of the network (CUDA out of memory. Tried to allocate 392.00 MiB.)" in text
    assert "What helps: ending other programs" in text and asked == ["cpu", "cpu"] and not (tmp_path / "out").exists()


def test_a_gpu_that_failed_is_told_as_it_failed(tmp_path, monkeypatch):
    def failed(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    model = net()
    model.register_forward_pre_hook(lambda module, images: failed() if module.training else None)
    monkeypatch.setattr(torch.cuda, "empty_cache", failed)
    with pytest.raises(RuntimeError, match="device-side assert") as caught:
        run(tmp_path, tmp_path / "out", model)
    assert caught.value.__context__ is None


def test_no_memory_between_the_steps_is_told_too(tmp_path):
    def full(done):
        if done.epoch == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(TrainingError, match=r"^Out of memory on cpu \(CUDA out of memory\.\)\. What helps: ending other programs"):
        run(tmp_path, tmp_path / "out", after_epoch=full)


def test_moments_that_were_begun_without_memory_are_not_saved(tmp_path, monkeypatch):
    """Of the first layer's two moments there is room for one; with more memory, the run goes on from what it saved."""
    pairs = DecodedPairs(facades(tmp_path))
    batch = EpochBatches(pairs, seed=0, epoch=1, batch_size=2)[0]
    one, other = stepper(net(), pairs), stepper(net(), pairs)
    calls, zeros_like = [], torch.zeros_like

    def scarce(*args, **kwargs):
        calls.append(0)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return zeros_like(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "zeros_like", scarce)
        with pytest.raises(MemoryError, match="with the optimizer's two moments"):
            one.step(batch, 0)
    assert len(calls) == 2
    other.descent.restore(one.descent.state())
    other.step(batch, 0)
    assert math.isfinite(other.read()[0][0])


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_ended_holds_no_memory_of_the_device(tmp_path, monkeypatch, fails):
    """Moments and gradients, each as large as the weights; a traceback may hold the run, and no collector may have come."""
    made, kept = [], []

    class Noted(Descent):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    def look(done):
        if done.epoch == 1:
            kept.extend(weakref.ref(value) for state in made[0].optimizer.state.values() for value in state.values())
            kept.extend(weakref.ref(value.grad) for value in done.model.parameters())
            made.clear()
            if fails:
                raise KeyError("an error that somebody keeps")

    monkeypatch.setattr(segkit.training.run, "Descent", Noted)
    runs = []
    begin = segkit.training.run.Run.begin
    monkeypatch.setattr(segkit.training.run.Run, "begin", lambda self, *how: (runs.append(weakref.ref(self)), begin(self, *how)))
    gc.disable()
    try:
        if fails:
            with pytest.raises(KeyError) as caught:
                run(tmp_path, tmp_path / "out", after_epoch=look)
            assert caught.tb is not None
        else:
            run(tmp_path, tmp_path / "out", after_epoch=look)
            assert runs[0]() is None
        assert len(kept) == 4 * 4 and all(value() is None for value in kept)
    finally:
        gc.enable()
