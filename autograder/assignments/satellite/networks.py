"""The network of the assignment, as its reference has it."""

from collections.abc import Mapping
from typing import Any

import torch

from autograder.segmentation.spec import Graph, NetworkSpec, Upsampling
from segkit.layers import Layer, describe
from segkit.reference.satellite import FCN32s

__all__ = ["FCN32S"]


def _layers(n_class: int, settings: Mapping[str, Any]) -> list[Layer]:
    with torch.device("meta"):
        return describe(FCN32s(n_class))


TRUNK = tuple(layer.path for layer in _layers(7, {}) if layer.path.startswith("features."))
POOLS = frozenset(layer.path for layer in _layers(7, {}) if layer.kind == "MaxPool2d")
GRAPH = Graph(TRUNK, POOLS, (), ("fc6", "fc7"), "score", (Upsampling("upscore"),), lambda settings: {"output": 0})
# multiples of 32, at which the output has the picture's size; the coarse scores have 3 rows or 4, and 2 columns
FCN32S = NetworkSpec("fcn32s", "FCN32s", _layers, (128, 160), (96,), n_class=7, graph=GRAPH, reference=FCN32s, named=False)
