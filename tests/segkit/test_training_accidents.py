"""What a run leaves behind after an accident, and how it goes on from there: NaN, full disks, slow savings."""

import math

import pytest
import torch
from course_items import N, comparable, descend, facades, net
from fast_runs import CPU, PLAIN, config, files, poison, run, stepper
from torch import nn

import segkit.training.run
from segkit.atomic import DiskFullError
from segkit.precision import choose_precision
from segkit.training import TrainingError
from segkit.training.batches import EpochBatches
from segkit.training.descent import Descent, Diverged
from segkit.training.rescue import diverged
from segkit.training.sources import DecodedPairs


@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_a_run_that_becomes_nan_before_it_was_saved_goes_on_before_that_batch(tmp_path, clip):
    """Three batches an epoch, the fifth step is spoilt: that is batch 1 of epoch 2."""
    settings = {"read_every": 1, "clip": clip, **PLAIN}
    _, expected = run(tmp_path, tmp_path / "whole", net(0.0), **settings)
    model = net(0.0)
    poison(model, 5)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", model, **settings)
    text = str(caught.value)
    assert "The loss became nan in epoch 2, batch 1 (cmp_b" in text and "Nothing was learned from this batch." in text
    assert "best.safetensors holds epoch 1. The run is saved in this epoch, batches done: 1 (go on: resume=True, --resume)." in text
    assert sorted(files(tmp_path / "out")) == ["best.safetensors", "history.json", "resume.pt"]
    _, history = run(tmp_path, tmp_path / "out", net(0.0), resume=True, **settings)
    assert comparable(history) == comparable(expected)


def test_where_losses_are_read_later_a_run_goes_on_after_the_step_that_was_left_out(tmp_path):
    model = net(0.0)
    poison(model, 5)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", model, **PLAIN)
    text = str(caught.value)
    assert "epoch 2, batch 1 (cmp_b" in text and "Nothing was learned from this batch." in text
    assert "The run is saved in this epoch, batches done: 3 (go on" in text
    state = torch.load(tmp_path / "out" / "resume.pt", weights_only=True)
    assert (state["epoch"], state["batch"]) == (2, 3) and all(value.isfinite().all() for value in state["model"].values())
    assert state["images"] == 8 - text.count("cmp_b") and math.isfinite(state["loss_sum"])  # the two other losses count
    _, history = run(tmp_path, tmp_path / "out", net(0.0), resume=True, **PLAIN)
    assert [record.epoch for record in history.epochs] == [0, 1, 2, 3]


def test_a_run_that_becomes_nan_in_its_first_epoch_leaves_the_folder_to_another(tmp_path):
    model = net(0.0)
    poison(model, 2)
    with pytest.raises(TrainingError, match="No epoch was finished yet"):
        run(tmp_path, tmp_path / "out", model, read_every=1)
    assert sorted(files(tmp_path / "out")) == ["history.json"]
    run(tmp_path, tmp_path / "out", learning_rate=1e-3)


@pytest.mark.parametrize("resume", [False, True])
def test_best_weights_alone_are_to_begin_with_not_to_resume(tmp_path, resume):
    """Batch normalisation keeps what it saw: the network itself is spoilt, and there is nothing to go on with."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, N, 1))
    steps = []
    model.register_forward_pre_hook(
        lambda module, images: steps.append(module.training) or ((images[0] * math.nan,) if sum(steps) == 5 else None)
    )
    out = tmp_path / "out"
    with pytest.raises(TrainingError, match=r"best.safetensors holds epoch 1. The network's weights are not finite, so the run was not"):
        run(tmp_path, out, model, read_every=1)
    before = files(out)
    assert sorted(before) == ["best.safetensors", "history.json"]
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, out, model, resume=resume)
    text = str(caught.value)
    assert "holds best.safetensors of a run that cannot go on, for there is no resume.pt beside it; nothing was changed" in text
    assert f"--start-from {out / 'best.safetensors'}" in text and "--resume" not in text and "--overwrite" in text
    assert files(out) == before


@pytest.mark.parametrize("for_the_best", [False, True])
def test_a_run_that_cannot_be_saved_after_nan_says_so_and_keeps_what_there_is_room_for(tmp_path, monkeypatch, for_the_best):
    def full(*args):
        raise OSError(28, "No space left on device")

    model = net(0.0)
    poison(model, 5)
    monkeypatch.setattr("segkit.training.resuming.torch.save", full)
    if not for_the_best:
        monkeypatch.setattr("segkit.checkpoints.save_file", full)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", model, read_every=1)
    text = str(caught.value)
    assert "The loss became nan in epoch 2" in text and "could not be saved there" in text and "no space left" in text
    assert ("best.safetensors holds epoch 1" in text) == for_the_best and "as it was saved last" not in text
    assert sorted(files(tmp_path / "out")) == ["best.safetensors"] * for_the_best + ["history.json"]


def test_a_loss_that_is_found_to_be_no_number_when_a_run_stops_is_told_beside_the_reason(tmp_path):
    """Step 4 is spoilt, and there is no memory for step 5: the losses of both are read when the run is saved."""
    model, steps = net(0.0), []
    poison(model, 4)

    def full(module, images):
        steps.append(module.training)
        if sum(steps) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = model.register_forward_pre_hook(full)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", model, **PLAIN)
    text = str(caught.value)
    assert text.startswith("Out of memory on cpu with") and "\nThe run stopped in epoch 2, before batch 1. The loss became nan" in text
    assert "The run is saved in this epoch, batches done: 1" in text and "could not be saved" not in text
    handle.remove()
    _, history = run(tmp_path, tmp_path / "out", net(0.0), resume=True, **PLAIN)
    assert history.epochs[-1].epoch == 3


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_gradient_whose_square_is_too_large_spoils_no_weights(optimizer):
    model = nn.Linear(2, 1, bias=False)
    descent = Descent(model, config(optimizer=optimizer, clip=0.0, warmup=0), choose_precision(CPU), 10)
    _, norm = descend(descent, lambda: 1e30 * model.weight.sum())
    assert not norm.isfinite()
    descend(descent, lambda: model.weight.sum())
    assert model.weight.isfinite().all() and model.weight.abs().max() < 2


def test_an_infinite_loss_with_a_finite_gradient_is_told_as_it_was(tmp_path):
    pairs = DecodedPairs(facades(tmp_path))
    model = net(0.0)
    one = stepper(model, pairs)
    plain, before = one.loss_of, [value.clone() for value in model.parameters()]
    one.loss_of = lambda *given: plain(*given) + math.inf
    one.step(EpochBatches(pairs, seed=0, epoch=1, batch_size=2)[0], 0)
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    with pytest.raises(Diverged) as caught:
        one.read()
    text = diverged(caught.value, 1, 1e-2, "")
    assert "The loss became inf in epoch 1, batch 0" in text and "Its gradient was finite, and its step was taken." in text
    assert "Nothing was learned" not in text and one.read() == []


def test_no_room_for_the_resume_file_leaves_the_best_weights_that_belong_to_the_old_one(tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(tmp_path, out, epochs=1, **PLAIN)
    before = files(out)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segkit.training.resuming.torch.save", full)
    monkeypatch.setattr(segkit.training.run, "EPOCH_SAVED_AFTER", 0.0)
    with pytest.raises(DiskFullError, match="resume.pt"):
        run(tmp_path, out, epochs=9, resume=True, **PLAIN)
    assert files(out) == before


@pytest.mark.parametrize(("took", "expected"), [(1.0, [2, 3, 4, 5, 6, 7, 8, 9]), (4.0, [2, 4, 6, 8, 9]), (10.0, [2, 7, 9])])
def test_ends_of_epochs_are_saved_where_that_takes_a_twentieth_of_the_time(tmp_path, monkeypatch, took, expected):
    """An epoch of 40 s. After a saving of 1, 4 or 10 s the next one is due after 30, 80 or 200 s; the end is always saved."""
    now, saved = [0.0], []
    write = segkit.training.run.save_resume

    def slowly(path, state, *more):
        now[0] += took
        saved.append(state["epoch"])
        write(path, state, *more)

    monkeypatch.setattr(segkit.training.run.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(segkit.training.run, "save_resume", slowly)
    train = facades(tmp_path)

    def elapse(done):
        now[0] += 40.0

    run(tmp_path, tmp_path / "out", train=train, epochs=8, after_epoch=elapse)
    assert saved == expected
