"""Measure crops where the values are wrong: weights that carry nothing but positions through a network.

Every convolution passes its first channel on, unchanged and centred; so a ReLU left out, a layer used twice or a dropout that
is active at test time leaves no more than a factor for each image, and the crops still show. A wrong value then costs ``*.forward`` only.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autograder.judge.student import Student
from autograder.segmentation.amount import of_the_pictures_size
from autograder.segmentation.offsets import Offset, fits_cell_by_cell, measure_paths
from autograder.segmentation.shadow import Pieces, Shadow
from autograder.segmentation.spec import Graph

__all__ = ["position_offsets"]

WIDE = 16
"""Channels of the head that repeat the signal: dropout does not take them all."""


def _taps(graph: Graph, name: str) -> list[tuple[int, int, float]]:
    """(output channel, input channel, weight) of a layer's taps, all at the kernel's centre."""
    if name == graph.head[0]:
        return [(channel, 0, 1.0) for channel in range(WIDE)]
    if name == graph.head[1]:
        return [(channel, channel, 1.0) for channel in range(WIDE)]
    if name == graph.score:
        return [(graph.channels[name], channel, 1 / WIDE) for channel in range(WIDE)]
    return [(graph.channels.get(name, 0), 0, 1.0)]


def _load(student: Student, handle: str, shadow: Shadow, paths: dict[str, str]) -> None:
    """Give a network the weights that carry positions; its upsampling keeps the probe's."""
    shapes = student.shapes(handle)
    up = [name for name in paths if name in shadow.graph.ups]
    source = {f"{paths[name]}.weight": shadow.spec.canonical(name, "weight") for name in up}
    student.load(handle, source, [key for key in shapes if key not in source])
    for name, path in paths.items():
        shape = shapes.get(f"{path}.weight")
        if name in up or shape is None:
            continue
        for output, inside, value in _taps(shadow.graph, name):
            index = np.ravel_multi_index((output, inside, shape[2] // 2, shape[3] // 2), shape)
            student.change(handle, f"{path}.weight", int(index), value)


def _centre(shadow: Shadow, name: str, x: Tensor) -> Tensor:
    """Pass a map through a convolution that looks at its kernel's centre alone."""
    s = shadow.settings[name]
    height, width = shadow.pair(s["kernel_size"])
    weight = torch.zeros(1, 1, height, width)
    weight[0, 0, height // 2, width // 2] = 1
    return F.conv2d(x, weight, None, shadow.pair(s["stride"]), shadow.pair(s["padding"]), shadow.pair(s["dilation"]))


def _pieces(shadow: Shadow, images: NDArray[np.float32], n_class: int) -> Pieces:
    """The score maps that these weights must give."""
    x, maps, graph = torch.from_numpy(images[:, :1]), {}, shadow.graph
    for name in (*graph.trunk, *graph.head):
        x = maps[name] = shadow.pool(name, x) if name in graph.pools else _centre(shadow, name, x)
    found = {}
    for piece, name in graph.score_layers.items():
        value = _centre(shadow, name, maps[graph.reads[name]])
        found[piece] = torch.zeros(len(value), n_class, *value.shape[2:])
        found[piece][:, graph.channels[name]] = value[:, 0]
    return found


def position_offsets(
    student: Student, handle: str, shadow: Shadow, paths: dict[str, str], images: NDArray[np.float32],
    expected: dict[str, Offset], n_class: int, run: Callable[[NDArray], NDArray],
) -> tuple[dict[str, Offset], list[str]]:  # fmt: skip
    """Measure the crops of a network whose values are not the expected ones.

    Args:
        student: The fixture.
        handle: The network; its weights are overwritten.
        shadow: The network it should be, given its layers.
        paths: Specified layer name -> path of the student's layer; all must be there.
        images: ``(N, 3, H, W)``.
        expected: The rubric's offsets.
        n_class: Number of classes that the network has.
        run: Runs it on images.

    Returns:
        Offsets by crop name as far as they can be measured, and the skips of which nothing arrives.

    Raises:
        StudentError: If the forward call fails.
        RuntimeError: If the layers do not fit together.
    """
    if any(name not in paths for name in shadow.settings):
        return {}, []
    images = np.abs(images)  # a ReLU passes it whole
    _load(student, handle, shadow, paths)

    def ran(images: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(run(images)))

    found, pieces = ran(images), _pieces(shadow, images, n_class)
    if not found.is_floating_point() or found.dim() != 4 or not of_the_pictures_size(found, images.shape, n_class):
        return {}, []
    offsets, silent = measure_paths(found, shadow, pieces, expected, scaled=True)
    if offsets.get("output") != expected["output"]:
        return offsets, silent
    fits = partial(fits_cell_by_cell, shadow=shadow, names=shadow.graph.ups, offset=expected["output"])
    if not fits(found[:, :1], score=pieces["score"]):
        return offsets, silent
    # it is the upsampling of something, perhaps of noise: where a part of the picture is another one, just its cells must be others
    changed = images.copy()
    changed[:, :, : images.shape[2] // 2] *= 2
    again, moved = ran(changed), _pieces(shadow, changed, n_class)["score"] - pieces["score"]
    if not moved.any() or (again.shape == found.shape and fits((again - found)[:, :1], score=moved)):
        return offsets, silent
    return {}, []
