"""A factor on a map of scores is measured, and the crops beside it: against maps put together by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autograder.assignments.fcn.networks import FCN8S
from autograder.segmentation.factors import measure_factors
from autograder.segmentation.offsets import measure
from autograder.segmentation.shadow import Pieces, Shadow
from segkit.layers import expected_layers
from segkit.upsampling import bilinear_weight

SETTINGS = {layer.path: layer.settings for layer in expected_layers("fcn8s", 5)}
BIAS = {name: torch.linspace(0.1, 0.3, 5) for name in ("score", "score_pool_4", "score_pool_3")}
IMAGES = (2, 3, 79, 33)
FIRST = {"output": (31, 31), "pool4": (5, 5), "pool3": (9, 9)}


@pytest.fixture(scope="module")
def maps():
    generator = torch.Generator().manual_seed(3)
    sizes = {"score": (3, 2), "pool4": (18, 15), "pool3": (35, 29)}
    linear = {name: torch.randn(2, 5, *size, generator=generator) for name, size in sizes.items()}
    for name, shown in (("score", 0), ("pool4", 1), ("pool3", 2)):
        for channel in {0, 1, 2} - {shown}:
            linear[name][:, channel] = 0
    return linear


@pytest.fixture(scope="module")
def shadow():
    weights = {f"fcn8s/upscore{k}.weight": bilinear_weight(5, size) for k, size in ((1, 4), (2, 4), (3, 16))}
    bias = {f"fcn8s/{name}.bias": masked(name) for name in BIAS}
    return Shadow(FCN8S, SETTINGS, {**weights, **bias})


def masked(name: str) -> torch.Tensor:
    value = BIAS[name].clone()
    value[[c for c in range(3) if c != {"score": 0, "score_pool_4": 1, "score_pool_3": 2}[name]]] = 0
    return value


def output(maps: dict, offset4: tuple[int, int] = (5, 5)) -> torch.Tensor:
    """FCN-8s's tail in plain functions."""
    up = [bilinear_weight(5, size) for size in (4, 4, 16)]
    h = F.conv_transpose2d(maps["score"], up[0], stride=2)
    h = h + maps["pool4"][:, :, offset4[0] : offset4[0] + h.shape[2], offset4[1] : offset4[1] + h.shape[3]]
    h = F.conv_transpose2d(h, up[1], stride=2)
    h = h + maps["pool3"][:, :, 9 : 9 + h.shape[2], 9 : 9 + h.shape[3]]
    return F.conv_transpose2d(h, up[2], stride=8)[:, :, 31 : 31 + 79, 31 : 31 + 33]


def scored(linear: dict, factors: dict, before: bool) -> dict:
    names = {"score": "score", "pool4": "score_pool_4", "pool3": "score_pool_3"}
    bias = {name: masked(layer).view(1, -1, 1, 1) for name, layer in names.items()}
    return {n: linear[n] * factors.get(n, 1) + bias[n] * (1 if before else factors.get(n, 1)) for n in names}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("factors", [{"pool4": 0.01}, {"pool3": 0.0001}, {"pool4": 0.01, "pool3": 0.0001}, {"score": 2.0}])
def test_factors_are_measured_before_and_behind_the_score_layers(maps, shadow, factors, before):
    pieces = Pieces(**scored(maps, {}, before))
    found = measure(output(scored(maps, factors, before)).numpy(), shadow, pieces, FIRST, IMAGES)
    assert found.offsets == FIRST and found.view == "logits" and not found.exact
    wanted = {"score": 1.0, "pool4": 1.0, "pool3": 1.0, **factors}
    assert found.factors == pytest.approx(wanted, rel=5e-3)


def test_a_wrong_crop_shows_beside_a_factor(maps, shadow):
    pieces = Pieces(**scored(maps, {}, True))
    found = measure(output(scored(maps, {"pool4": 0.01}, True), (6, 5)).numpy(), shadow, pieces, FIRST, IMAGES)
    assert found.offsets == {**FIRST, "pool4": (6, 5)} and found.factors["pool4"] == pytest.approx(0.01, rel=5e-3)


def test_other_values_are_no_factor(maps, shadow):
    pieces = Pieces(**scored(maps, {}, True))
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 5, 79, 33)).astype(np.float32))
    assert measure_factors(noise, shadow, pieces, FIRST, ()) is None
