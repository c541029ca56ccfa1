"""Hidden weights and inputs, made so that one forward call tells shape, crops and values apart.

Class 0 of the probe sees the coarse scores alone, class 1 pool4 alone, class 2 pool3 alone; their upsampling is bilinear and
keeps the classes apart, so that each crop can be read off its own class. Classes 3 and 4 see everything, and their
upsampling mixes them: an error that the first three miss shows there.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from autograder.rubric import Rubric
from autograder.seeds import Seeds
from segkit.layers import expected_layers
from segkit.upsampling import bilinear_weight

__all__ = ["DROP_BITS", "HEIGHTS", "NETWORKS", "PATHS", "WIDTHS", "canonical", "probe_images", "probe_weights"]

NETWORKS = ("fcn32s", "fcn8s")
PATHS = {"score": 0, "score_pool_4": 1, "score_pool_3": 2}
TAIL = ("score", "score_pool_4", "score_pool_3", "transpose_conv", "upscore1", "upscore2", "upscore3")
HEIGHTS, WIDTHS = (79, 81), (29, 31, 33, 35, 37)
"""Sizes in pixels of which the probe's images have one, see ``probe_images``."""
DROP_BITS = 16
"""Channels whose survival one class of the dropout probe reports, as the bits of a number."""


def canonical(network: str, layer: str, kind: str, drop: bool = False) -> str:
    """Name in the weight file of a layer's weight or bias."""
    if drop and layer in ("fc6", "fc7", *TAIL):
        return f"drop/{network}/{layer}.{kind}" if layer in TAIL else f"drop/{layer}.{kind}"
    return f"{network}/{layer}.{kind}" if layer in TAIL else f"{layer}.{kind}"


def probe_images(seeds: Seeds) -> np.ndarray:
    """Two images of one odd, non-square size: (2, 3, H, W) float32.

    H is one of the sizes at which a trunk without ``ceil_mode`` gives FCN-32s too few rows; W is not. Behind the padding of
    100 the coarsest maps have 3 rows and 2 columns: were they square, nobody would see rows taken for columns in a skip. Nor is
    any map of a skip twice as high or wide as what it is added to: ``9 : 9 - rows`` would cut the same rows as ``9 : 9 + rows``.
    """
    rng = seeds.generator("probe images")
    height, width = int(rng.choice(HEIGHTS)), int(rng.choice(WIDTHS))
    return rng.standard_normal((2, 3, height, width)).astype(np.float32)


def _normal(seeds: Seeds, name: str, shape: tuple[int, ...], spread: float) -> Tensor:
    generator = torch.Generator().manual_seed(seeds.number("weights", name))
    return torch.empty(shape).normal_(0, spread, generator=generator)


def _tail(seeds: Seeds, network: str, layer, n_class: int) -> Iterator[tuple[str, Tensor]]:
    """Score layers with one class per path, and upsampling that keeps the first three classes apart."""
    name, settings = layer.path, layer.settings
    if layer.kind == "Conv2d":
        inputs = settings["in_channels"]
        # activations after He-drawn layers have a second moment near 1: this spread gives scores of about unit size
        weight = _normal(seeds, f"{network}/{name}", (n_class, inputs, 1, 1), inputs**-0.5)
        bias = _normal(seeds, f"{network}/{name}.bias", (n_class,), 0.1)
        if network == "fcn8s":
            for path, channel in PATHS.items():
                if path != name:
                    weight[channel], bias[channel] = 0, 0
        yield f"{network}/{name}.weight", weight
        yield f"{network}/{name}.bias", bias
        return
    weight = bilinear_weight(n_class, settings["kernel_size"])
    mix = _normal(seeds, f"{network}/{name}", (n_class - 3, n_class - 3, 1, 1), 0.5)
    weight[3:, 3:] = weight[:1, :1] * (mix + torch.eye(n_class - 3)[:, :, None, None])
    yield f"{network}/{name}.weight", weight


def _drop(seeds: Seeds, network: str, layer, n_class: int) -> Iterator[tuple[str, Tensor]]:
    """Tail of the dropout probe: scores that read bits, upsampling that repeats each cell."""
    name, settings = layer.path, layer.settings
    if layer.kind == "ConvTranspose2d":
        size, stride = settings["kernel_size"], settings["stride"]
        weight = torch.zeros(n_class, n_class, size, size)
        weight[range(n_class), range(n_class), :stride, :stride] = 1
        yield f"drop/{network}/{name}.weight", weight
        return
    inputs = settings["in_channels"]
    weight = torch.zeros(n_class, inputs, 1, 1)
    if name == "score":
        rng = seeds.generator("dropout channels")
        for channel in range(n_class):  # classes 3 and up read channels that fc7 alone may drop, the others those of both
            first = 2048 if channel >= 3 else 0
            chosen = first + rng.choice(2048, DROP_BITS, replace=False)
            weight[channel, chosen, 0, 0] = 2.0 ** torch.arange(DROP_BITS)
    yield f"drop/{network}/{name}.weight", weight
    yield f"drop/{network}/{name}.bias", torch.zeros(n_class)


def probe_weights(seeds: Seeds, rubric: Rubric) -> Iterator[tuple[str, Tensor]]:
    """All hidden weights, one after the other: He-drawn trunk, the tails of both networks, the dropout probe."""
    n_class = rubric.settings["probe_classes"]
    done = set()
    for network in NETWORKS:
        for layer in expected_layers(network, n_class):
            if layer.kind == "MaxPool2d" or (layer.path not in TAIL and layer.path in done):
                continue
            done.add(layer.path)
            if layer.path in TAIL:
                yield from _tail(seeds, network, layer, n_class)
                yield from _drop(seeds, network, layer, n_class)
                continue
            s = layer.settings
            shape = (s["out_channels"], s["in_channels"], s["kernel_size"], s["kernel_size"])
            fan_in = s["in_channels"] * s["kernel_size"] ** 2
            yield f"{layer.path}.weight", _normal(seeds, layer.path, shape, (2 / fan_in) ** 0.5)
            yield f"{layer.path}.bias", _normal(seeds, f"{layer.path}.bias", shape[:1], 0.05)
    # dropout probe: conv5_3 is silenced, every channel of fc6 gives 1; half of fc7 repeats fc6, half gives 1 of its own
    yield "drop/fc6.bias", torch.ones(4096)
    weight = torch.zeros(4096, 4096, 1, 1)
    half = torch.arange(2048)
    weight[half, half] = 1
    yield "drop/fc7.weight", weight
    yield "drop/fc7.bias", torch.cat([torch.zeros(2048), torch.ones(2048)])
