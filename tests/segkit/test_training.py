"""fit: the recipe against a plain PyTorch loop; kills, full folders, NaN and other accidents of real runs."""

import json
import math

import numpy as np
import pytest
import torch
from course_items import comparable, run_and_kill
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix as sk_confusion_matrix
from torch import nn

import segkit.training.run
import segkit.training.segmentation
from segkit.atomic import DiskFullError
from segkit.evaluation import evaluate
from segkit.facades import DataError
from segkit.history import History
from segkit.training import RECIPES, TrainConfig, TrainingError, fit
from segkit.training.batches import Augmentation, EpochBatches
from segkit.training.sources import PlainPairs

N = 3


class Stripes:
    """Tiny images whose class is written in their colour: learnable in a few steps."""

    def __init__(self, count: int = 6, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.names = tuple(f"img{index}" for index in range(count))
        self.labels = [torch.tensor(rng.integers(0, N, (6 + index, 8))) for index in range(count)]
        self.images = [nn.functional.one_hot(t, N).permute(2, 0, 1).float() for t in self.labels]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index] + 0.1, self.labels[index]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(8, N, 1))


def counting(pred, gt, n_class):
    keep = gt != 255
    return sk_confusion_matrix(gt[keep].numpy(), pred[keep].numpy(), labels=range(n_class))


def scoring(hist):
    """Class-wise accuracy in the place of IoU: fit only has to hand on what it is given."""
    share = hist.diagonal() / hist.sum(1)
    return float(hist.trace() / hist.sum()), share, float(np.nanmean(share))


def run(out, model=None, train=None, *, resume=False, overwrite=False, progress=False, every=600.0, **settings):
    model = model or net()
    config = TrainConfig(**({"epochs": 2, "learning_rate": 1e-2} | settings))
    history = fit(
        model, train or Stripes(), Stripes(3, seed=1), config=config, out=out, confusion_matrix=counting,
        scores=scoring, resume=resume, overwrite=overwrite, progress=progress, device="cpu", resume_every=every,
    )  # fmt: skip
    return model, history


def weights(path):
    return load_file(path / "best.safetensors")


def test_the_course_recipe_is_that_of_a_plain_loop(tmp_path):
    """One image at a time, Adam 1e-4 / 2e-5, mean cross entropy, plateau on the train loss."""
    data, epochs = Stripes(), 3
    _, history = run(tmp_path, epochs=epochs, learning_rate=1e-4)
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=2e-5)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3, min_lr=1e-10)
    torch.manual_seed(0)
    losses = []
    for epoch in range(1, epochs + 1):
        order = EpochBatches(PlainPairs(data), seed=0, epoch=epoch, batch_size=1).order
        assert sorted(order) == list(range(len(data)))
        model.train()
        total = 0.0
        for index in order:
            image, label = data[index]
            loss = nn.CrossEntropyLoss(ignore_index=255)(model(image[None]), label[None])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        plateau.step(total / len(data))
        losses.append(total / len(data))
    assert [record.train_loss for record in history.epochs[1:]] == pytest.approx(losses, rel=1e-5)


def test_settings_of_the_course_recipe_are_those_of_the_specification():
    config = RECIPES["course"]
    assert (config.learning_rate, config.weight_decay, config.batch_size) == (1e-4, 2e-5, 1)
    assert (config.schedule, config.patience, config.min_learning_rate) == ("plateau", 3, 1e-10)
    assert config.crop is None and not config.flip and config.precision == "float32" and config.scale is None
    assert (config.optimizer, config.clip, config.class_weights, config.cache, config.read_every) == ("adam", 0, "none", "off", 1)


def test_the_rate_falls_after_a_plateau(tmp_path):
    """Images without any label never improve the loss, so the fifth epoch is the first at a tenth."""
    flat = Stripes(1)
    flat.images = [torch.zeros_like(image) for image in flat.images]
    model = nn.Sequential(nn.Conv2d(3, N, 1, bias=False))
    _, history = run(tmp_path, model, flat, epochs=6, learning_rate=1e-3, weight_decay=0.0)
    assert [record.learning_rate for record in history.epochs] == pytest.approx([1e-3] * 5 + [1e-4] * 2)


@pytest.mark.parametrize("settings", [{}, {"batch_size": 4, "schedule": "poly", "crop": 7, "flip": True}])
def test_both_recipes_learn(tmp_path, settings):
    model, history = run(tmp_path, epochs=25, **settings)
    assert history.epochs[0].mean_iou < 0.5 < 0.95 < history.best.mean_iou
    if settings:
        assert history.epochs[-1].learning_rate == pytest.approx(0, abs=1e-9)


def test_history_begins_with_the_untrained_network(tmp_path):
    before = evaluate(net(), Stripes(3, seed=1), confusion_matrix=counting, scores=scoring, progress=False, bootstrap=0)
    _, history = run(tmp_path)
    content = json.loads((tmp_path / "history.json").read_text())
    assert content["schema"] == "segkit-history/1" and content["config"]["learning_rate"] == 1e-2
    assert [entry["epoch"] for entry in content["epochs"]] == [0, 1, 2]
    first = content["epochs"][0]
    assert first["train_loss"] is None and first["mean_iou"] == before.mean_iou
    assert set(first) == {
        "epoch", "train_loss", "val_loss", "pixel_accuracy", "mean_iou", "iou", "learning_rate", "seconds",
    }  # fmt: skip
    assert comparable(History.load(tmp_path / "history.json")) == comparable(history)


def test_the_best_epoch_is_kept_by_value_and_handed_back(tmp_path, monkeypatch):
    """Scores are forced to peak in epoch 2 of 4: the file must hold the weights as they were then."""
    seen, values = [], iter([0.9, 0.1, 0.5, 0.3, 0.5])
    monkeypatch.setattr(segkit.training.segmentation, "save_checkpoint", spy(segkit.training.segmentation.save_checkpoint, seen))
    model, config = net(), TrainConfig(epochs=4, learning_rate=1e-2)

    def scores(hist):
        return 0.0, np.zeros(N), next(values)

    history = fit(
        model, Stripes(), Stripes(3, seed=1), config=config, out=tmp_path, confusion_matrix=counting,
        scores=scores, progress=False, device="cpu", resume_every=0.0,
    )  # fmt: skip
    assert history.best_epoch == 2 and len(seen) == 2
    stored = weights(tmp_path)
    assert all(torch.equal(stored[name], seen[1][name]) for name in stored)
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", "history.json", "resume.pt"]


def spy(function, seen):
    def save(path, state):
        seen.append({name: value.clone() for name, value in state.items()})
        return function(path, state)

    return save


@pytest.mark.parametrize("kill_at", [4, 7, 15], ids=["in epoch 1", "between epochs", "in epoch 3"])
def test_a_killed_and_resumed_run_ends_as_an_unbroken_one(tmp_path, kill_at):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _, expected = run(whole, epochs=3)
    run_and_kill("test_training", f"run(Path({str(broken)!r}), epochs=3, every=0.0)", kill_at)
    assert (broken / "resume.pt").exists()
    _, history = run(broken, epochs=3, resume=True)
    assert comparable(history) == comparable(expected)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(broken).items())


def test_more_epochs_can_be_added_to_a_finished_run(tmp_path):
    _, expected = run(tmp_path / "whole", epochs=4)
    run(tmp_path / "parts", epochs=2)
    _, history = run(tmp_path / "parts", epochs=4, resume=True)
    assert comparable(history) == comparable(expected)
    _, again = run(tmp_path / "parts", epochs=4, resume=True)
    assert comparable(again) == comparable(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"learning_rate": 1e-3}, "learning_rate: the run there has 0.01, now 0.001"),
        ({"seed": 5}, "seed: the run there has 0, now 5"),
        ({"train": Stripes(5)}, "train_images: the run there has '6 images"),
        ({"model": nn.Conv2d(3, N, 1)}, "layers that differ in name or shape: 0.bias"),
    ],
)
def test_another_configuration_is_refused_and_nothing_overwritten(tmp_path, change, expected):
    run(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, resume=True, **change)
    assert expected in str(caught.value) and "nothing was changed" in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_with_a_run_is_not_overwritten_unasked(tmp_path):
    run(tmp_path)
    before = weights(tmp_path)
    with pytest.raises(TrainingError, match="already holds a training run"):
        run(tmp_path, seed=1)
    assert all(torch.equal(value, before[name]) for name, value in weights(tmp_path).items())
    run(tmp_path, seed=1, overwrite=True)
    assert not all(torch.equal(value, before[name]) for name, value in weights(tmp_path).items())


def test_a_damaged_resume_file_is_named(tmp_path):
    run(tmp_path)
    file = tmp_path / "resume.pt"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(TrainingError, match="resume.pt cannot be read"):
        run(tmp_path, resume=True)


def test_nan_is_reported_with_epoch_batch_and_image(tmp_path):
    data = Stripes()
    data.images[4][0, 0, 0] = math.nan
    batch = EpochBatches(PlainPairs(data), seed=0, epoch=1, batch_size=1).order.index(4)
    model = net()
    with pytest.raises(TrainingError, match=rf"became nan in epoch 1, batch {batch} \(img4\).*learning rate"):
        run(tmp_path, model, data)
    assert all(torch.isfinite(value).all() for value in model.parameters())


def test_a_label_out_of_range_is_reported_with_its_image(tmp_path):
    data = Stripes()
    data.labels[2][0, 0] = N
    with pytest.raises(TrainingError, match=r"img2: expected labels 0..2 or 255, but got 3 at row 0, column 0 \(1 pixels\)"):
        run(tmp_path, train=data)


def test_an_image_without_labels_is_passed_over(tmp_path):
    data = Stripes()
    data.labels[2][:] = 255
    _, history = run(tmp_path, train=data)
    assert math.isfinite(history.epochs[-1].train_loss)


def test_a_full_disk_keeps_the_files_of_the_epoch_before(tmp_path, monkeypatch):
    run(tmp_path)
    before = weights(tmp_path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segkit.checkpoints.save_file", full)
    monkeypatch.setattr("segkit.training.resuming.torch.save", full)
    with pytest.raises(DiskFullError, match="untouched"):
        run(tmp_path, epochs=3, resume=True)
    assert all(torch.equal(value, before[name]) for name, value in weights(tmp_path).items())


@pytest.mark.parametrize("flat", [False, True], ids=["learning", "on a plateau"])
def test_a_validation_image_that_fails_once_loses_and_repeats_no_epoch(tmp_path, flat):
    """On a plateau the rate falls after epoch 4: sooner, if the end of the epoch that broke were counted twice."""

    class Failing(Stripes):
        broken = False

        def __getitem__(self, index):
            if self.broken and index == 1:
                raise DataError("img1.jpg: expected a complete picture, found a damaged file.")
            return super().__getitem__(index)

    train, val = Stripes(2), Failing(3, seed=1)
    if flat:
        train.images = [torch.full_like(image, -0.1) for image in train.images]  # black: the loss is log 3 for ever
    stepped = []

    def one():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, N, 1, bias=False)) if flat else net()
        model.register_forward_pre_hook(lambda module, _: stepped.append(module.training))
        return model

    options = {"config": TrainConfig(epochs=6, learning_rate=1e-2, weight_decay=0.0), "confusion_matrix": counting,
               "scores": scoring, "progress": False, "device": "cpu"}  # fmt: skip
    expected = fit(one(), train, val, out=tmp_path / "whole", **options)
    steps = sum(stepped)
    stepped.clear()

    def breaks(done):
        val.broken = done.epoch == 1  # epoch 2 is trained and not scored

    out = tmp_path / "out"
    with pytest.raises(TrainingError) as caught:
        fit(one(), train, val, out=out, after_epoch=breaks, **options)
    assert "img1.jpg: expected a complete picture" in str(caught.value)
    assert "The run is saved in epoch 2, before its scores; put that right and go on with it" in str(caught.value)
    with pytest.raises(TrainingError, match="saved in epoch 2, before its scores"):  # nothing was put right
        fit(one(), train, val, out=out, resume=True, **options)
    val.broken = False
    history = fit(one(), train, val, out=out, resume=True, **options)
    assert comparable(history) == comparable(expected) and sum(stepped) == steps
    assert not flat or [record.learning_rate for record in history.epochs] == pytest.approx([1e-2] * 5 + [1e-3] * 2)
    assert all(torch.equal(value, weights(out)[name]) for name, value in weights(tmp_path / "whole").items())


def test_a_fault_of_the_network_in_scoring_keeps_its_traceback(tmp_path):
    class Faulty(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.trained = net(), False

        def forward(self, x):
            self.trained |= self.training
            if self.trained and not self.training:
                raise RuntimeError("shapes cannot be multiplied")
            return self.inner(x)

    with pytest.raises(RuntimeError, match="^shapes cannot be multiplied$"):
        run(tmp_path, Faulty())


def test_shuffling_differs_by_epoch_and_by_seed_and_repeats():
    def order(seed, epoch):
        return EpochBatches(PlainPairs(Stripes(20)), seed=seed, epoch=epoch, batch_size=1).order

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2) and order(0, 1) != order(1, 1)


def test_a_batch_is_the_same_whenever_it_is_asked_for_and_leaves_dropout_alone():
    batches = EpochBatches(PlainPairs(Stripes()), seed=0, epoch=1, batch_size=4, augmentation=Augmentation(5, None, True))
    state = torch.get_rng_state()
    first = batches[1][0]
    torch.rand(3)
    torch.set_rng_state(state)
    assert torch.equal(batches[1][0], first) and torch.equal(torch.get_rng_state(), state)


def test_images_of_different_sizes_are_padded_with_void():
    batches = EpochBatches(PlainPairs(Stripes()), seed=0, epoch=1, batch_size=6)
    images, labels, names, sizes, labelled = batches[0]
    assert images.shape == (6, 3, 11, 8) and labels.shape == (6, 11, 8)
    height = 6 + int(names[0][3:])
    assert (labels[0, height:] == 255).all() and (labels[0, :height] != 255).all()
    assert (images[0, :, height:] == 0).all()


def test_one_line_per_epoch_on_stdout_and_nothing_on_stderr(tmp_path, capsys):
    run(tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert err == ""
    lines = [line for line in out.replace("\r", "\n").splitlines() if "mean IoU" in line]
    assert len(lines) == 3 and "untrained" in lines[0] and " * " in lines[1] and "*" not in lines[0]


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"schedule": "cosine"}, {"learning_rate": -1}])
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ValueError, match="Expected"):
        TrainConfig(**settings)


def test_short_epochs_are_not_written_one_by_one_but_the_end_is(tmp_path, monkeypatch):
    """With the clock standing still only the end is saved; with half a minute between two looks, every epoch."""
    saved = []
    write = segkit.training.run.save_resume

    def noting(path, state, *more):
        saved.append(state["epoch"])
        write(path, state, *more)

    monkeypatch.setattr(segkit.training.run, "save_resume", noting)
    monkeypatch.setattr(segkit.training.run.time, "monotonic", lambda: 0.0)
    _, history = run(tmp_path / "still", epochs=4)
    assert saved == [5] and history.best_epoch == History.load(tmp_path / "still" / "history.json").best_epoch
    saved.clear()
    monkeypatch.undo()
    monkeypatch.setattr(segkit.training.run, "save_resume", noting)
    monkeypatch.setattr(segkit.training.run, "EPOCH_SAVED_AFTER", 0.0)
    monkeypatch.setattr(segkit.training.run, "SAVINGS_APART", 0)
    run(tmp_path / "each", epochs=4)
    assert saved == [2, 3, 4, 5]
    saved.clear()
    run(tmp_path / "end", epochs=4, every=math.inf)
    assert saved == [5], "inf asks for nothing but the end"
    assert all(torch.equal(value, weights(tmp_path / "each")[name]) for name, value in weights(tmp_path / "still").items())
