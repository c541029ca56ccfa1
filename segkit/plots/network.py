"""A network drawn from itself: its layers as they run, the sizes they give, and the skips between them.

Nothing is assumed about the class. Hooks note each layer's output while the network runs (on the meta device, so
without memory or arithmetic); the graph that autograd builds tells where a layer's input came from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor, nn
from torch.func import functional_call

from segkit.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PINK, Picture, bare, styled

__all__ = ["network", "trace"]

KINDS: dict[str, tuple[str, type[nn.Module] | tuple[type[nn.Module], ...]]] = {
    "convolution": (BLUE, nn.Conv2d),
    "pooling": (ORANGE, (nn.MaxPool2d, nn.AvgPool2d)),
    "1 x 1 convolution": (GREEN, ()),
    "transposed convolution": (PINK, nn.ConvTranspose2d),
}


@dataclass
class Step:
    """One layer as it ran.

    Attributes:
        name: dotted name of the module.
        kind: a key of ``KINDS``.
        shape: (channels, height, width) of its output.
        sources: names of the layers whose outputs made its input; ``input`` for the image.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    sources: list[str] = field(default_factory=list)


def trace(model: nn.Module, size: tuple[int, int]) -> list[Step]:
    """Run a network once and note its convolutions and pools in order, with sizes and sources.

    Args:
        model: any network over images (1, 3, H, W); left as it is.
        size: (H, W) of the image.

    Returns:
        The steps; the last one is called ``output``, and its shape is that of the network's output.
    """
    steps: list[Step] = []
    made: dict[object, str] = {}  # node of the autograd graph -> layer whose output it made
    hooks = []
    for name, module in model.named_modules():
        kind = _kind(module)
        if kind:
            hooks.append(module.register_forward_hook(_note(name, kind, steps, made)))
    try:
        output = _run(model, size)
        if output.grad_fn is None:
            raise ValueError(f"{type(model).__name__}: the output does not depend on any layer.")
        steps.append(Step("output", "output", _shape(output), _sources(output, made)))
    finally:
        for hook in hooks:
            hook.remove()
    return steps


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
        return "1 x 1 convolution"
    return next((kind for kind, (_, types) in KINDS.items() if isinstance(module, types)), None)


def _shape(output: Tensor) -> tuple[int, int, int]:
    return cast("tuple[int, int, int]", tuple(output.shape[1:]))


def _note(name: str, kind: str, steps: list[Step], made: dict[object, str]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        steps.append(Step(name, kind, _shape(output), _sources(inputs[0], made)))
        made[output.grad_fn] = name  # a reference, so that no other node gets its id before the end

    return hook


def _run(model: nn.Module, size: tuple[int, int]) -> Tensor:
    """Forward on the meta device; where a forward cannot run there, on its own."""
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.enable_grad():
            try:
                meta = {k: v.detach().to("meta").requires_grad_(v.is_floating_point()) for k, v in state.items()}
                output: Tensor = functional_call(model, meta, (torch.zeros(1, 3, *size, device="meta"),))
            except (RuntimeError, NotImplementedError, ValueError, TypeError):
                device = next(iter(state.values())).device
                output = model(torch.zeros(1, 3, *size, device=device))
            return output
    finally:
        for module, mode in modes.items():
            module.training = mode


def _sources(tensor: Tensor, made: dict[object, str]) -> list[str]:
    """Layers that a tensor comes from, found by walking back through cropping, activations and sums."""
    todo, found, seen = [tensor.grad_fn], [], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in made:
            found.append(made[node])
        else:
            todo.extend(parent for parent, _ in node.next_functions)
    return sorted(found) or ["input"]


# -- drawing -----------------------------------------------------------------------------------------


@dataclass
class _Bar:
    step: Step
    x: float
    width: float
    height: float


@styled
def network(model: nn.Module, size: tuple[int, int] = (224, 224)) -> Figure:
    """A network as a line of bars: height for the size of a map, width for its channels, arcs for skips.

    Args:
        model: any network over images; the picture is made from what its layers do.
        size: (H, W) of the image that is sent through.

    Returns:
        A figure.
    """
    steps = [Step("input", "input", (3, *size)), *trace(model, size)]
    main = _main_path(steps)
    bars, joins = _layout(steps, main)
    length = bars["output"].x + bars["output"].width + 0.3
    length = max(length, 7.0)  # bars of a small network keep their width
    top = 3.15 if joins else 2.3  # room for the arcs
    figure = Picture(figsize=(12, 0.96 * (top + 2.95)))
    axes = bare(figure.add_axes((0, 0, 1, 1)))
    axes.set(xlim=(-0.6, length), ylim=(-2.95, top))
    axes.plot([0, bars["output"].x], [0, 0], color=GREY, linewidth=1, zorder=0)
    for bar in bars.values():
        _draw_bar(axes, bar)
    for target, at in joins.items():
        _draw_join(axes, at)
        for index, step in enumerate(_skips_into(target, steps, main)):
            _draw_skip(axes, bars, step, at, index)
    _draw_sizes(axes, bars, main)
    _draw_legend(axes, length, top - 0.22)
    count = sum(value.numel() for value in model.parameters())
    axes.text(-0.4, top - 0.22, type(model).__name__, fontsize=16, fontweight="bold")
    axes.text(-0.4, top - 0.53, f"{count:,} parameters".replace(",", " "), fontsize=11, color="#52606D")
    return figure


def _main_path(steps: list[Step]) -> list[str]:
    """From the output back to the input, at a join along the deepest source (the one with the smallest map)."""
    by_name = {step.name: step for step in steps}
    order = {step.name: index for index, step in enumerate(steps)}
    depth: dict[str, int] = {}
    for step in steps:
        depth[step.name] = 1 + max((depth[source] for source in step.sources if source in depth), default=0)
    path = ["output"]
    while by_name[path[-1]].sources:
        path.append(max(by_name[path[-1]].sources, key=lambda name: (depth[name], order[name])))
    return path[::-1]


def _layout(steps: list[Step], main: list[str]) -> tuple[dict[str, _Bar], dict[str, float]]:
    """Places of the bars of the main path, and of the sums before them."""
    by_name = {step.name: step for step in steps}
    largest = max(max(by_name[name].shape[1:]) for name in main)
    bars, joins, x = {}, {}, 0.0
    for name in main:
        step = by_name[name]
        if len(step.sources) > 1:
            joins[name] = x + 0.15
            x += 0.55
        width = 0.10 + 0.035 * max(step.shape[0], 1) ** 0.35
        height = 0.22 + 2.1 * (max(step.shape[1:]) / largest) ** 0.5
        bars[name] = _Bar(step, x, width, height)
        x += width + (0.16 if "1 x 1" in step.kind or step.kind == "convolution" else 0.28)
    return bars, joins


def _skips_into(name: str, steps: list[Step], main: list[str]) -> Iterator[Step]:
    """Layers beside the main path that lead into a join."""
    by_name = {step.name: step for step in steps}
    yield from (by_name[source] for source in by_name[name].sources if source not in main)


def _short(name: str) -> str:
    """The last part of a dotted name; the whole one where that is only a number in a Sequential."""
    last = name.rpartition(".")[2]
    return name if last.isdigit() else last


def _colour(kind: str) -> str:
    return KINDS[kind][0] if kind in KINDS else INK


def _draw_bar(axes: Axes, bar: _Bar) -> None:
    plain = bar.step.kind in ("input", "output")
    axes.add_patch(
        Rectangle(
            (bar.x, -bar.height / 2), bar.width, bar.height, fc="#CBD2D9" if plain else _colour(bar.step.kind),
            ec="white", lw=0.6,
        )
    )  # fmt: skip
    label = bar.step.name if plain else f"{_short(bar.step.name)}  {bar.step.shape[0]}"
    axes.text(
        bar.x + bar.width / 2, -1.24, label, rotation=90, ha="center", va="top", fontsize=11,
        color=INK if plain else _colour(bar.step.kind),
    )  # fmt: skip


def _draw_join(axes: Axes, x: float) -> None:
    axes.plot([x], [0], "o", markersize=13, mfc="white", mec=INK, mew=1.3, zorder=3)
    axes.plot([x], [0], "+", markersize=7, color=INK, mew=1.3, zorder=4)


def _draw_skip(axes: Axes, bars: dict[str, _Bar], step: Step, at: float, index: int) -> None:
    """An arc from the layer on the main path over the bars to the sum, with the layer in between on it."""
    start = next((bars[source] for source in step.sources if source in bars), None)
    if start is None:
        return
    x = start.x + start.width / 2
    top = 1.55 + 0.28 * index + 0.085 * (at - x)
    colour = _colour(step.kind)
    axes.plot([x, x], [start.height / 2 + 0.46, top - 0.25], color=colour, linewidth=1.6)
    bend: dict[str, Any] = {"arrowstyle": "-", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch((x, top - 0.25), (x + 0.25, top), connectionstyle="angle3,angleA=90,angleB=0", **bend))
    axes.plot([x + 0.25, at - 0.25], [top, top], color=colour, linewidth=1.6)
    axes.add_patch(FancyArrowPatch((at - 0.25, top), (at, top - 0.25), connectionstyle="angle3,angleA=0,angleB=90", **bend))
    axes.add_patch(
        FancyArrowPatch(
            (at, top - 0.25), (at, 0.13), arrowstyle="-|>", color=colour, linewidth=1.6, mutation_scale=11, shrinkA=0,
            shrinkB=0,
        )
    )  # fmt: skip
    channels, height, width = step.shape
    axes.text(
        (x + at) / 2, top, f"{_short(step.name)}   {channels} x {height} x {width}", ha="center",
        va="center", fontsize=11, color=colour, bbox={"fc": "white", "ec": "none", "pad": 2},
    )  # fmt: skip


def _draw_sizes(axes: Axes, bars: dict[str, _Bar], main: list[str]) -> None:
    """The size of the maps, once wherever it changes."""
    last = None
    for name in main:
        bar, size = bars[name], bars[name].step.shape[1:]
        if size != last:
            axes.text(
                bar.x + bar.width / 2, bar.height / 2 + 0.06, f"{size[0]}\nx {size[1]}", ha="center",
                va="bottom", linespacing=0.9, fontsize=9, color="#52606D",
            )  # fmt: skip
        last = size


def _draw_legend(axes: Axes, length: float, y: float) -> None:
    x = length - 0.2
    for kind in reversed(KINDS):
        text = axes.text(x, y, kind, ha="right", va="center", fontsize=11.5, color=_colour(kind), fontweight="bold")
        box = text.get_window_extent()
        x -= box.width / axes.get_window_extent().width * (axes.get_xlim()[1] - axes.get_xlim()[0]) + 0.25
