"""Gradients of a student's criterion or network, and what a student's training step does to a small network.

The caller turns errors of the student's code into StudentErrors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from segkit.layer import Layer
from segkit.values import array_of, plain, tensors_in

__all__ = ["SmallTraining", "gradients_of"]


def gradients_of(
    function: Callable, args: Sequence[Any], kwargs: Mapping[str, Any], wrt: Sequence[int], parameters: Sequence[str]
) -> dict[str, Any]:
    """Call a function or module, and differentiate the sum of all that it returns.

    Args:
        function: What is called.
        args: Tensors and other values.
        kwargs: Values by name.
        wrt: Which of ``args`` to differentiate with respect to: tensors of floats.
        parameters: Keys of a module's parameters to differentiate with respect to.

    Returns:
        ``value``, what was returned; ``inputs``, a gradient for each of ``wrt``; ``parameters``, key -> gradient. A gradient is
        float32 of the shape of its input or parameter, or None where nothing that was returned depends on it.
    """
    known = dict(nn.Module.named_parameters(function)) if isinstance(function, nn.Module) else {}
    leaves, given = [args[place].requires_grad_() for place in wrt] + [known[key] for key in parameters], list(args)
    with torch.enable_grad():
        for place in wrt:
            given[place] = args[place].clone()  # a leaf could not be changed in place, as the output of a network can
        output = function(*given, **kwargs)
        sums = [tensor.sum() for tensor in tensors_in(output) if tensor.requires_grad]
        reached = [leaf for leaf in leaves if leaf.requires_grad]
        found = torch.autograd.grad(sum(sums, torch.zeros(())), reached, allow_unused=True) if sums and reached else ()
    by_leaf = {id(leaf): array_of(value) for leaf, value in zip(reached, found, strict=bool(found))}
    gradients = [by_leaf.get(id(leaf)) for leaf in leaves]
    return {"value": plain(output), "inputs": gradients[: len(wrt)],
            "parameters": dict(zip(parameters, gradients[len(wrt) :], strict=True))}  # fmt: skip


class SmallTraining:
    """A small network with its optimizer, and an eye on both.

    Args:
        layers: The network, one layer after the other; their paths hold no dots.
        weights: Key -> value of parameters and buffers, float32. Later accounts speak of these.
        sgd: Settings of ``torch.optim.SGD``.
        training: Whether the network is in train mode at first.
    """

    def __init__(self, layers: Sequence[Layer], weights: Mapping[str, NDArray], sgd: Mapping[str, Any], training: bool) -> None:
        self.network = nn.Sequential()
        for layer in layers:
            self.network.add_module(layer.path, getattr(nn, layer.kind)(**layer.settings))
        self.keys = list(weights)
        tensors = self._tensors()
        with torch.no_grad():
            for key, value in weights.items():
                tensors[key].copy_(torch.from_numpy(value))
        self.optimizer = torch.optim.SGD(self.network.parameters(), **sgd)
        self.network.train(training)
        self._mode: bool | None = None
        self._steps = self._backwards = 0
        self.network.register_forward_pre_hook(self._forward_begins)
        *_, last = self.network.parameters()
        last.register_post_accumulate_grad_hook(self._gradient_arrives)
        self.optimizer.register_step_pre_hook(self._step_begins)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {**dict(nn.Module.named_parameters(self.network)), **dict(nn.Module.named_buffers(self.network))}

    def _forward_begins(self, *_: Any) -> None:
        self._mode = self.network.training if self._mode is None else self._mode

    def _step_begins(self, *_: Any) -> None:
        self._steps += 1

    def _gradient_arrives(self, _: torch.Tensor) -> None:
        self._backwards += 1

    def after(self, step: Callable, args: Sequence[Any]) -> dict[str, Any]:
        """Call a training step, and tell what it returned and did.

        Returns:
            ``returned``, plain; ``graph``, whether a returned tensor still holds its graph; ``values`` and ``gradients`` after it by
            key, float32, a gradient None where there is none; ``mode``, whether the network was first run in train mode, None if it was
            not run; ``steps`` of the optimizer; ``backwards``, how often a gradient reached the last parameter.
        """
        self._mode, self._steps, self._backwards = None, 0, 0
        with torch.enable_grad():
            returned = step(*args)
        tensors = self._tensors()
        return {
            "returned": plain(returned), "graph": any(tensor.requires_grad for tensor in tensors_in(returned)),
            "values": {key: array_of(tensors[key]) for key in self.keys},
            "gradients": {key: array_of(tensors[key].grad) for key in self.keys}, "mode": self._mode, "steps": self._steps,
            "backwards": self._backwards,
        }  # fmt: skip
