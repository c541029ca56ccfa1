"""Hidden weights and inputs, made so that one forward call tells shape, crops and values apart.

Class 0 of the probe sees the coarse scores alone, class 1 pool4 alone, class 2 pool3 alone; their upsampling is bilinear and
keeps the classes apart, so that each crop can be read off its own class. Classes 3 and 4 see everything, and their
upsampling mixes them: an error that the first three miss shows there.

Trunk and images are the class's, so that the trunk of the expected network runs once for all. The score layers are drawn for
each submission: what the network of one gives is worth nothing to another.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autograder.course.rubric import Rubric
from autograder.course.seeds import Seeds
from segkit.layers import expected_layers
from segkit.upsampling import bilinear_weight

__all__ = [
    "DROP_BITS", "HEIGHTS", "NETWORKS", "PATHS", "SILENT_BITS", "SPARE", "WIDTHS", "canonical", "drop_silence", "probe_images",
    "probe_weights", "score_layers",
]  # fmt: skip

NETWORKS = ("fcn32s", "fcn8s")
PATHS = {"score": 0, "score_pool_4": 1, "score_pool_3": 2}
READS = {"score": "fc7", "score_pool_4": "pool4", "score_pool_3": "pool3"}
TAIL = ("score", "score_pool_4", "score_pool_3", "transpose_conv", "upscore1", "upscore2", "upscore3")
SPARE = "spare"
"""Name of values before the trunk's that no layer needs: room to lay other tensors in another order over both."""
HEIGHTS, WIDTHS = (79, 81), (29, 31, 33, 35, 37)
"""Sizes in pixels of which the probe's images have one, see ``probe_images``."""
DROP_BITS, SILENT_BITS = 16, 6
"""Channels whose survival one class of the dropout probe reports, as the bits of a number; and how many of them are silent."""


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


def _normal(seeds: Seeds, name: str, shape: tuple[int, ...], spread: float, code: str = "") -> Tensor:
    generator = torch.Generator().manual_seed(seeds.number("weights", name, code))
    return torch.empty(shape).normal_(0, spread, generator=generator)


def score_layers(seeds: Seeds, network: str, n_class: int, code: str, features: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Draw the score layers of one submission, with one class per path.

    What they give on the features of the picture has mean 0 and spread 1 in each class: else one class has the largest score
    everywhere, and its number alone is the whole label map.

    Args:
        seeds: Of the course.
        network: ``"fcn32s"`` or ``"fcn8s"``.
        n_class: Number of classes.
        code: Hash of all that the submission's worker can know.
        features: What they read (``fc7``, ``pool4``, ``pool3``) in the network as it is specified: (2, inputs, h, w).

    Returns:
        Canonical name -> weight (n_class, inputs, 1, 1) or bias (n_class,).
    """
    found = {}
    for layer in expected_layers(network, n_class):
        if layer.path not in PATHS:
            continue
        name, inputs = layer.path, layer.settings["in_channels"]
        weight = _normal(seeds, f"{network}/{name}", (n_class, inputs, 1, 1), inputs**-0.5, code)
        bias = _normal(seeds, f"{network}/{name}.bias", (n_class,), 0.1, code)
        read = torch.from_numpy(_middle(features[READS[name]])).transpose(0, 1).flatten(1)  # (inputs, 2 h w)
        mean, rows = read.mean(1), weight.flatten(1)
        rows = rows - torch.outer(rows @ mean, mean) / (mean @ mean).clamp_min(1e-12)  # not by the bias: it would drown small factors
        weight = (rows / (rows @ read).std(1, keepdim=True).clamp_min(1e-3)).view_as(weight)
        if network == "fcn8s":
            for path, channel in PATHS.items():
                if path != name:
                    weight[channel], bias[channel] = 0, 0
        found |= {f"{network}/{name}.weight": weight, f"{network}/{name}.bias": bias}
    return found


def _middle(maps: np.ndarray) -> np.ndarray:
    """The middle third of maps, where the picture lies within its padding; the coarsest, of a few cells, are left whole."""
    height, width = maps.shape[2:]
    return maps if height < 6 else np.ascontiguousarray(maps[:, :, height // 3 : -(height // 3), width // 3 : -(width // 3)])


def _tail(seeds: Seeds, network: str, layer, n_class: int) -> Iterator[tuple[str, Tensor]]:
    """Upsampling that keeps the first three classes apart; score layers are each submission's own."""
    name, settings = layer.path, layer.settings
    if layer.kind == "Conv2d":
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
    weight = torch.zeros(n_class, settings["in_channels"], 1, 1)
    if name == "score":
        for channel, read in enumerate(_drop_channels(seeds, n_class)):
            weight[channel, read, 0, 0] = 2.0 ** torch.arange(DROP_BITS)
    yield f"drop/{network}/{name}.weight", weight
    yield f"drop/{network}/{name}.bias", torch.zeros(n_class)


def _drop_channels(seeds: Seeds, n_class: int) -> NDArray[np.int64]:
    """Channels of fc7 that each class reads, (n_class, DROP_BITS): of the first half for three classes, of the second for the others."""
    rng = seeds.generator("dropout channels")
    both, last = rng.choice(2048, (3, DROP_BITS), replace=False), 2048 + rng.choice(2048, (n_class - 3, DROP_BITS), replace=False)
    return np.concatenate([both, last])


def drop_silence(seeds: Seeds, n_class: int, *names: str) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """Draw which of the channels that the dropout probe reads give 0 before any dropout: their bits must be 0.

    Args:
        seeds: Of the course.
        n_class: Number of classes.
        names: Of the draw: the submission's code, the number of the call.

    Returns:
        For each class the number whose bits are the silent ones, (n_class,); and the biases that make them silent, by canonical name.
    """
    rng, biases = seeds.generator("dropout silence", *names), np.ones(4096, np.float32)
    bits = np.stack([rng.choice(DROP_BITS, SILENT_BITS, replace=False) for _ in range(n_class)])  # (n_class, SILENT_BITS)
    biases[np.take_along_axis(_drop_channels(seeds, n_class), bits, axis=1)] = 0
    half = np.arange(4096) < 2048  # fc7 hands these on from fc6, and gives the others itself
    return (2**bits).sum(1), {"drop/fc6.bias": np.where(half, biases, 1), "drop/fc7.bias": np.where(half, 0, biases)}


def probe_weights(seeds: Seeds, rubric: Rubric) -> Iterator[tuple[str, Tensor]]:
    """The class's hidden weights, one after the other: He-drawn trunk, upsampling of both networks, the dropout probe."""
    n_class = rubric.settings["probe_classes"]
    yield SPARE, _normal(seeds, SPARE, (2**20,), 1.0)
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
    # dropout probe: conv5_3 is silenced, channels of fc6 give 1 or 0; half of fc7 repeats fc6, half gives 1 or 0 of its own
    weight = torch.zeros(4096, 4096, 1, 1)
    half = torch.arange(2048)
    weight[half, half] = 1
    yield "drop/fc7.weight", weight
