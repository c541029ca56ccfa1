"""What a network of an assignment is to be, as data: its layers, its sizes, and (where it is a chain) how its layers hang together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import nn

from segkit.layers import Layer

__all__ = ["Graph", "NetworkSpec", "Part", "Skip", "Upsampling"]

Size = tuple[int, int]


@dataclass(frozen=True)
class Skip:
    """Scores of an earlier map, which are cropped and added to the upsampled ones.

    Attributes:
        name: Of its crop and of its map of scores.
        tap: Layer of the trunk whose output it reads.
        layer: Its score layer.
    """

    name: str
    tap: str
    layer: str


@dataclass(frozen=True)
class Upsampling:
    """A transposed convolution, and the skip that is added to what it gives."""

    layer: str
    skip: Skip | None = None


@dataclass(frozen=True)
class Graph:
    """How the layers of a fully convolutional network hang together: trunk, head, scores, upsamplings with their skips, crop.

    Attributes:
        trunk: Convolutions, each followed by a ReLU, and pools, in the order in which they run.
        pools: Those of the trunk that are pools.
        taps: Layers of the trunk whose maps are kept: those that any network with this trunk reads.
        head: Two convolutions behind the trunk, each followed by a ReLU and dropout with p = 0.5.
        score: The layer that gives the coarse scores.
        upsamplings: From the coarse scores to the pixels.
        crops: Settings of the rubric -> where each crop begins, the same for rows and columns: ``output`` and the names of the skips.
    """

    trunk: tuple[str, ...]
    pools: frozenset[str]
    taps: tuple[str, ...]
    head: tuple[str, str]
    score: str
    upsamplings: tuple[Upsampling, ...]
    crops: Callable[[Mapping[str, Any]], dict[str, int]]

    @cached_property
    def skips(self) -> tuple[Skip, ...]:
        """The skips, the coarsest first."""
        return tuple(up.skip for up in self.upsamplings if up.skip is not None)

    @cached_property
    def ups(self) -> tuple[str, ...]:
        """Names of the upsamplings."""
        return tuple(up.layer for up in self.upsamplings)

    @cached_property
    def score_layers(self) -> dict[str, str]:
        """Map of scores (``score``, and the names of the skips) -> the layer that gives it."""
        return {"score": self.score} | {skip.name: skip.layer for skip in self.skips}

    @cached_property
    def channels(self) -> dict[str, int]:
        """Score layer -> the class of the probe that shows it alone."""
        return {layer: number for number, layer in enumerate(self.score_layers.values())}

    @cached_property
    def reads(self) -> dict[str, str]:
        """Score layer -> the layer whose map it reads."""
        return {self.score: self.head[-1]} | {skip.layer: skip.tap for skip in self.skips}

    @cached_property
    def last_convolution(self) -> str:
        """Of the trunk."""
        return next(name for name in reversed(self.trunk) if name not in self.pools)

    def above(self, name: str) -> tuple[str, ...]:
        """Upsamplings that a map of scores passes on its way to the pixels."""
        first = next((number for number, up in enumerate(self.upsamplings, 1) if up.skip is not None and up.skip.name == name), 0)
        return self.ups[first:]


@dataclass(frozen=True)
class Part:
    """A module that is built first and given to a network's constructor.

    Attributes:
        name: A class of the student's, or one of torchvision (``"torchvision.models:resnet18"``).
        parameter: What the network's constructor calls it, for messages.
        arguments: Of its constructor.
    """

    name: str
    parameter: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _same(size: Size) -> Size:
    return size


@dataclass(frozen=True)
class NetworkSpec:
    """A network of an assignment.

    With a ``graph`` crops, values and dropout are judged from one output, each apart from the others. Without one the layer table,
    the reference under the same weights, and the shapes judge.

    Attributes:
        name: Of its checks (``fcn32s.layers``), its checkpoint and its weights.
        class_name: Of the student's class.
        layers: (number of classes, settings of the rubric) -> the layers that it must have.
        heights: Rows in pixels of which a probe image has one number.
        widths: Columns, as above.
        n_class: Number of classes where none is given.
        parts: Modules that its constructor takes before ``n_class``.
        output_size: (H, W) of the images -> that of the output.
        graph: How the layers hang together, or None.
        reference: Number of classes -> the network as it is to be, whose parameters have the names of the table; None where only
            behaviour counts.
        named: Whether the names of the layers are asked for.
        bilinear: Whether transposed convolutions begin as bilinear upsampling.
        maps: Names of the maps that it returns in a dictionary, in the place of scores; empty for a network that gives scores.
    """

    name: str
    class_name: str
    layers: Callable[[int, Mapping[str, Any]], list[Layer]]
    heights: tuple[int, ...]
    widths: tuple[int, ...]
    n_class: int = 12
    parts: tuple[Part, ...] = ()
    output_size: Callable[[Size], Size] = _same
    graph: Graph | None = None
    reference: Callable[[int], nn.Module] | None = None
    named: bool = True
    bilinear: bool = True
    maps: tuple[str, ...] = ()

    @property
    def chain(self) -> Graph:
        """The graph of a network that has one."""
        assert self.graph is not None, f"{self.name} has no graph"
        return self.graph

    @property
    def signature(self) -> str:
        """Of the constructor, as messages show it."""
        return f"__init__(self, {''.join(f'{part.parameter}, ' for part in self.parts)}n_class={self.n_class})"

    @cached_property
    def class_layers(self) -> frozenset[str]:
        """Names of the layers whose width is the number of classes."""
        pairs = zip(self.layers(self.n_class, {}), self.layers(self.n_class + 1, {}), strict=True)
        return frozenset(one.path for one, other in pairs if one.settings.get("out_channels") != other.settings.get("out_channels"))

    @property
    def class_score(self) -> str:
        """The layer in which the number of classes is looked for; empty where no layer has it."""
        widths = [layer.path for layer in self.layers(self.n_class, {}) if layer.path in self.class_layers]
        return self.graph.score if self.graph else (widths or [""])[-1]

    def offsets(self, settings: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
        """Crop name -> (row, column) where it begins, by the rubric."""
        if self.graph is None:
            return {}
        crops = self.graph.crops(settings)
        return {name: (crops[name], crops[name]) for name in ("output", *(skip.name for skip in self.graph.skips))}

    def canonical(self, layer: str, kind: str, drop: bool = False) -> str:
        """Name in the weight file of a layer's tensor; ``drop``: that of the dropout probe, which has a head and a tail of its own.

        Trunk and head of a chain are those of all networks of the assignment; any other layer is the network's own.
        """
        shared = self.graph is not None and layer in (*self.graph.trunk, *self.graph.head)
        probe = "drop/" if drop and not (shared and layer in self.chain.trunk) else ""
        return f"{probe}{layer}.{kind}" if shared else f"{probe}{self.name}/{layer}.{kind}"
