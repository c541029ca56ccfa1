"""What a network without a graph must compute: the reference under the hidden weights, with the hyper-parameters of the student's layers.

A wrong hyper-parameter is charged by ``*.layers``; the values are judged as if it were meant, so that one mistake costs once.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autograder.segmentation.shadow import DEARER, MAX_WEIGHTS, Cost, fitted
from autograder.segmentation.spec import NetworkSpec
from segkit.layers import tensor_shapes
from segkit.subject import StudentError, WeightFile

__all__ = ["reference_output"]


def reference_output(
    spec: NetworkSpec, n_class: int, settings: Mapping[str, Mapping[str, Any]], weights: WeightFile, images: NDArray[np.float32]
) -> Tensor | dict[str, Tensor]:
    """Run the reference with a student's hyper-parameters in eval mode.

    Args:
        spec: The network, which has a reference.
        n_class: Number of classes.
        settings: Specified layer name -> the hyper-parameters that the student's layer has.
        weights: The hidden weights by their canonical names.
        images: (N, 3, H, W).

    Returns:
        (N, C, H, W); of a network that returns a dictionary, that.

    Raises:
        StudentError: ``layer.too_large``.
        LookupError: There is no reference.
        RuntimeError, ValueError, TypeError: The layers fit no network at all.
    """
    if spec.reference is None:
        raise LookupError(f"{spec.name} has no reference")
    usual, table = spec.layers(n_class, {}), {}
    with torch.device("meta"):
        model, other = spec.reference(n_class), spec.reference(n_class)
        for layer in usual:
            table[layer.path] = replaced = type(layer)(layer.path, layer.kind, dict(settings[layer.path]))
            if replaced.settings != dict(layer.settings):
                model.set_submodule(layer.path, _made(layer.kind, replaced.settings))
        _refuse_too_large(_work(model, images.shape), _work(other, images.shape))
    state = {
        f"{path}.{kind}": fitted(weights[spec.canonical(path, kind)], shape) if spec.canonical(path, kind) in weights.index
        else torch.zeros(shape)
        for path, layer in table.items() for kind, shape in tensor_shapes(layer).items()
    }  # fmt: skip
    counters = {key: torch.zeros((), dtype=torch.long) for key in model.state_dict() if key.endswith("num_batches_tracked")}
    model.load_state_dict(state | counters, strict=True, assign=True)
    with torch.no_grad():
        return model.eval()(torch.from_numpy(images))


def _made(kind: str, settings: Mapping[str, Any]) -> nn.Module:
    return getattr(nn, kind)(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})


def _work(model: nn.Module, shape: tuple[int, ...]) -> list[Cost]:
    """Layer by layer, for all images, with the values that it gives; nothing is computed."""
    found: list[Cost] = []

    def hook(name: str) -> Any:
        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            weights = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            cells = math.prod((inputs[0] if isinstance(module, nn.ConvTranspose2d) else output).shape[2:])
            found.append(Cost(name, weights * len(output) * cells, output.numel(), weights))

        return note

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in model.named_modules() if not layer._modules]
    try:
        model.eval()(torch.empty(shape))
    finally:
        for one in hooks:
            one.remove()
    return found


def _refuse_too_large(found: list[Cost], usual: list[Cost]) -> None:
    """Compute no network of which a student's layers were only said to be so."""
    work, largest = DEARER * sum(cost.operations for cost in usual), DEARER * max(cost.values for cost in usual)
    for name, operations, values, weights in found:
        work -= operations
        if work < 0 or values > largest or weights > MAX_WEIGHTS:
            raise StudentError(
                f"{name}: expected a layer of about the size of the specified one, but got one with which the network takes more than "
                f"{DEARER} times the work or memory.", "layer.too_large"
            )  # fmt: skip
