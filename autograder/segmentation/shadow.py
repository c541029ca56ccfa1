"""What a student's network must compute, given the layers it has: the reference with the student's own hyper-parameters.

A wrong hyper-parameter is charged by ``*.layers``; crops and values are judged as if it were meant, so that one mistake
costs once. With the right layers this is the reference network.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autograder.segmentation.gate_network import crop
from autograder.segmentation.spec import Graph, NetworkSpec
from segkit.subject import StudentError

__all__ = ["Cost", "Pieces", "Shadow", "fitted"]

DEARER = 12
"""How many times the work, or the largest maps, of the network of the paper is computed: a stride that was forgotten costs four times."""

WIDER = 64  # the same of a map in which offsets are searched

MAX_WEIGHTS = 2**28  # values of one layer, 1 GiB; fc6 has two fifths of that


class Cost(NamedTuple):
    """What a layer costs before anything is computed.

    Attributes:
        layer: Its name.
        operations: Multiplications.
        values: Of the maps that it reads and writes, or only writes.
        weights: Values of its weights.
    """

    layer: str
    operations: int
    values: int
    weights: int


def fitted(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Cut or fill a tensor to a shape, as a worker does when a layer has another size than the specification."""
    if tuple(values.shape) == tuple(shape):
        return values
    if values.dim() != len(shape):
        return values.reshape(shape)
    window = tuple(slice(0, min(a, b)) for a, b in zip(values.shape, shape, strict=True))
    result = torch.zeros(shape)
    result[window] = values[window]
    return result


Pieces = dict[str, Tensor]
"""Maps of scores before any crop, by their names (``score``, and those of the skips): (2, n_class, h, w) float32 each."""


class Weights(Protocol):
    """Tensors by their names."""

    def __getitem__(self, name: str, /) -> Tensor: ...


class Shadow:
    """A network given by its layers' hyper-parameters.

    Args:
        spec: The network, which has a graph.
        settings: Specified layer name -> the hyper-parameters the student's layer has.
        weights: The hidden weights by their canonical names.
    """

    def __init__(self, spec: NetworkSpec, settings: Mapping[str, Mapping], weights: Weights) -> None:
        self.spec, self.settings, self.weights = spec, settings, weights

    @property
    def graph(self) -> Graph:
        """How the layers hang together."""
        return self.spec.chain

    def pair(self, value) -> tuple[int, int]:
        """Rows and columns of a hyper-parameter."""
        return (value, value) if isinstance(value, int) else tuple(value)

    def _convolve(self, name: str, x: Tensor) -> Tensor:
        s = self.settings[name]
        kernel = self.pair(s["kernel_size"])
        shape = (s["out_channels"], s["in_channels"] // s["groups"], *kernel)
        weight = fitted(self.weights[self.spec.canonical(name, "weight")], shape)
        bias = fitted(self.weights[self.spec.canonical(name, "bias")], shape[:1]) if s["bias"] else None
        options = (self.pair(s["stride"]), self.pair(s["padding"]), self.pair(s["dilation"]), s["groups"])
        return F.conv2d(x, weight, bias, *options)

    def pool(self, name: str, x: Tensor) -> Tensor:
        """Max pool ``name``."""
        s = self.settings[name]
        pair = self.pair
        options = (pair(s["kernel_size"]), pair(s["stride"]), pair(s["padding"]), pair(s["dilation"]), s["ceil_mode"])
        return F.max_pool2d(x, *options)

    def upsample(self, name: str, x: Tensor, channel: int | None = None) -> Tensor:
        """Transposed convolution ``name``; of one channel alone where it is given (the probe keeps channels apart)."""
        s = self.settings[name]
        shape = (s["in_channels"], s["out_channels"] // s["groups"], *self.pair(s["kernel_size"]))
        weight = fitted(self.weights[self.spec.canonical(name, "weight")], shape)
        if channel is not None:
            weight = weight[channel : channel + 1, channel : channel + 1]
        return F.conv_transpose2d(x, weight, None, self.pair(s["stride"]), self.pair(s["padding"]),
                                  self.pair(s["output_padding"]))  # fmt: skip

    def bias(self, name: str) -> Tensor:
        """Bias of a convolution: (channels,), zero where it has none."""
        s = self.settings[name]
        shape = (s["out_channels"],)
        return fitted(self.weights[self.spec.canonical(name, "bias")], shape) if s["bias"] else torch.zeros(shape)

    def refuse_too_large(self, size: tuple[int, int], usual: "Shadow") -> None:
        """Compute no network of which a student's layers were only said to be so: what it costs is known before.

        Args:
            size: H and W of the images.
            usual: The network with the layers of the specification.

        Raises:
            StudentError: ``layer.too_large``; the text names the layer.
            ValueError, TypeError, ArithmeticError: The layers fit no network at all.
        """
        known = {cost.layer: cost for cost in usual._costs(size)}
        work, largest = DEARER * sum(c.operations for c in known.values()), DEARER * max(c.values for c in known.values())
        other = ""  # the first layer that differs
        for name, operations, values, weights in self._costs(size):
            other = other or (name if dict(self.settings[name]) != dict(usual.settings[name]) else "")
            work -= operations
            most = WIDER * known[name].values if "output_padding" in self.settings[name] else largest
            if work < 0 or values > most or weights > MAX_WEIGHTS:
                settings = ", ".join(f"{key}={value}" for key, value in self.settings[other or name].items())
                raise StudentError(
                    f"{other or name}: expected a layer of about the size of the paper's, but got one with which the network takes more "
                    f"than {DEARER} times the work or memory ({settings}).", "layer.too_large"
                )  # fmt: skip

    def _costs(self, size: tuple[int, int]) -> Iterator[Cost]:
        """Layer by layer, for one image."""
        maps: dict[str, tuple[int, int, int]] = {}

        def run(name: str, before: tuple[int, int, int]) -> Cost:
            s = self.settings[name]
            kernel, stride, padding = (self.pair(s[key]) for key in ("kernel_size", "stride", "padding"))
            dilation, area = self.pair(s["dilation"]), kernel[0] * kernel[1]
            reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
            if "output_padding" in s:
                after = [(n - 1) * t - 2 * p + r for n, t, p, r in zip(before[1:], stride, padding, reach, strict=True)]
            else:
                after = [-((r - n - 2 * p) // t) + 1 for n, t, p, r in zip(before[1:], stride, padding, reach, strict=True)]
            channels = s.get("out_channels", before[0])
            maps[name] = found = (channels, *after)
            if min(found) < 1:
                raise ValueError(f"{name} gives nothing")
            weights = channels * s.get("in_channels", 0) // s.get("groups", 1) * area
            pixels = math.prod(before[1:]) if "output_padding" in s else math.prod(after)
            return Cost(name, pixels * (weights or channels * area), math.prod(before) + math.prod(found), weights)

        name, maps[""] = "", (3, *size)
        graph = self.graph
        for layer in [*graph.trunk, *graph.head, graph.score, *graph.ups]:
            yield run(layer, maps[name])
            name = layer
        for skip in graph.skips:
            yield run(skip.layer, maps[skip.tap])

    def key(self) -> str:
        """Hash of everything that the features depend on; networks of one trunk share it."""
        trunk = {name: dict(s) for name, s in sorted(self.settings.items()) if name in (*self.graph.trunk, *self.graph.head)}
        everything = {**trunk, "": [self.spec.heights, self.spec.widths, self.graph.taps]}
        return f"features-{hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()[:24]}"

    @torch.no_grad()
    def features(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run trunk and head in eval mode: what is the same for all submissions with these layers.

        Args:
            images: ``(2, 3, H, W)``.

        Returns:
            What the score layers read, by the name of the layer that gives it: the last of the head, and the taps.
        """
        x, maps, graph = torch.from_numpy(images), {}, self.graph
        for name in graph.trunk:
            x = self.pool(name, x) if name in graph.pools else F.relu(self._convolve(name, x))
            if name in graph.taps:
                maps[name] = x.numpy()
        for name in graph.head:
            x = F.relu(self._convolve(name, x))
        return {graph.head[-1]: x.numpy(), **maps}

    @torch.no_grad()
    def pieces(self, features: Mapping[str, NDArray[np.float32]]) -> Pieces:
        """Run the score layers, which are one submission's own, on features."""
        layers, reads = self.graph.score_layers, self.graph.reads
        return {name: self._convolve(layer, torch.from_numpy(features[reads[layer]])) for name, layer in layers.items()}

    def compose(self, pieces: Pieces, offsets: Mapping[str, tuple[int, int]], size: tuple[int, ...]) -> Tensor | None:
        """Put the maps together with given crops.

        Args:
            pieces: The maps.
            offsets: ``output`` and the names of the skips: (row, column) where each crop begins.
            size: Rows and columns of the output.

        Returns:
            The logits, smaller than ``size`` where the maps do not reach; None if the crops do not fit together.
        """
        x = pieces["score"]
        for up in self.graph.upsamplings:
            x = self.upsample(up.layer, x)
            if up.skip is not None:
                skip = crop(pieces[up.skip.name], offsets[up.skip.name], x.shape[2:])
                if skip.shape != x.shape:
                    return None
                x = x + skip
        return crop(x, offsets["output"], size)

    def raised(self, steps: Sequence[str], x: Tensor, channel: int | None = None) -> Tensor:
        """Pass a map through several upsamplings."""
        for step in steps:
            x = self.upsample(step, x, channel)
        return x
