"""The fast recipe: equal to slow code where it must be, and unharmed by kills, NaN, damaged files and full memory."""

import copy
import json
import math
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from course_items import N, comparable, descend, ends_alike, facades, net
from safetensors.torch import load_file
from torch import nn

import segkit.training.measuring
import segkit.training.run
from segkit.checkpoints import save_checkpoint
from segkit.evaluation import EvaluationError, evaluate
from segkit.inference import scored
from segkit.precision import Precision, choose_precision
from segkit.reference import confusion_matrix, scores
from segkit.training import RECIPES, TrainConfig, TrainingError, fit
from segkit.training.batches import Batch, EpochBatches
from segkit.training.descent import Descent, Diverged
from segkit.training.measuring import measure
from segkit.training.memory import means_out_of_memory
from segkit.training.recipes import configured
from segkit.training.resuming import capture, restore
from segkit.training.sources import DecodedPairs, open_pairs
from segkit.training.steps import Stepper, median_weights

CPU = torch.device("cpu")
FAST = {"recipe": "fast", "epochs": 3, "learning_rate": 1e-2, "warmup": 2, "batch_size": 3, "workers": 2, "pad_to": 4}


def config(**settings) -> TrainConfig:
    return TrainConfig(**({f: getattr(RECIPES["fast"], f) for f in RECIPES["fast"].__dataclass_fields__} | FAST | settings))


def run(root, out, model=None, train=None, *, resume=False, progress=False, every=600.0, after_epoch=None, device="cpu", **settings):
    model = model or net()
    history = fit(
        model, train or facades(root), facades(root, 3, start=9), config=config(**settings), out=out, device=device,
        confusion_matrix=confusion_matrix, scores=scores, resume=resume, progress=progress, resume_every=every,
        after_epoch=after_epoch,
    )  # fmt: skip
    return model, history


# -- equal to slow code -------------------------------------------------------------------------------


def stepper(model, pairs, say=print, **settings):
    precision = choose_precision(CPU, "float32")
    return Stepper(model, Descent(model, config(**settings), precision, 10), pairs, N, CPU, say)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_step_has_the_loss_and_the_weights_of_a_plain_step(tmp_path, precision):
    """Oracle: Adam over the images one by one, each with its share of the labelled pixels, in float32."""
    data, model, plain = facades(tmp_path), net(0.0), net(0.0)
    batch = EpochBatches(DecodedPairs(data), seed=0, epoch=1, batch_size=3, pad_to=8)[0]
    fast = stepper(model, DecodedPairs(data), warmup=0, clip=0)
    fast.descent.precision = Precision(precision, "cpu")
    fast.step(batch, 0)
    ((loss, count),) = fast.read()
    optimizer = torch.optim.Adam(plain.parameters(), 1e-2, weight_decay=2e-5)
    total = 0
    for place, name in enumerate(batch.names):
        height, width = batch.sizes[place]
        image = torch.zeros(1, 3, *batch.images.shape[2:])
        image[0, :, :height, :width] = data[data.names.index(name)][0]
        label = torch.full(batch.images.shape[2:], 255)
        label[:height, :width] = data[data.names.index(name)][1]
        part = F.cross_entropy(plain(image), label[None], ignore_index=255, reduction="sum") / batch.labelled
        part.backward()
        total += part.item()
    optimizer.step()
    tolerance = {"float32": (1e-5, 1e-4), "bfloat16": (1e-2, 1e-2)}[precision]
    assert count == 3 and loss == pytest.approx(total, rel=tolerance[0])
    if precision == "float32":  # Adam's first step is a sign, which rounding turns over where a gradient is almost zero
        for own, expected in zip(model.parameters(), plain.parameters(), strict=True):
            assert (own - expected).abs().median() < tolerance[1]
        assert sum(int(((a - b).abs() > 1e-3).sum()) for a, b in zip(model.parameters(), plain.parameters(), strict=True)) <= 2


def test_a_batch_in_pieces_gives_the_gradient_of_the_whole(tmp_path):
    pairs = DecodedPairs(facades(tmp_path))
    batch = EpochBatches(pairs, seed=0, epoch=1, batch_size=8)[0]
    for weights in ("none", "median"):
        found = []
        for most in (None, 2 * batch.images.shape[2] * batch.images.shape[3]):
            model = net(0.0)
            one = stepper(model, pairs, class_weights=weights, optimizer="sgd", clip=0, warmup=0)
            one.memory.most_pixels = most
            one.step(batch, 0)
            found.append((one.read()[0][0], [value.clone() for value in model.parameters()]))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_validation_is_that_of_the_slow_loop_to_the_integer(tmp_path):
    """With a function of the student's (in a thread), and with the one that counts on the device."""
    data, model = facades(tmp_path), net()
    slow = evaluate(model, data, confusion_matrix=confusion_matrix, scores=scores, progress=False, bootstrap=0)

    def students(pred, gt, n_class):
        assert isinstance(pred, torch.Tensor) and pred.dtype == gt.dtype == torch.int64 and pred.shape == gt.shape
        return torch.from_numpy(confusion_matrix(pred, gt, n_class))

    for function in (confusion_matrix, students):
        for pairs in (open_pairs(data, "auto"), open_pairs(data, "off")):
            counts = measure(
                model, pairs, device=CPU, precision=choose_precision(CPU), confusion_matrix=function, threads=2, progress=False
            )
            fast = scored(counts, scores)
            assert np.array_equal(fast.hist, slow.hist) and fast.mean_iou == slow.mean_iou
            assert fast.loss == pytest.approx(slow.loss, rel=1e-6) and fast.images == 8 and fast.iou == slow.iou
    assert model.training


def test_validation_names_what_a_network_returns_wrongly(tmp_path):
    pairs = open_pairs(facades(tmp_path), "auto")
    flat = nn.Sequential(net(), nn.AvgPool2d(2))
    with pytest.raises(EvaluationError, match=r"cmp_b0001: expected network output \(1, n_class, 20, 31\), but got \(1, 12, 10, 15\)"):
        measure(flat, pairs, device=CPU, precision=choose_precision(CPU), confusion_matrix=confusion_matrix, progress=False)


def test_median_weights_are_those_of_eigen_and_fergus():
    """By hand: the median of 0.5, 0.3, 0.2 is 0.3; a class of 0.001 is held at 10, an absent one at 1."""
    assert median_weights([0.5, 0.3, 0.2]).tolist() == pytest.approx([0.6, 1.0, 1.5])
    assert median_weights([0.499, 0.001, 0.0, 0.5]).tolist() == pytest.approx([1.0, 10.0, 1.0, 0.998])


# -- optimizer and schedule ---------------------------------------------------------------------------


class Skipping(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.score_pool_4, self.score_pool_3 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, N, 1), nn.Conv2d(4, N, 1)

    def forward(self, x):
        x = self.conv(x)
        return self.score_pool_4(x) + self.score_pool_3(x)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_scaled_skips_learn_as_layers_that_are_scaled(optimizer):
    """Oracle: the same network with the scale written into its forward pass, trained at one rate for all."""

    class Scaled(Skipping):
        def forward(self, x):
            x = self.conv(x)
            return 0.5 * self.score_pool_4(x) + 0.3 * self.score_pool_3(x)

    torch.manual_seed(0)
    own, other = Skipping(), Scaled()
    other.load_state_dict(own.state_dict())
    for layer, scale in ((other.score_pool_4, 0.5), (other.score_pool_3, 0.3)):
        layer.weight.data /= scale
        layer.bias.data /= scale
    x, label = torch.rand(2, 3, 8, 8), torch.randint(0, N, (2, 8, 8))
    rate = {"adam": 0.05, "sgd": 1.0}[optimizer]  # so high that the small rates of the skips matter
    settings = {"optimizer": optimizer, "learning_rate": rate, "weight_decay": 0.0, "schedule": "poly", "warmup": 0, "clip": 0}
    losses = []
    for model, skip in ((own, (0.5, 0.3)), (other, (1.0, 1.0))):
        descent = Descent(model, config(**settings, skip_scale=skip), choose_precision(CPU), 20)
        losses.append([descend(descent, lambda m=model: F.cross_entropy(m(x), label))[0].item() for _ in range(12)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0][-1] < losses[0][0]


def test_biases_learn_twice_as_fast_without_decay_under_sgd():
    descent = Descent(net(), config(optimizer="sgd", learning_rate=0.5, warmup=0), choose_precision(CPU), 10)
    groups = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in descent.optimizer.param_groups}
    assert groups == {(0.5, 2e-5): 2, (1.0, 0.0): 2}


def test_the_rate_rises_and_then_falls_to_zero():
    model = net()
    descent = Descent(model, config(learning_rate=1.0, warmup=4), choose_precision(CPU), 20)
    rates = []
    for _ in range(20):
        rates.append(descent.learning_rate)
        descend(descent, lambda: model(torch.zeros(1, 3, 4, 4)).mean())
    expected = [min(1, (t + 1) / 4) * (1 - t / 20) ** 0.9 for t in range(20)]
    assert rates == pytest.approx(expected) and descent.learning_rate == 0


def test_a_gradient_is_clipped_to_its_norm():
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    descent = Descent(model, config(optimizer="sgd", learning_rate=1.0, clip=0.5, warmup=0, weight_decay=0.0), choose_precision(CPU), 9)
    _, norm = descend(descent, lambda: 40 * model(torch.ones(1, 1)).sum())
    assert norm.item() == pytest.approx(40) and before - model.weight.item() == pytest.approx(0.5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_gradient_that_is_no_number_leaves_the_weights_and_is_told_at_the_next_look(tmp_path, optimizer):
    pairs = DecodedPairs(facades(tmp_path))
    model = net(0.0)
    one = stepper(model, pairs, optimizer=optimizer)
    batches = EpochBatches(pairs, seed=0, epoch=1, batch_size=2)
    one.step(batches[0], 0)
    before = [value.clone() for value in model.parameters()]
    bad = batches[1]
    one.step(bad._replace(images=torch.full(bad.images.shape, math.nan)), 1)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    one.step(batches[2], 2)
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    with pytest.raises(ArithmeticError, match="nan") as caught:
        one.read()
    assert caught.value.batch == 1 and caught.value.names == bad.names


def test_a_finite_loss_with_a_gradient_that_is_not_changes_nothing_where_every_step_is_looked_at(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    descent = Descent(model, config(read_every=1, warmup=0), choose_precision(CPU), 10)
    assert descent.immediate
    with pytest.raises(Diverged, match=r"0\.000, with a gradient of norm inf"):
        descend(descent, lambda: (model.weight - model.weight.detach()).sum().sqrt())  # the root is as steep as can be at zero
    assert model.weight.item() == before
    descend(descent, lambda: model.weight.sum())
    assert math.isfinite(model.weight.item()) and model.weight.item() != before


@pytest.fixture
def junk(monkeypatch):
    """Memory that nobody wrote to holds NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def test_float16_passes_over_an_overflow_with_half_the_scale(junk):
    """Decisions only: a CPU has no float16 training, so the gradients here are float32. The steps after it are by hand."""
    model = nn.Linear(1, 1)
    descent = Descent(model, config(optimizer="sgd", warmup=0), Precision("float16", "cpu"), 10)
    start, before = descent.scaler.get_scale(), model.weight.item()
    assert start == 2.0**16
    descend(descent, lambda: model(torch.full((1, 1), 3e38)).sum() * 0 + model.weight.sum() * 3e38)
    assert descent.scaler.get_scale() == start / 2 and model.weight.item() == before and not descent.hopeless()
    expected, momentum = before, 0.0  # an overflow leaves no momentum
    for step in (1, 2):
        rate = 1e-2 * (1 - step / 10) ** 0.9
        momentum = 0.9 * momentum + 1 + 2e-5 * expected
        expected -= rate * momentum
        descend(descent, lambda: model.weight.sum())
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    descent.scaler.update(2.0**-12)
    assert descent.hopeless()


def test_the_scale_of_another_format_is_not_taken_over():
    """A run that began in bfloat16 goes on on a T4: with bfloat16's scale of 1, float16 would lose small gradients."""
    model = nn.Linear(1, 1)
    one, other, same = (Descent(model, config(), Precision(name, "cpu"), 10) for name in ("bfloat16", "float16", "bfloat16"))
    descend(one, lambda: model(torch.full((1, 1), math.nan)).sum())
    for descent in (other, same):
        descent.restore(one.state())
    assert (one.scaler.get_scale(), other.scaler.get_scale(), same.scaler.get_scale()) == (0.5, 2.0**16, 0.5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("first", "then"), [(1, 20), (20, 1)])
def test_how_often_the_loss_is_read_may_change_in_the_middle(tmp_path, optimizer, first, then):
    """The one looks at every loss, the other lets a fused optimizer look: rounding aside, they do the same."""
    settings = {"optimizer": optimizer, "schedule": "plateau", "warmup": 0}
    _, expected = run(tmp_path, tmp_path / "whole", epochs=4, read_every=then, **settings)
    run(tmp_path, tmp_path / "parts", epochs=2, read_every=first, **settings)
    _, history = run(tmp_path, tmp_path / "parts", epochs=4, read_every=then, resume=True, **settings)
    losses = [[record.train_loss for record in found.epochs[1:]] for found in (history, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_moments_of_another_layout_are_laid_out_as_the_weights(optimizer, layout):
    """A GPU in 16 bits writes colours side by side, a CPU does not; fused optimizers take memory as it comes."""
    x = torch.rand(2, 3, 9, 9)
    torch.manual_seed(0)
    models = [nn.Conv2d(3, 4, 3) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    own, other = (Descent(model, config(optimizer=optimizer), choose_precision(CPU), 10) for model in models)
    descend(own, lambda: models[0](x).square().mean())
    state = copy.deepcopy(own.state())
    for values in state["optimizer"]["state"].values():
        values |= {name: v.contiguous(memory_format=layout) for name, v in values.items() if v.ndim == 4}
    models[1].load_state_dict(models[0].state_dict())
    models[1].to(memory_format=torch.channels_last if layout is torch.contiguous_format else torch.contiguous_format)
    other.restore(state)
    for _ in range(2):
        for descent, model in ((own, models[0]), (other, models[1])):
            descend(descent, lambda m=model: m(x).square().mean())
    for one, two in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-7)


def test_an_optimizer_that_is_not_fused_may_take_all_tensors_together():
    """``fused=False`` would make torch go tensor by tensor on a GPU too; it decides by itself where neither is given."""
    for optimizer in ("adam", "sgd"):
        for read_every, fused in ((1, None), (20, True)):
            descent = Descent(net(), config(optimizer=optimizer, read_every=read_every), choose_precision(CPU), 10)
            assert {(group["fused"], group["foreach"]) for group in descent.optimizer.param_groups} == {(fused, None)}


def test_the_generator_of_the_gpu_that_trains_is_the_one_that_is_kept(monkeypatch):
    """Decisions only: there is no second GPU here."""
    asked, model = [], nn.Linear(1, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: asked.append(device) or torch.zeros(16))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: asked.append(device))
    for name in ("cuda:1", "cpu"):
        restore(capture(model, torch.device(name)), model, torch.device(name))
    assert [str(device) for device in asked] == ["cuda:1", "cuda:1", "cuda", "cuda"]


def test_images_of_losses_that_nobody_read_are_not_kept(tmp_path):
    one = stepper(net(), DecodedPairs(facades(tmp_path)))
    array = np.random.default_rng(0).random((2, 3, 24, 24), dtype=np.float32)
    kept = weakref.ref(array)
    batch = Batch(torch.from_numpy(array), torch.zeros(2, 24, 24, dtype=torch.int64), ["a", "b"], [(24, 24)] * 2, 2 * 24 * 24)
    one.step(batch, 0)
    del batch, array
    assert kept() is None and one.read()[0][1] == 2


# -- runs ---------------------------------------------------------------------------------------------


def test_the_fast_recipe_learns(tmp_path):
    _, history = run(tmp_path, tmp_path / "out", epochs=25, batch_size=2)
    assert history.epochs[0].mean_iou < 0.1 < 0.3 < history.best.mean_iou
    assert history.epochs[-1].learning_rate == pytest.approx(0, abs=1e-9)
    assert history.config["computed_in"] == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [2, 5, 8], ids=["in epoch 1", "in epoch 2", "in epoch 3"])
@pytest.mark.parametrize(
    "settings", [{"deterministic": True}, {"crop": 16, "scale": (0.8, 1.2), "optimizer": "sgd", "class_weights": "median"}]
)
def test_a_killed_fast_run_ends_as_an_unbroken_one(tmp_path, kill_at, settings):
    broken = ends_alike("test_training_fast", run, tmp_path, kill_at, **settings)
    assert sorted(path.name for path in broken.iterdir()) == ["best.safetensors", "history.json", "resume.pt"]


def test_deterministic_mode_is_left_as_it_was_found(tmp_path):
    seen = []
    run(tmp_path, tmp_path / "out", deterministic=True, epochs=1,
        after_epoch=lambda done: seen.append(torch.are_deterministic_algorithms_enabled()))  # fmt: skip
    assert seen == [True, True] and not torch.are_deterministic_algorithms_enabled()


def test_a_run_stops_when_nothing_improves_and_resumes_to_the_same(tmp_path):
    """A rate of almost zero: epoch 1 is the best, and two more without a better one are allowed."""
    done = []
    settings = {"epochs": 9, "learning_rate": 1e-30, "stop_after": 2}
    _, history = run(tmp_path, tmp_path / "out", after_epoch=done.append, **settings)
    assert [item.epoch for item in done] == [0, 1, 2, 3] and [item.last for item in done] == [False, False, False, True]
    assert history.best_epoch == 1
    _, again = run(tmp_path, tmp_path / "out", resume=True, **settings)
    assert comparable(again) == comparable(history)


def test_the_remaining_time_is_told_once_after_twenty_steps(tmp_path, capsys):
    run(tmp_path, tmp_path / "out", epochs=8, progress=True)
    said = [line for line in capsys.readouterr().out.replace("\r", "\n").splitlines() if " left" in line and "per batch" in line]
    assert len(said) == 1 and "s per batch of 3: about" in said[0]


def test_the_bar_tells_no_loss_before_one_was_read(tmp_path, monkeypatch):
    told, plain = [], segkit.training.run.bar

    def bar(**options):
        shown = plain(**options)
        monkeypatch.setattr(shown, "set_postfix_str", lambda text, refresh: told.append((options["desc"], text)))
        return shown

    monkeypatch.setattr(segkit.training.run, "bar", bar)
    _, history = run(tmp_path, tmp_path / "out", epochs=2, read_every=2)
    assert [name for name, _ in told] == ["epoch 1/2"] * 2 + ["epoch 2/2"] * 2  # after the second and the third batch of three
    assert all(text.startswith("loss ") and abs(float(text[5:]) / history.epochs[1].train_loss - 1) < 0.5 for _, text in told)


@pytest.mark.parametrize("cache", ["off", "memory"])
def test_validation_is_computed_in_the_format_of_the_training(tmp_path, monkeypatch, cache):
    """A CPU is refused float16: here it computes in it, as an older GPU would."""
    for module in (segkit.training.run, segkit.training.measuring):
        monkeypatch.setattr(module, "choose_precision", lambda device, wanted: Precision(wanted, "cpu"))
    model, formats = net(), {True: set(), False: set()}
    model.register_forward_hook(lambda model, images, logits: formats[model.training].add(logits.dtype))
    run(tmp_path, tmp_path / "out", model, epochs=1, precision="float16", cache=cache)
    assert formats == {True: {torch.float16}, False: {torch.float16}}


# -- bad input ----------------------------------------------------------------------------------------


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_damaged_picture_stops_the_run_where_it_can_go_on(tmp_path):
    """The picture breaks in epoch 1, before it is read; after it was repaired, the run ends as an unbroken one."""
    _, expected = run(tmp_path, tmp_path / "whole")
    broken = tmp_path / "base" / "cmp_b0004.jpg"
    content = broken.read_bytes()
    train = facades(tmp_path)
    broken.write_bytes(content[:-100])
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", train=train)
    text = str(caught.value)
    assert "cmp_b0004.jpg: expected a complete picture, found a damaged or truncated file" in text
    assert "The run is saved in epoch 1, before batch" in text and "--resume" in text
    broken.write_bytes(content)
    _, history = run(tmp_path, tmp_path / "out", resume=True)
    assert comparable(history) == comparable(expected)


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


def test_nan_ends_the_run_and_overwrites_nothing(tmp_path):
    run(tmp_path, tmp_path / "out", epochs=3, schedule="plateau", warmup=0)
    before = files(tmp_path / "out")
    train = facades(tmp_path)
    decoded = train.decode
    model = net()

    class Poisoned(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.count = model, 0

        def forward(self, x):
            self.count += self.training
            return self.inner(x) * (math.nan if self.count == 2 and self.training else 1.0)

        def state_dict(self, *args, **kwargs):
            return self.inner.state_dict(*args, **kwargs)

        def load_state_dict(self, *args, **kwargs):
            return self.inner.load_state_dict(*args, **kwargs)

    Poisoned.__name__ = "Sequential"
    assert decoded is not None
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", Poisoned(), train, resume=True, epochs=5, schedule="plateau", warmup=0)
    text = str(caught.value)
    assert "The loss became nan in epoch 4, batch 1 (cmp_b" in text and "learning rate 1.0e-02" in text
    assert "best.safetensors holds epoch" in text and "resume.pt is as it was saved last" in text
    assert files(tmp_path / "out") == before
    _, history = run(tmp_path, tmp_path / "out", resume=True, epochs=5, schedule="plateau", warmup=0)
    _, expected = run(tmp_path, tmp_path / "whole", epochs=5, schedule="plateau", warmup=0)
    assert comparable(history) == comparable(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"batch_size": 2}, "batch_size: the run there has 3, now 2"),
        ({"epochs": 9}, "epochs: the run there has 3, now 9"),
        ({"class_weights": "median"}, "class_weights: the run there has 'none', now 'median'"),
        ({"model": net(n_class=13)}, "layers that differ in name or shape: 3.bias, 3.weight"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, change, expected):
    out = tmp_path / "out"
    run(tmp_path, out)
    before = files(out)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, out, resume=True, **change)
    assert expected in str(caught.value) and files(out) == before


def test_where_and_how_fast_may_change_on_resuming(tmp_path):
    out = tmp_path / "out"
    _, history = run(tmp_path, out)
    _, again = run(tmp_path, out, resume=True, workers=0, read_every=7, cache="disk", stop_after=50)
    assert comparable(again) == comparable(history)


def test_a_run_of_an_older_kit_is_resumed(tmp_path):
    """Its file knows nothing of the settings that came later; those count as they were then: the defaults."""
    out, data, val = tmp_path / "out", facades(tmp_path), facades(tmp_path, 3, start=9)
    options = {"out": out, "device": "cpu", "confusion_matrix": confusion_matrix, "scores": scores, "progress": False}
    fit(net(), data, val, config=TrainConfig(epochs=1), **options)
    state = torch.load(out / "resume.pt", weights_only=True)
    for name in ("optimizer", "clip", "scale", "precision", "deterministic", "cache"):
        del state["description"][name]
    torch.save(state, out / "resume.pt")
    assert fit(net(), data, val, config=TrainConfig(epochs=2), resume=True, **options).epochs[-1].epoch == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"crop": "big"}, r"Expected crop as int \| None, but got 'big'"),
        ({"colour": "1"}, "Unknown setting 'colour'. Expected one of: epochs, optimizer"),
        ({"scale": "2,1"}, "Expected scale .low, high. with 0 < low <= high"),
        ({"precision": "half"}, "Expected precision 'auto', 'float32'"),
        ({"flip": "perhaps"}, "Expected flip as bool, but got 'perhaps'"),
        ({"clip": "-1"}, "Expected clip of at least 0"),
    ],
)
def test_settings_from_a_command_line_are_checked(changes, expected):
    with pytest.raises(ValueError, match=expected):
        configured(RECIPES["fast"], changes)


def test_settings_from_a_command_line_are_read():
    read = configured(RECIPES["fast"], {"crop": "none", "scale": "0.5, 2", "flip": "no", "clip": "1e-1", "optimizer": "sgd"})
    assert (read.crop, read.scale, read.flip, read.clip, read.optimizer) == (None, (0.5, 2.0), False, 0.1, "sgd")
    assert json.dumps(read.__dict__)


def test_weights_of_a_run_are_kept_by_value(tmp_path):
    model, history = run(tmp_path, tmp_path / "out", epochs=2)
    stored = load_file(tmp_path / "out" / "best.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items())
    save_checkpoint(tmp_path / "again.safetensors", model)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "out" / "best.safetensors").read_bytes()
