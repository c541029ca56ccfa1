"""One step of training: the loss and the gradient of slow code, whole or in pieces."""

import math
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from course_items import facades, net
from fast_runs import stepper

from segkit.precision import Precision
from segkit.training.batches import Batch, EpochBatches
from segkit.training.sources import DecodedPairs
from segkit.training.steps import median_weights


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


def test_median_weights_are_those_of_eigen_and_fergus():
    """By hand: the median of 0.5, 0.3, 0.2 is 0.3; a class of 0.001 is held at 10, an absent one at 1."""
    assert median_weights([0.5, 0.3, 0.2]).tolist() == pytest.approx([0.6, 1.0, 1.5])
    assert median_weights([0.499, 0.001, 0.0, 0.5]).tolist() == pytest.approx([1.0, 10.0, 1.0, 0.998])


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


def test_images_of_losses_that_nobody_read_are_not_kept(tmp_path):
    one = stepper(net(), DecodedPairs(facades(tmp_path)))
    array = np.random.default_rng(0).random((2, 3, 24, 24), dtype=np.float32)
    kept = weakref.ref(array)
    batch = Batch(torch.from_numpy(array), torch.zeros(2, 24, 24, dtype=torch.int64), ["a", "b"], [(24, 24)] * 2, 2 * 24 * 24)
    one.step(batch, 0)
    del batch, array
    assert kept() is None and one.read()[0][1] == 2
