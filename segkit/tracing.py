"""In which order a network's layers run, learnt from a copy without memory.

The order identifies a layer with an unclear or wrong name, and lets messages name a layer that is never used, or a missing
activation. It comes from the student's own process, so it may decide about causes and the place of weights, but not about
points.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["MAX_STEPS", "Step", "paths_in_run", "trace"]

MAX_STEPS = 1000
Step = tuple[str, str]
"""(path of the layer, its class), or ("", name of the function) for what forward calls without a layer."""

FUNCTIONS = frozenset(
    """relu relu_ clamp clamp_ clamp_min clamp_min_ leaky_relu leaky_relu_ elu gelu softmax log_softmax sigmoid tanh argmax interpolate
    upsample max_pool2d avg_pool2d adaptive_avg_pool2d batch_norm instance_norm group_norm layer_norm conv2d conv_transpose2d linear
    dropout dropout2d alpha_dropout cat""".split()
)


class _Recorder(TorchFunctionMode):
    """Notes what is called while no layer is running."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.inside = 0

    def note(self, path: str, what: str) -> None:
        if len(self.steps) < MAX_STEPS:
            self.steps.append((path, what))

    def __torch_function__(self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        name = getattr(func, "__name__", "").removesuffix("_with_indices").lstrip("_")
        name = "max_pool2d" if name in ("boolean_dispatch", "fn") else name
        if not self.inside and name in FUNCTIONS:
            self.note("", name)
        return func(*args, **(kwargs or {}))

    def watch(self, path: str, layer: nn.Module) -> None:
        """Note a layer whenever it runs."""

        def before(module: nn.Module, inputs: Any) -> None:
            self.note(path, type(module).__name__)
            self.inside += 1

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            self.inside -= 1

        nn.Module.register_forward_pre_hook(layer, before)
        nn.Module.register_forward_hook(layer, after)


def _without_memory(model: nn.Module) -> nn.Module:
    """A copy of a network whose parameters and buffers have shapes, but no values."""
    kept = {}
    for module in nn.Module.modules(model):
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                empty = tensor.detach().to("meta")
                kept[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, kept)


def trace(model: nn.Module, size: tuple[int, int] = (64, 64)) -> list[Step]:
    """Run a network once without computing anything, and note its layers and activations in the order in which they run.

    Args:
        model: Any network for images ``(N, 3, H, W)``; it stays as it is.
        size: H and W of the image it gets.

    Returns:
        The steps as far as the run came; the last is ``("", "return")`` unless forward failed.
    """
    recorder = _Recorder()
    try:
        model = _without_memory(model)
        for path, layer in nn.Module.named_modules(model):
            if not layer._modules:
                recorder.watch(path, layer)
        nn.Module.train(model, False)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.device("meta"), recorder:
            model(torch.empty(1, 3, *size, device="meta"))
        recorder.steps.append(("", "return"))
    except Exception:  # it may raise anything, and what ran before is still known
        pass
    return recorder.steps


def paths_in_run(model: nn.Module) -> list[str]:
    """Paths of a network's layers in the order in which they run."""
    return [path for path, _ in trace(model) if path]
