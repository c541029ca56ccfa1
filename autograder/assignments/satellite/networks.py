"""The networks of the assignment, as its references have them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from autograder.segmentation.spec import Graph, NetworkSpec, Upsampling
from segkit.layers import Layer, describe
from segkit.reference.satellite import Classifier, FCN8s, FCN16s, FCN32s

__all__ = ["CLASSIFIER", "FCN8S", "FCN16S", "FCN32S", "NETWORKS", "own_layers", "without"]

Sizes = tuple[tuple[int, ...], tuple[int, ...]]
SIZES = (128, 160), (96,)  # multiples of 32, at which the output has the picture's size; coarse scores of 3 or 4 rows, 2 columns


def _spec(name: str, reference: type[nn.Module], n_class: int = 7, sizes: Sizes = SIZES) -> NetworkSpec:
    def layers(n_class: int, settings: Mapping[str, Any]) -> list[Layer]:
        with torch.device("meta"):
            return describe(reference(n_class))

    return NetworkSpec(name, reference.__name__, layers, *sizes, n_class=n_class, reference=reference, named=False, bilinear=False)


def own_layers(spec: NetworkSpec, n_class: int, settings: Mapping[str, Any]) -> list[Layer]:
    """Layers of a network that FCN-32s has not, or has with other numbers: those that need weights of their own."""
    known = {layer.path: layer for layer in FCN32S.layers(n_class, settings) if layer.path not in ("score", "upscore")}
    return [layer for layer in spec.layers(n_class, settings) if layer != known.get(layer.path.removeprefix("vgg."))]


def without(spec: NetworkSpec, term: str) -> NetworkSpec:
    """The same network in which one of the maps is not added."""
    reference: Any = spec.reference

    class Without(reference):
        def terms(self, *maps: Tensor) -> dict[str, Tensor]:
            return {name: value for name, value in super().terms(*maps).items() if name != term}

    return replace(spec, reference=Without)


PLAIN = _spec("fcn32s", FCN32s)
TRUNK = tuple(layer.path for layer in PLAIN.layers(7, {}) if layer.path.startswith("features."))
POOLS = frozenset(layer.path for layer in PLAIN.layers(7, {}) if layer.kind == "MaxPool2d")
GRAPH = Graph(TRUNK, POOLS, (), ("fc6", "fc7"), "score", (Upsampling("upscore"),), lambda settings: {"output": 0})
FCN32S = replace(PLAIN, graph=GRAPH, bilinear=True)
# fused in feature space, which is no chain with skips of scores: judged by the table, the reference, and what its paths do
FCN16S, FCN8S = _spec("fcn16s", FCN16s), _spec("fcn8s", FCN8s)
CLASSIFIER = _spec("classifier", Classifier, 50, ((32,), (32,)))
NETWORKS = {spec.name: spec for spec in (CLASSIFIER, FCN32S, FCN16S, FCN8S)}
