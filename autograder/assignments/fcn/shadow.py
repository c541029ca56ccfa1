"""What a student's network must compute, given the layers it has: the reference with the student's own hyper-parameters.

A wrong hyper-parameter is charged by ``*.layers``; crops and values are judged as if it were meant, so that one mistake
costs once. With the right layers this is the reference network.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autograder.assignments.fcn.gate_network import BLOCKS, STEPS, crop
from autograder.assignments.fcn.probe import canonical
from segkit.subject import StudentError

__all__ = ["Pieces", "Shadow", "fitted"]

DEARER = 12
"""How many times the work, or the largest maps, of the network of the paper is computed: a stride that was forgotten costs four times."""

WIDER = 64  # the same of a map in which offsets are searched

MAX_WEIGHTS = 2**28  # values of one layer, 1 GiB; fc6 has two fifths of that


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


@dataclass(frozen=True)
class Pieces:
    """Score maps before any crop: (2, n_class, h, w) float32 each; pool4 and pool3 only for FCN-8s."""

    score: Tensor
    pool4: Tensor | None = None
    pool3: Tensor | None = None


class Shadow:
    """A network given by its layers' hyper-parameters.

    Args:
        network: ``"fcn32s"`` or ``"fcn8s"``.
        settings: Specified layer name -> the hyper-parameters the student's layer has.
        weights: The hidden weights by their canonical names.
    """

    def __init__(self, network: str, settings: Mapping[str, Mapping], weights: Mapping[str, Tensor]) -> None:
        self.network, self.settings, self.weights = network, settings, weights

    def pair(self, value) -> tuple[int, int]:
        """Rows and columns of a hyper-parameter."""
        return (value, value) if isinstance(value, int) else tuple(value)

    def _convolve(self, name: str, x: Tensor) -> Tensor:
        s = self.settings[name]
        kernel = self.pair(s["kernel_size"])
        shape = (s["out_channels"], s["in_channels"] // s["groups"], *kernel)
        weight = fitted(self.weights[canonical(self.network, name, "weight")], shape)
        bias = fitted(self.weights[canonical(self.network, name, "bias")], shape[:1]) if s["bias"] else None
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
        weight = fitted(self.weights[canonical(self.network, name, "weight")], shape)
        if channel is not None:
            weight = weight[channel : channel + 1, channel : channel + 1]
        return F.conv_transpose2d(x, weight, None, self.pair(s["stride"]), self.pair(s["padding"]),
                                  self.pair(s["output_padding"]))  # fmt: skip

    def bias(self, name: str) -> Tensor:
        """Bias of a convolution: (channels,), zero where it has none."""
        s = self.settings[name]
        shape = (s["out_channels"],)
        return fitted(self.weights[canonical(self.network, name, "bias")], shape) if s["bias"] else torch.zeros(shape)

    def refuse_too_large(self, size: tuple[int, int], usual: "Shadow") -> None:
        """Compute no network of which a student's layers were only said to be so: what it costs is known before.

        Args:
            size: H and W of the images.
            usual: The network with the layers of the specification.

        Raises:
            StudentError: ``layer.too_large``; the text names the layer.
            ValueError, TypeError, ArithmeticError: The layers fit no network at all.
        """
        known = {cost[0]: cost for cost in usual._costs(size)}
        work, largest = (DEARER * count for count in (sum(c[1] for c in known.values()), max(c[2] for c in known.values())))
        other = ""  # the first layer that differs
        for name, operations, values, weights in self._costs(size):
            other = other or (name if dict(self.settings[name]) != dict(usual.settings[name]) else "")
            work -= operations
            most = WIDER * known[name][2] if "output_padding" in self.settings[name] else largest
            if work < 0 or values > most or weights > MAX_WEIGHTS:
                settings = ", ".join(f"{key}={value}" for key, value in self.settings[other or name].items())
                raise StudentError(
                    f"{other or name}: expected a layer of about the size of the paper's, but got one with which the network takes more "
                    f"than {DEARER} times the work or memory ({settings}).", "layer.too_large"
                )  # fmt: skip

    def _costs(self, size: tuple[int, int]) -> Iterator[tuple[str, int, int, int]]:
        """Layer by layer: name, multiplications for an image, values that it reads and writes, values of its weights."""
        maps: dict[str, tuple[int, int, int]] = {}

        def run(name: str, before: tuple[int, int, int]) -> tuple[str, int, int, int]:
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
            return name, pixels * (weights or channels * area), math.prod(before) + math.prod(found), weights

        name, maps[""] = "", (3, *size)
        chain = [layer for block, depth in BLOCKS for layer in (*(f"conv{block}_{n}" for n in range(1, depth + 1)), f"pool{block}")]
        for layer in [*chain, "fc6", "fc7", "score", *(step for step, _ in STEPS[self.network])]:
            yield run(layer, maps[name])
            name = layer
        for _, pool in STEPS[self.network]:
            if pool is not None:
                yield run(f"score_{pool[:4]}_{pool[4:]}", maps[pool])

    def key(self) -> str:
        """Hash of everything that the features depend on; both networks have the same trunk."""
        trunk = {name: dict(s) for name, s in sorted(self.settings.items()) if name.startswith(("conv", "pool", "fc"))}
        return f"features-{hashlib.sha256(json.dumps(trunk, sort_keys=True, default=str).encode()).hexdigest()[:24]}"

    @torch.no_grad()
    def features(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run trunk and head in eval mode: what is the same for all submissions with these layers.

        Args:
            images: ``(2, 3, H, W)``.

        Returns:
            ``fc7``, ``pool4`` and ``pool3``: what the score layers read.
        """
        x, maps = torch.from_numpy(images), {}
        for block, depth in BLOCKS:
            for index in range(1, depth + 1):
                x = F.relu(self._convolve(f"conv{block}_{index}", x))
            x = maps[f"pool{block}"] = self.pool(f"pool{block}", x)
        x = F.relu(self._convolve("fc7", F.relu(self._convolve("fc6", x))))
        return {"fc7": x.numpy(), "pool4": maps["pool4"].numpy(), "pool3": maps["pool3"].numpy()}

    @torch.no_grad()
    def pieces(self, features: Mapping[str, NDArray[np.float32]]) -> Pieces:
        """Run the score layers, which are one submission's own, on features."""
        maps = {name: torch.from_numpy(value) for name, value in features.items()}
        found = {"score": self._convolve("score", maps["fc7"])}
        if self.network == "fcn8s":
            found["pool4"] = self._convolve("score_pool_4", maps["pool4"])
            found["pool3"] = self._convolve("score_pool_3", maps["pool3"])
        return Pieces(**found)

    def compose(self, pieces: Pieces, offsets: Mapping[str, tuple[int, int]], size: tuple[int, int]) -> Tensor | None:
        """Put the maps together with given crops.

        Args:
            pieces: The maps.
            offsets: ``output`` and, for FCN-8s, ``pool4`` and ``pool3``: (row, column) where each crop begins.
            size: Rows and columns of the output.

        Returns:
            The logits, smaller than ``size`` where the maps do not reach; None if the crops do not fit together.
        """
        if self.network == "fcn32s":
            full = self.upsample("transpose_conv", pieces.score)
            return crop(full, offsets["output"], size)
        fused = self.upsample("upscore1", pieces.score)
        fused = _add(fused, crop(pieces.pool4, offsets["pool4"], fused.shape[2:]))
        fused = None if fused is None else self.upsample("upscore2", fused)
        fused = None if fused is None else _add(fused, crop(pieces.pool3, offsets["pool3"], fused.shape[2:]))
        return None if fused is None else crop(self.upsample("upscore3", fused), offsets["output"], size)


def _add(a: Tensor, b: Tensor) -> Tensor | None:
    return a + b if a.shape == b.shape else None
