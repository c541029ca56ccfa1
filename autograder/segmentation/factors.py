"""Measure what the maps of a network were multiplied by before they arrive in the output, and where they were cropped all the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autograder.segmentation.amount import enough
from autograder.segmentation.shadow import Pieces, Shadow, crop

__all__ = ["Factors", "measure_factors"]

TOLERANCE = 2e-3
Offset = tuple[int, int]
Windows = tuple[Tensor, Tensor, Tensor]
"""What was found, and the signal and the constant that it should be made of."""


@dataclass(frozen=True)
class Factors:
    """What ``measure_factors`` found.

    Attributes:
        factors: Name of the map (``score``, and those of the skips) -> what its values were multiplied by.
        offsets: Crop name -> where it begins.
        pieces: The score maps with those factors.
    """

    factors: dict[str, float]
    offsets: dict[str, Offset]
    pieces: Pieces


def _fit(found: Tensor, signal: Tensor, constant: Tensor) -> tuple[float, float, float]:
    """Factors of a signal and of a constant that explain what was found, and the rest relative to the signal's part."""
    y, a, b = (t.double().reshape(-1) for t in (found, signal, constant))
    aa, ab, bb, ay, by = float(a @ a), float(a @ b), float(b @ b), float(a @ y), float(b @ y)
    determinant = aa * bb - ab * ab
    if determinant > 1e-12 * max(aa * bb, 1e-30):
        first, second = (ay * bb - by * ab) / determinant, (by * aa - ay * ab) / determinant
    else:
        first, second = (ay / aa if aa else 0.0), 0.0
    rest = float((y - first * a - second * b).abs().max())
    return first, second, rest / max(abs(first) * float(a.std()), 1e-30)


def _search(windows: Callable[[Offset], Windows], rows: int, columns: int, first: Offset):
    """The first offset at which the map fits with some positive factor: (offset, factor, factor of the bias), or None."""
    for offset in (first, *((row, column) for row in range(rows + 1) for column in range(columns + 1))):
        found, signal, constant = windows(offset)
        if signal.shape != found.shape:
            continue
        factor, bias, rest = _fit(found, signal, constant)
        if rest <= TOLERANCE and factor > 0 and enough("crop", signal):
            return offset, factor, bias
    return None


def measure_factors(
    found: Tensor, shadow: Shadow, pieces: Pieces, expected: Mapping[str, Offset], silent: tuple[str, ...]
) -> Factors | None:
    """Fit each map of scores, which one class of the probe shows alone, with a factor of its own.

    Args:
        found: The output.
        shadow: The network it should be, given its layers.
        pieces: The score maps before any crop.
        expected: The rubric's offsets, tried first.
        silent: Skips of which nothing arrives.

    Returns:
        What was found; None if some map fits nowhere.
    """
    graph, factors, scaled = shadow.graph, {}, {}
    offsets: dict[str, Offset] = {}
    sizes = _sizes(shadow, pieces["score"][:, :1])
    for name, layer in graph.score_layers.items():
        full, bias = pieces[name], shadow.bias(layer).view(1, -1, 1, 1)
        if name in silent:
            scaled[name] = torch.zeros_like(full)
            continue
        channel = graph.channels[layer]
        own = found[:, channel : channel + 1]
        signal, constant = (full - bias)[:, channel : channel + 1], bias.expand_as(full)[:, channel : channel + 1]
        if name == "score":
            maps = [shadow.raised(graph.ups, part, channel) for part in (signal, constant)]

            def windows(offset: Offset, own: Tensor = own, maps: list[Tensor] = maps) -> Windows:
                return own, crop(maps[0], offset, own.shape[2:]), crop(maps[1], offset, own.shape[2:])

            room, first = maps[0].shape[2:], expected["output"]
            place = _search(windows, room[0] - own.shape[2], room[1] - own.shape[3], first)
        else:
            size, steps = sizes[name], graph.above(name)

            def skip_windows(
                offset: Offset, own: Tensor = own, parts: tuple[Tensor, Tensor] = (signal, constant), size: torch.Size = size,
                steps: Sequence[str] = steps, channel: int = channel,
            ) -> Windows:  # fmt: skip
                cut = [crop(part, offset, size) for part in parts]
                if cut[0].shape[2:] != size:
                    return own, own[..., :0], own[..., :0]
                raised = [crop(shadow.raised(steps, part, channel), offsets["output"], own.shape[2:]) for part in cut]
                return own, raised[0], raised[1]

            place = _search(skip_windows, full.shape[2] - size[0], full.shape[3] - size[1], expected[name])
        if place is None:
            return None
        offsets["output" if name == "score" else name], factors[name], constant_factor = place
        scaled[name] = (full - bias) * factors[name] + bias * constant_factor
    return Factors(factors, offsets, {**pieces, **scaled})


def _sizes(shadow: Shadow, x: Tensor) -> dict[str, torch.Size]:
    """Name of each skip -> size of the map that it is added to."""
    sizes = {}
    for up in shadow.graph.upsamplings:
        x = shadow.upsample(up.layer, x, 0)
        if up.skip is not None:
            sizes[up.skip.name] = x.shape[2:]
    return sizes
