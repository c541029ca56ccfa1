"""The networks of the assignment: FCN-32s and FCN-8s over one VGG-16 trunk."""

from collections.abc import Mapping
from typing import Any

from autograder.segmentation.spec import Graph, NetworkSpec, Skip, Upsampling
from segkit.layers import Layer, expected_layers
from segkit.reference import FCN8s, FCN32s
from segkit.upsampling import crop_offsets

__all__ = ["FCN8S", "FCN32S", "NETWORKS"]

PADDING = 100
BLOCKS = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
TRUNK = tuple(name for block, depth in BLOCKS for name in (*(f"conv{block}_{n}" for n in range(1, depth + 1)), f"pool{block}"))
POOL4, POOL3 = Skip("pool4", "pool4", "score_pool_4"), Skip("pool3", "pool3", "score_pool_3")
# H is one of the sizes at which a trunk without ``ceil_mode`` gives FCN-32s too few rows; W is not. Behind the padding of 100 the
# coarsest maps have 3 rows and 2 columns: were they square, nobody would see rows taken for columns in a skip. Nor is any map of a
# skip twice as high or wide as what it is added to: ``9 : 9 - rows`` would cut the same rows as ``9 : 9 + rows``.
HEIGHTS, WIDTHS = (79, 81), (29, 31, 33, 35, 37)


def _spec(name: str, reference: type, *upsamplings: Upsampling) -> NetworkSpec:
    def layers(n_class: int, settings: Mapping[str, Any]) -> list[Layer]:
        return expected_layers(name, n_class, settings.get("padding", PADDING))

    def crops(settings: Mapping[str, Any]) -> dict[str, int]:
        offsets = crop_offsets(settings.get("padding", PADDING))
        return offsets | {"output": offsets[name]}

    pools = frozenset(layer for layer in TRUNK if layer.startswith("pool"))
    graph = Graph(TRUNK, pools, ("pool4", "pool3"), ("fc6", "fc7"), "score", upsamplings, crops)
    return NetworkSpec(name, reference.__name__, layers, HEIGHTS, WIDTHS, graph=graph, reference=reference)


FCN32S = _spec("fcn32s", FCN32s, Upsampling("transpose_conv"))
FCN8S = _spec("fcn8s", FCN8s, Upsampling("upscore1", POOL4), Upsampling("upscore2", POOL3), Upsampling("upscore3"))
NETWORKS = {spec.name: spec for spec in (FCN32S, FCN8S)}
