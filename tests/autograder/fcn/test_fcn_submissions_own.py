"""Numbers of one submission are worth nothing to another: score layers, positions and hidden inputs are drawn for its code."""

from collections import ChainMap

import numpy as np
import pytest
import torch
from test_fcn_amount import IMAGES

from autograder.assignments.fcn.networks import NETWORKS
from autograder.course.seeds import Seeds
from autograder.segmentation.amount import enough
from autograder.segmentation.offsets import measure
from autograder.segmentation.probe import probe_weights, score_layers
from autograder.segmentation.shadow import Shadow
from segkit.layers import expected_layers
from segkit.upsampling import bilinear_weight

SEEDS = Seeds("a fixed secret")


@pytest.fixture(scope="module")
def features() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    sizes = {"fc7": (4096, 3, 2), "pool4": (512, 18, 15), "pool3": (256, 35, 29)}
    return {name: np.abs(rng.standard_normal((2, *size))).astype(np.float32) for name, size in sizes.items()}


def shadow_of(network: str, code: str, features: dict) -> Shadow:
    layers = expected_layers(network, 5)
    up = {f"{network}/{layer.path}.weight": bilinear_weight(5, layer.settings["kernel_size"])
          for layer in layers if layer.kind == "ConvTranspose2d"}  # fmt: skip
    spec = NETWORKS[network]
    return Shadow(spec, {layer.path: layer.settings for layer in layers}, ChainMap(score_layers(SEEDS, spec, 5, code, features), up))


def output(network: str, code: str, features: dict) -> np.ndarray:
    """What a right network of one submission gives."""
    shadow = shadow_of(network, code, features)
    return shadow.compose(shadow.pieces(features), NETWORKS[network].offsets({}), IMAGES[2:]).numpy()


@pytest.mark.parametrize("network", ["fcn32s", "fcn8s"])
def test_the_right_numbers_of_another_submission_are_wrong_numbers(network, features):
    shadow = shadow_of(network, "mine", features)
    pieces = shadow.pieces(features)
    own = measure(output(network, "mine", features), shadow, pieces, NETWORKS[network].offsets({}), IMAGES)
    told = measure(output(network, "theirs", features), shadow, pieces, NETWORKS[network].offsets({}), IMAGES)
    assert own.exact and own.offsets == NETWORKS[network].offsets({})
    assert not told.offsets and not told.exact and told.error > 0.1


@pytest.mark.parametrize("network", ["fcn32s", "fcn8s"])
def test_no_class_is_the_largest_everywhere_though_features_are_much_alike(network, features):
    alike = {name: 5 + values for name, values in features.items()}
    for code in map(str, range(20)):
        right = torch.from_numpy(output(network, code, alike))
        assert enough("values", right.argmax(1)) and enough("values", right), code


@pytest.mark.parametrize("network", ["fcn32s", "fcn8s"])
def test_score_maps_are_those_of_plain_convolutions_on_what_the_class_shares(network, features):
    weights = score_layers(SEEDS, NETWORKS[network], 5, "mine", features)
    inputs = {"score": "fc7", "score_pool_4": "pool4", "score_pool_3": "pool3"}
    found = shadow_of(network, "mine", features).pieces(features)
    for name, piece in (("score", "score"), ("score_pool_4", "pool4"), ("score_pool_3", "pool3")):
        if f"{network}/{name}.weight" not in weights:
            assert network == "fcn32s" and name != "score" and piece not in found
            continue
        kernel, bias = weights[f"{network}/{name}.weight"][:, :, 0, 0].numpy(), weights[f"{network}/{name}.bias"].numpy()
        wanted = np.einsum("oc,nchw->nohw", kernel, features[inputs[name]]) + bias[None, :, None, None]
        assert np.allclose(found[piece].numpy(), wanted, atol=1e-3)


def test_both_networks_share_the_trunk_and_so_its_key(features):
    keys = {shadow_of(network, code, features).key() for network in ("fcn32s", "fcn8s") for code in ("mine", "theirs")}
    assert len(keys) == 1


def test_no_score_layer_lies_in_the_file_that_all_workers_read():
    names = []
    for name, _ in probe_weights(SEEDS, NETWORKS.values(), 5):
        names.append(name)
        if name.startswith("drop/fc6"):
            break
    assert not [name for name in names if "score" in name and not name.startswith("drop/") and "upscore" not in name]
