"""Optimizer, schedule and precision: what a step does to the weights, and what is kept of it."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from course_items import N, descend, net
from fast_runs import CPU, config
from torch import nn

from segkit.precision import Precision, choose_precision
from segkit.training.descent import Descent, Diverged
from segkit.training.resuming import capture, restore


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


@pytest.mark.parametrize("clip", [0.0, 5.0], ids=["the course recipe", "clipped"])
def test_a_finite_loss_with_a_gradient_that_is_not_changes_nothing_where_every_step_is_looked_at(clip):
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    descent = Descent(model, config(read_every=1, warmup=0, clip=clip), choose_precision(CPU), 10)
    assert descent.immediate
    with pytest.raises(Diverged, match=r"0\.000, with a gradient of norm (inf|nan),"):
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
