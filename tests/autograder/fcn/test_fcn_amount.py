"""What is the cheapest output that earns a crop or the values? Constants, zeros, one number, a broadcast, a part: none of them."""

import pytest
import torch
import torch.nn.functional as F

from autograder.assignments.fcn.networks import NETWORKS as SPECS
from autograder.segmentation.amount import LEAST, different_values, enough, of_the_pictures_size
from autograder.segmentation.offsets import measure
from autograder.segmentation.shadow import Pieces, Shadow
from segkit.layers import expected_layers
from segkit.upsampling import bilinear_weight

IMAGES = (2, 3, 79, 33)
SIZES = {"score": (3, 2), "pool4": (18, 15), "pool3": (35, 29)}


def probe(network: str, n_class: int = 5, seed: int = 0) -> tuple[Shadow, Pieces, torch.Tensor]:
    """A shadow, score maps drawn as the probe's are, and the output that they must give."""
    generator, weights = torch.Generator().manual_seed(seed), {}
    layers = expected_layers(network, n_class)
    for layer in layers:
        if layer.kind == "ConvTranspose2d":
            weights[f"{network}/{layer.path}.weight"] = bilinear_weight(n_class, layer.settings["kernel_size"])
    weights |= {f"{network}/{name}.bias": torch.zeros(n_class) for name in ("score", "score_pool_4", "score_pool_3")}
    maps = {name: torch.randn(2, n_class, *size, generator=generator) for name, size in SIZES.items()}
    if network == "fcn8s":
        for name, shown in (("score", 0), ("pool4", 1), ("pool3", 2)):
            maps[name][:, [channel for channel in range(3) if channel != shown]] = 0
    else:
        maps = {"score": maps["score"]}
    shadow, pieces = Shadow(SPECS[network], {layer.path: layer.settings for layer in layers}, weights), Pieces(**maps)
    return shadow, pieces, shadow.compose(pieces, SPECS[network].offsets({}), IMAGES[2:])


NETWORKS = pytest.mark.parametrize("network", ["fcn32s", "fcn8s"])
CHEAP = {
    "one number": lambda right: torch.full((1, 1, 1), 3.0),
    "one label": lambda right: torch.full((1, 1, 1), int(right.argmax(1)[0, 0, 0])),
    "a label map of one label": lambda right: torch.full((2, *IMAGES[2:]), int(right.argmax(1).mode().values.mode().values.mode().values)),
    "one pixel of each class": lambda right: right[:, :, :1, :1],
    "a row": lambda right: right[:, :, :1],
    "a corner": lambda right: right[:, :, :20, :20],
    "one image for both": lambda right: right[:1],
    "one class for all": lambda right: right[:, :1],
    "nothing": lambda right: right[:, :, :0],
    "a constant": lambda right: torch.full_like(right, 0.3),
    "a constant for each class": lambda right: right.mean((0, 2, 3), keepdim=True).expand_as(right),
    "zeros": torch.zeros_like,
    "ones": torch.ones_like,
    "almost a constant": lambda right: 1e-9 * torch.arange(right.numel()).view_as(right).float(),
    "a row broadcast": lambda right: right[:, :, :1].expand_as(right),
    "one number of the right ones everywhere": lambda right: right[:, :, 40:41, 16:17].expand_as(right),
}


@NETWORKS
@pytest.mark.parametrize("kind", CHEAP)
def test_a_cheap_output_confirms_no_crop_and_no_value(network, kind):
    shadow, pieces, right = probe(network)
    found = measure(CHEAP[kind](right).numpy(), shadow, pieces, shadow.spec.offsets({}), IMAGES)
    assert not found.offsets and not found.exact, found


@NETWORKS
def test_the_right_output_confirms_all_and_so_does_one_with_a_short_edge(network):
    shadow, pieces, right = probe(network)
    for output in (right, right[:, :, :-3], right[:, :, :, :-3]):
        found = measure(output.numpy(), shadow, pieces, shadow.spec.offsets({}), IMAGES)
        assert found.offsets == SPECS[network].offsets({}) and found.exact and found.view == "logits"


def test_a_network_of_one_class_has_no_softmax_and_no_argmax_to_agree_with():
    shadow, pieces, _ = probe("fcn32s", n_class=1)
    for output in (torch.ones(2, 1, *IMAGES[2:]), torch.zeros(2, *IMAGES[2:], dtype=torch.long)):
        assert not measure(output.numpy(), shadow, pieces, shadow.spec.offsets({}), IMAGES).offsets


def test_layers_that_leave_a_constant_confirm_nothing():
    shadow, pieces, right = probe("fcn32s")
    flat = {"score": torch.zeros_like(pieces["score"])}
    for output in (torch.zeros_like(right), torch.softmax(torch.zeros_like(right), 1), torch.full_like(right, 0.5)):
        found = measure(output.numpy(), shadow, flat, shadow.spec.offsets({}), IMAGES)
        assert not found.offsets and not found.exact


@NETWORKS
def test_right_networks_have_far_more_different_values_than_are_asked_for(network):
    for seed in range(6):
        shadow, pieces, right = probe(network, seed=seed)
        assert different_values(right) > 1.5 * LEAST["values"] and different_values(right.argmax(1)) > 1.5 * LEAST["values"]
        assert all(different_values(F.softmax(view, 1)) > LEAST["values"] for view in (right, right.relu()))
        shown = range(3) if network == "fcn8s" else range(1)
        assert all(different_values(right[:, channel : channel + 1]) > LEAST["crop"] for channel in shown), seed


def test_values_count_where_they_lie_apart_and_labels_where_they_border():
    ramp = torch.linspace(0, 1, 1000).view(1, 1, 10, 100)
    assert different_values(ramp) == 36  # its spread is 0.289: steps of 0.0289
    assert different_values(torch.full((2, 5, 9, 9), 7.0)) == different_values(torch.zeros(2, 9, 9, dtype=torch.long)) == 0
    assert different_values(torch.tensor([[[0, 1], [1, 1]]])) == 2
    assert enough("crop", ramp) and not enough("values", ramp)


def test_an_output_with_exchanged_sides_can_be_measured_and_a_smaller_one_cannot():
    assert of_the_pictures_size(torch.zeros(2, 5, 33, 79), IMAGES, 5) and of_the_pictures_size(torch.zeros(2, 5, 128, 96), IMAGES, 5)
    assert not of_the_pictures_size(torch.zeros(2, 5, 24, 79), IMAGES, 5)
