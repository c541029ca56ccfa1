"""What the checks of a network share: building it, finding its layers, setting weights by hand, watching a run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segkit import assignment
from segkit.checks.report import Report
from segkit.layers import Layer, compare_layers, describe, expected_layers, table_closed
from segkit.tracing import paths_in_run

__all__ = ["FORWARD_HINTS", "Watched", "build", "clear", "expected", "forward", "found_layers", "is_score", "quick_draws", "watch"]

DRAWN = 1_000_003  # a prime, so that no two channels of a layer become equal

# part of PyTorch's message -> what is usually behind it
FORWARD_HINTS = {
    "super().__init__": "the first line of __init__ must be super().__init__()",
    "cannot assign module before": "the first line of __init__ must be super().__init__()",
    "Kernel size can't be greater": "the map has become smaller than fc6's 7x7 kernel: the padding of conv1_1 is missing, "
    "or it stands at another layer",
    "must match the size": "two maps of different size are added: crop the skip to the size of the upsampled scores "
    "(crop first, then add), and keep ceil_mode=True in every pool",
    "to have": "the channels of two layers do not fit: compare in and out with the table",
    "shapes cannot be multiplied": "fc6, fc7 and score are convolutions here, not nn.Linear",
    "unexpected keyword argument 'n_class'": "the signature must be __init__(self, n_class=12)",
    "has no attribute": "a name in forward is not the name in __init__",
    "not supported between": "n_class must be used as a number",
}


def expected(network: str, n_class: int) -> list:
    """The layer table of a network, with the padding that this course uses."""
    return expected_layers(network, n_class, assignment.load().padding)


def build(report: Report, network: Callable[..., nn.Module], n_class: int | None = None) -> nn.Module | None:
    """Build a student's network in eval mode; what goes wrong becomes a line, and None comes back."""
    name = "building it" if n_class is None else f"building it, n_class={n_class}"
    with table_closed(), quick_draws():
        ran, model = report.run(name, lambda: network() if n_class is None else network(n_class=n_class), FORWARD_HINTS)
    if not ran:
        return None
    if not isinstance(model, nn.Module):
        report.fault(name, "a torch.nn.Module", type(model).__name__, "the class must inherit from nn.Module")
        return None
    if not list(model.parameters()):
        report.fault(name, "a network with layers", "no parameters at all",
                     "the layers are missing, or they hide in a plain list: assign each with self.name = ...")  # fmt: skip
        return None
    return model.eval()


@contextmanager
def quick_draws() -> Iterator[None]:
    """While the block runs, random fills of a large tensor draw ``DRAWN`` numbers and repeat them.

    Building a network takes seconds on a CPU, nearly all of them for 134 million random numbers, and a check looks at no more than
    their spread before it sets weights of its own. So each check builds its network, with its own number of classes, at little cost.
    """
    kinds = {name: getattr(Tensor, name) for name in ("normal_", "uniform_")}
    for name, draw in kinds.items():
        setattr(Tensor, name, _repeating(draw))
    try:
        yield
    finally:
        for name, draw in kinds.items():
            setattr(Tensor, name, draw)


def _repeating(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A random fill of a tensor, as a method, that draws its first numbers and copies them into the rest."""

    def fill(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if tensor.numel() < 2 * DRAWN or not tensor.is_contiguous() or tensor.is_meta:
            return draw(tensor, *args, **kwargs)
        flat = tensor.view(-1)
        block = flat[:DRAWN]
        draw(block, *args, **kwargs)
        whole = len(flat) // DRAWN * DRAWN
        flat[DRAWN:whole].view(-1, DRAWN).copy_(block)
        flat[whole:].copy_(block[: len(flat) - whole])
        return tensor

    return fill


def found_layers(model: nn.Module, table: Sequence[Layer]) -> dict[str, nn.Module]:
    """The student's module for every layer name of the table, where there is one."""
    modules = dict(model.named_modules(remove_duplicate=False))
    paths = compare_layers(describe(model), table, run=paths_in_run(model)).paths
    return {name: modules[path] for name, path in paths.items()}


def is_score(name: str) -> bool:
    """Whether a layer gives class scores (and may begin at zero)."""
    return name.startswith("score")


def clear(layers: dict[str, nn.Module]) -> None:
    """Set weights and biases of the named layers to zero, in place."""
    with torch.no_grad():
        for layer in layers.values():
            for parameter in layer.parameters(recurse=False):
                parameter.zero_()


def forward(report: Report, name: str, model: nn.Module, image: Tensor, hints: dict[str, str] = FORWARD_HINTS) -> Tensor | None:
    """Run a student's network without gradients; an exception or a non-tensor becomes a line."""
    with torch.no_grad():
        ran, out = report.run(name, lambda: model(image), hints)
    if ran and not isinstance(out, Tensor):
        report.fault(name, "a tensor (N, n_class, H, W)", type(out).__name__,
                     "forward has no `return`" if out is None else "return one tensor", "forward.type")  # fmt: skip
        return None
    return out if ran else None


@dataclass
class Watched:
    """What was seen of one layer during a run.

    Attributes:
        calls: How often it ran.
        seen: Its last input and output.
    """

    calls: int = 0
    seen: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    @property
    def read(self) -> Tensor:
        """The last input of a layer that ran."""
        assert self.seen is not None
        return self.seen[0]

    @property
    def gave(self) -> Tensor:
        """The last output of a layer that ran."""
        assert self.seen is not None
        return self.seen[1]


@contextmanager
def watch(layers: dict[str, nn.Module]) -> Iterator[dict[str, Watched]]:
    """Record inputs, outputs and number of calls of the named layers while the block runs."""
    records = {name: Watched() for name in layers}

    def hook(name: str) -> Callable[..., None]:
        def record(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            records[name].calls += 1
            if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                # a copy: nn.ReLU(inplace=True) would write over the output that is to be compared
                records[name].seen = (inputs[0].detach().clone(), output.detach().clone())

        return record

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()
