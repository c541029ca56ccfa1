"""Hidden weights and inputs, made so that one forward call tells shape, crops and values apart.

Class 0 of the probe sees the coarse scores alone, class 1 the first skip alone, class 2 the second; their upsampling is bilinear and
keeps the classes apart, so that each crop can be read off its own class. Classes 3 and 4 see everything, and their
upsampling mixes them: an error that the first three miss shows there.

Trunk and images are the class's, so that the trunk of the expected network runs once for all. The score layers are drawn for
each submission: what the network of one gives is worth nothing to another.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autograder.course.seeds import Seeds
from autograder.segmentation.spec import NetworkSpec
from segkit.layers import Layer, tensor_shapes
from segkit.upsampling import bilinear_weight

__all__ = [
    "DROP_BITS", "SILENT_BITS", "SPARE", "drop_silence", "head_width", "probe_images", "probe_weights", "score_layers", "write_weights",
]  # fmt: skip

SPARE = "spare"
"""Name of values before the trunk's that no layer needs: room to lay other tensors in another order over both."""
DROP_BITS, SILENT_BITS = 16, 6
"""Channels whose survival one class of the dropout probe reports, as the bits of a number; and how many of them are silent."""
MOST = 256
"""Channels of each half of the head that the dropout probe draws from: a head with fewer channels than it should have is read too."""


def probe_images(seeds: Seeds, spec: NetworkSpec, code: str = "") -> np.ndarray:
    """Two images of one size of the specification: (2, 3, H, W) float32.

    Networks of the same sizes get the same images; with the hash of a submission's code they are that submission's own.
    """
    rng = seeds.generator("probe images", spec.name, code) if code else seeds.generator("probe images")
    height, width = int(rng.choice(spec.heights)), int(rng.choice(spec.widths))
    return rng.standard_normal((2, 3, height, width)).astype(np.float32)


def _normal(seeds: Seeds, name: str, shape: tuple[int, ...], spread: float, code: str = "") -> Tensor:
    generator = torch.Generator().manual_seed(seeds.number("weights", name, code))
    return torch.empty(shape).normal_(0, spread, generator=generator)


def score_layers(seeds: Seeds, spec: NetworkSpec, n_class: int, code: str, features: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Draw the score layers of one submission, with one class per path.

    What they give on the features of the picture has mean 0 and spread 1 in each class: else one class has the largest score
    everywhere, and its number alone is the whole label map.

    Args:
        seeds: Of the course.
        spec: The network, which has a graph.
        n_class: Number of classes.
        code: Hash of all that the submission's worker can know.
        features: What they read in the network as it is specified, by the name of the layer that gives it: (2, inputs, h, w).

    Returns:
        Canonical name -> weight (n_class, inputs, 1, 1) or bias (n_class,).
    """
    found: dict[str, Tensor] = {}
    channels = spec.chain.channels
    for layer in spec.layers(n_class, {}):
        if layer.path not in channels:
            continue
        name, inputs = layer.path, layer.settings["in_channels"]
        weight = _normal(seeds, f"{spec.name}/{name}", (n_class, inputs, 1, 1), inputs**-0.5, code)
        bias = _normal(seeds, f"{spec.name}/{name}.bias", (n_class,), 0.1, code)
        read = torch.from_numpy(_middle(features[spec.chain.reads[name]])).transpose(0, 1).flatten(1)  # (inputs, 2 h w)
        mean, rows = read.mean(1), weight.flatten(1)
        rows = rows - torch.outer(rows @ mean, mean) / (mean @ mean).clamp_min(1e-12)  # not by the bias: it would drown small factors
        weight = (rows / (rows @ read).std(1, keepdim=True).clamp_min(1e-3)).view_as(weight)
        for path, channel in channels.items():
            if path != name:
                weight[channel], bias[channel] = 0, 0
        found |= {spec.canonical(name, "weight"): weight, spec.canonical(name, "bias"): bias}
    return found


def _middle(maps: np.ndarray) -> np.ndarray:
    """The middle third of maps, where the picture lies within its padding; the coarsest, of a few cells, are left whole."""
    height, width = maps.shape[2:]
    return maps if height < 6 else np.ascontiguousarray(maps[:, :, height // 3 : -(height // 3), width // 3 : -(width // 3)])


def _tail(seeds: Seeds, spec: NetworkSpec, layer: Layer, n_class: int) -> Iterator[tuple[str, Tensor]]:
    """Upsampling that keeps the first three classes apart; score layers are each submission's own."""
    name, settings = layer.path, layer.settings
    if layer.kind == "Conv2d":
        return
    weight = bilinear_weight(n_class, settings["kernel_size"])
    mix = _normal(seeds, f"{spec.name}/{name}", (n_class - 3, n_class - 3, 1, 1), 0.5)
    weight[3:, 3:] = weight[:1, :1] * (mix + torch.eye(n_class - 3)[:, :, None, None])
    yield spec.canonical(name, "weight"), weight


def _drop(seeds: Seeds, spec: NetworkSpec, layer: Layer, n_class: int) -> Iterator[tuple[str, Tensor]]:
    """Tail of the dropout probe: scores that read bits, upsampling that repeats each cell."""
    name, settings = layer.path, layer.settings
    if layer.kind == "ConvTranspose2d":
        size, stride = settings["kernel_size"], settings["stride"]
        weight = torch.zeros(n_class, n_class, size, size)
        weight[range(n_class), range(n_class), :stride, :stride] = 1
        yield spec.canonical(name, "weight", drop=True), weight
        return
    weight = torch.zeros(n_class, settings["in_channels"], 1, 1)
    if name == spec.chain.score:
        for channel, read in enumerate(_drop_channels(seeds, n_class, settings["in_channels"])):
            weight[channel, read, 0, 0] = 2.0 ** torch.arange(DROP_BITS)
    yield spec.canonical(name, "weight", drop=True), weight
    yield spec.canonical(name, "bias", drop=True), torch.zeros(n_class)


def _drop_channels(seeds: Seeds, n_class: int, width: int) -> NDArray[np.int64]:
    """Channels of the head's last layer that each class reads, (n_class, DROP_BITS): three classes of the first half, the others of
    the second."""
    rng, half = seeds.generator("dropout channels"), min(MOST, width // 2)
    both, last = rng.choice(half, (3, DROP_BITS), replace=False), half + rng.choice(half, (n_class - 3, DROP_BITS), replace=False)
    return np.concatenate([both, last])


def head_width(spec: NetworkSpec) -> int:
    """Channels of both layers of the head."""
    return next(layer.settings["out_channels"] for layer in spec.layers(spec.n_class, {}) if layer.path == spec.chain.head[-1])


def drop_silence(
    seeds: Seeds, spec: NetworkSpec, n_class: int, *names: str
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:  # fmt: skip
    """Draw which of the channels that the dropout probe reads give 0 before any dropout: their bits must be 0.

    Args:
        seeds: Of the course.
        spec: The network, which has a graph.
        n_class: Number of classes.
        names: Of the draw: the submission's code, the number of the call.

    Returns:
        For each class the number whose bits are the silent ones, (n_class,); and the biases that make them silent, by canonical name.
    """
    width, (first, last) = head_width(spec), spec.chain.head
    rng, biases = seeds.generator("dropout silence", *names), np.ones(width, np.float32)
    bits = np.stack([rng.choice(DROP_BITS, SILENT_BITS, replace=False) for _ in range(n_class)])  # (n_class, SILENT_BITS)
    biases[np.take_along_axis(_drop_channels(seeds, n_class, width), bits, axis=1)] = 0
    half = np.arange(width) < min(MOST, width // 2)  # the last layer hands these on from the first, and gives the others itself
    silence = {spec.canonical(first, "bias", drop=True): np.where(half, biases, 1),
               spec.canonical(last, "bias", drop=True): np.where(half, 0, biases)}  # fmt: skip
    return (2**bits).sum(1), silence


def probe_weights(seeds: Seeds, specs: Iterable[NetworkSpec], n_class: int) -> Iterator[tuple[str, Tensor]]:
    """The class's hidden weights, one after the other.

    Of networks with a graph: the He-drawn trunk, the upsampling of each, the dropout probe. Those of one assignment share a trunk and
    a head. Of the others: all their tensors.

    Args:
        seeds: Of the course.
        specs: The networks.
        n_class: Number of classes that they are built with.
    """
    yield SPARE, _normal(seeds, SPARE, (2**20,), 1.0)
    done: set[str] = set()
    for spec in specs:
        for layer in spec.layers(n_class, {}):
            if spec.graph is None:
                yield from _whole(seeds, spec, layer)
            elif layer.path in (*spec.graph.score_layers.values(), *spec.graph.ups):
                yield from _tail(seeds, spec, layer, n_class)
                yield from _drop(seeds, spec, layer, n_class)
            elif layer.path not in spec.graph.pools and layer.path not in done:
                done.add(layer.path)
                yield from _trunk(seeds, spec, layer)
    # dropout probe: the trunk is silenced, channels of the head's first layer give 1 or 0; half of its last repeats them, half gives 1
    # or 0 of its own
    for spec in [spec for spec in specs if spec.graph is not None][:1]:
        width = head_width(spec)
        weight = torch.zeros(width, width, 1, 1)
        half = torch.arange(min(MOST, width // 2))
        weight[half, half] = 1
        yield spec.canonical(spec.chain.head[-1], "weight", drop=True), weight


def write_weights(path: Path, weights: Iterable[tuple[str, Tensor]]) -> dict[str, tuple[int, list[int]]]:
    """Write named weights to one flat file of float32, and return its index: name -> (first element, shape)."""
    index, first = {}, 0
    with path.open("wb") as file:
        for name, tensor in weights:
            file.write(tensor.contiguous().numpy().tobytes())
            index[name] = (first, list(tensor.shape))
            first += tensor.numel()
    path.chmod(0o444)
    return index


def _trunk(seeds: Seeds, spec: NetworkSpec, layer: Layer) -> Iterator[tuple[str, Tensor]]:
    s = layer.settings
    shape = (s["out_channels"], s["in_channels"], s["kernel_size"], s["kernel_size"])
    fan_in = s["in_channels"] * s["kernel_size"] ** 2
    yield spec.canonical(layer.path, "weight"), _normal(seeds, layer.path, shape, (2 / fan_in) ** 0.5)
    yield spec.canonical(layer.path, "bias"), _normal(seeds, f"{layer.path}.bias", shape[:1], 0.05)


def _whole(seeds: Seeds, spec: NetworkSpec, layer: Layer) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a layer: weights that keep the signal's size, other numbers near those that a layer begins with."""
    for kind, shape in tensor_shapes(layer).items():
        name = f"{spec.name}/{layer.path}.{kind}"
        if kind == "weight" and len(shape) > 1:
            fan_in = math.prod(shape) / (shape[1] if layer.kind == "ConvTranspose2d" else shape[0])
            yield spec.canonical(layer.path, kind), _normal(seeds, name, shape, (2 / fan_in) ** 0.5)
        elif kind in ("weight", "running_var"):
            yield spec.canonical(layer.path, kind), 1 + 0.5 * torch.tanh(_normal(seeds, name, shape, 1.0))
        else:
            yield spec.canonical(layer.path, kind), _normal(seeds, name, shape, 0.1)
