"""What a network gave, as arrays: its output, and the maps that a gate asks for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segkit.student_errors import StudentError
from segkit.values import MAX_ELEMENTS

__all__ = ["MAPS", "output_array", "scores_within"]

MAX_INSTANCE = 2**16 - 1


def output_array(output: Any, name: str) -> NDArray:
    """Whatever tensor a network returned; floats as float32.

    Args:
        output: What it returned.
        name: What to call the network in an error.

    Raises:
        StudentError: It is no tensor, or too large for one.
    """
    if not isinstance(output, torch.Tensor):
        comma = " of one: is there a comma behind it?" if isinstance(output, tuple) and len(output) == 1 else "."
        text = f"{name}.forward: expected a tensor, but got {type(output).__name__}{comma} Return the logits themselves."
        raise StudentError(text, "forward.type")
    if output.numel() > MAX_ELEMENTS:
        text = f"{name}.forward: expected an output of the image's size, but got {tuple(output.shape)}."
        raise StudentError(text, "shape.size")
    output = output.detach().as_subclass(torch.Tensor).cpu()
    return (output.float() if output.is_floating_point() else output).contiguous().numpy()


def scores_within(output: Any) -> Any:
    """The first tensor (N, C, H, W) of a dictionary, tuple or list, as torchvision's networks return one; else what it was."""
    inside = list(output.values()) if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return next((item for item in inside if isinstance(item, torch.Tensor) and item.dim() == 4), output)


def _logits(output: Any, images: torch.Tensor, name: str) -> torch.Tensor:
    """The output, if it is logits (B, C, H, W) for all pixels."""
    if not isinstance(output, torch.Tensor):
        output_array(output, name)
    if output.dim() != 4 or len(output) != len(images) or tuple(output.shape[2:]) != tuple(images.shape[2:]):
        size = f"{images.shape[2]}, {images.shape[3]}"
        raise StudentError(
            f"{name}.forward: expected logits of shape ({len(images)}, n_class, {size}), but got {tuple(output.shape)}.", "shape.size"
        )
    return output


def _labels(output: Any, images: torch.Tensor, name: str) -> NDArray[np.uint8]:
    if isinstance(output, torch.Tensor) and output.dim() == 3 and len(output) == len(images) and not output.is_floating_point():
        return output.to(torch.uint8).cpu().numpy()  # argmax in forward: judged elsewhere
    return _logits(output, images, name).argmax(dim=1).to(torch.uint8).cpu().numpy()


def _probabilities(output: Any, images: torch.Tensor, name: str) -> NDArray[np.float16]:
    logits = _logits(output, images, name)
    return output_array(logits.float().softmax(dim=1), name).astype(np.float16)


def _instances(output: Any, images: torch.Tensor, name: str) -> NDArray[np.uint16]:
    ids, expected = output_array(output, name), (len(images), *images.shape[2:])
    if ids.shape != expected:
        raise StudentError(f"{name}.forward: expected ids of shape {expected}, but got {ids.shape}.", "shape.size")
    if ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() > MAX_INSTANCE:
        found = f"{ids.min()} to {ids.max()}, {ids.dtype}"
        raise StudentError(f"{name}.forward: expected whole numbers from 0 to {MAX_INSTANCE}, but got {found}.", "forward.type")
    return ids.astype(np.uint16)


MAPS: dict[str, Callable[[Any, torch.Tensor, str], NDArray]] = {
    "labels": _labels, "probabilities": _probabilities, "instances": _instances,
}  # fmt: skip
"""Kind -> (output, images (B, 3, H, W), name of the network) -> maps: uint8 (B, H, W), the class with the largest logit; float16
(B, C, H, W), the softmax of the logits; uint16 (B, H, W), the ids of instances that the network gives, 0 for none."""
