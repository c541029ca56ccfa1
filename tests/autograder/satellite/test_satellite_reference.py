"""The assignment's reference: counts of the contract, a table by hand, a literal loop over pixels."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import vgg16

from segkit.reference.satellite import Classifier, FCN8s, FCN16s, FCN32s, embed, layer_table, mean_iou


@pytest.mark.parametrize(("network", "count"), [(FCN32s, 40_118_087), (FCN16s, 40_892_231), (FCN8s, 40_671_047)])
def test_networks_have_the_contracts_parameters_and_size(network, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in network().parameters()) == count
        assert network(5).eval()(torch.empty(2, 3, 96, 64)).shape == (2, 5, 96, 64)


def test_fcn32s_gives_less_than_a_picture_that_is_no_multiple_of_32():
    with torch.device("meta"):
        assert FCN32s().eval()(torch.empty(1, 3, 250, 250)).shape[2:] == (224, 224)


@pytest.mark.parametrize(("network", "paths", "channels"), [(FCN16s, ["upfeature"], 512), (FCN8s, ["upfeature", "uppool4"], 256)])
def test_each_path_reaches_the_output_by_itself(network, paths, channels):
    torch.manual_seed(0)
    model, x = network().eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = [model(x)]
        for path in paths:
            getattr(model, path).weight.zero_()
            found.append(model(x))
    assert model.upscore.in_channels == channels and found[-1].any()  # the pool alone
    assert not any(torch.allclose(one, other, rtol=1e-3, atol=1e-6) for one, other in pairwise(found))


def test_vgg16_has_39_rows():
    model = vgg16(weights=None)
    rows = layer_table(model, (3, 32, 32))
    assert (len(rows), sum(count for *_, count in rows)) == (39, 138_357_544)
    assert rows[0] == ("features.0", (64, 32, 32), 1792) and rows[-1] == ("classifier.6", (1000,), 4_097_000)
    assert rows[31] == ("avgpool", (512, 7, 7), 0)


class Strange(nn.Module):
    """Shares a convolution, calls an activation twice, never calls a layer, keeps a buffer, and freezes a norm."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.act, self.spare = nn.ReLU(), nn.Linear(2, 2)
        self.block[1].eval()

    def forward(self, x):
        return self.act(self.block[0](self.act(self.block(x))))


def test_a_module_that_runs_twice_is_listed_twice_and_counted_once():
    model = Strange()
    rows = layer_table(model, (3, 4, 5))
    assert rows == [("block.0", (3, 4, 5), 84), ("block.1", (3, 4, 5), 6), ("act", (3, 4, 5), 0), ("block.0", (3, 4, 5), 0),
                    ("act", (3, 4, 5), 0)]  # fmt: skip
    assert model.training and not model.block[1].training and model.block[1].num_batches_tracked == 0
    assert not any(module._forward_hooks for module in model.modules()) and all(p.grad is None for p in model.parameters())


def test_classifier_reads_its_features_behind_the_relu():
    torch.manual_seed(0)
    model = Classifier(4).eval()
    with torch.no_grad():
        features = model.features(x := torch.randn(2, 3, 32, 32))
        assert features.shape == (2, 4096) and features.min() == 0 < features.max()
        assert torch.equal(model(x), model.vgg.classifier[6](features)) and torch.equal(model(x), model.vgg(x))


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Dropout(0.5))


@pytest.mark.parametrize("mode", [True, False])
def test_embedding_is_that_of_eval_mode_in_the_loaders_order(mode):
    model, x, y = Small().train(mode), torch.randn(7, 3, 2, 2), torch.arange(7)
    features, labels = embed(model, [(x[:4], y[:4]), (x[4:], y[4:])])
    with torch.no_grad():
        expected = model.eval().features(x)
    assert torch.allclose(features, expected, atol=1e-6) and torch.equal(labels, y) and not features.requires_grad


@pytest.mark.parametrize("mode", [True, False])
def test_embedding_leaves_the_mode_as_it_was(mode):
    model = Small().train(mode)
    embed(model, [(torch.randn(1, 3, 2, 2), torch.tensor([0]))])
    assert model.training is mode


def by_loop(pred, gt, count_unknown):
    """Mean IoU, one pixel after the other."""
    found = []
    for number in range(6):
        both = either = 0
        for p, t in zip(pred.reshape(-1).tolist(), gt.reshape(-1).tolist(), strict=True):
            if t > 5 and not count_unknown:
                continue
            both += p == number and t == number
            either += p == number or t == number
        if either:
            found.append(both / either)
    return sum(found) / len(found) if found else math.nan


@pytest.mark.parametrize(("count_unknown", "expected"), [(False, (2 / 3 + 1 / 2) / 2), (True, (2 / 4 + 1 / 3) / 2)])
def test_both_rules_of_unknown_pixels_on_a_case_by_hand(count_unknown, expected):
    gt = np.array([[0, 0, 1, 6, 6, 0]])  # three of class 0, one of class 1, two unknown
    pred = np.array([[0, 0, 1, 0, 1, 1]])
    assert mean_iou(pred, gt, count_unknown) == pytest.approx(expected)


@pytest.mark.parametrize("count_unknown", [False, True])
def test_mean_iou_is_what_a_loop_over_pixels_gives(count_unknown):
    rng = np.random.default_rng(0)
    for classes in (7, 4, 2):
        pred, gt = rng.integers(0, classes, (2, 9, 8)), rng.integers(0, 7, (2, 9, 8))
        assert mean_iou(torch.from_numpy(pred), torch.from_numpy(gt), count_unknown) == pytest.approx(by_loop(pred, gt, count_unknown))


def test_nothing_known_is_no_number():
    assert math.isnan(mean_iou(np.array([6]), np.array([6]))) and math.isnan(mean_iou(np.array([6]), np.array([6]), count_unknown=True))
