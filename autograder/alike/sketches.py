"""A few values of each tensor of a checkpoint, by which networks are compared without reading gigabytes again.

Read is only safetensors, which is a table of contents and numbers, and what ``segkit submit`` hands in; a pickle is not opened here.
"""

import base64
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["Sketch", "distances", "packed", "sketch", "unpacked"]

Sketch = Mapping[str, NDArray[np.float32]]

VALUES, MOST_TENSORS = 192, 400


def sketch(path: Path) -> dict[str, NDArray[np.float32]]:
    """Take ``VALUES`` values of each tensor of floating numbers, at places that its size alone decides.

    Returns:
        Tensor -> values, float32; empty for a file that is no safetensors.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:  # mapped: only the pages of these values are read
            found = {name: _values(file.get_tensor(name)) for name in sorted(file.keys())[:MOST_TENSORS]}
    except (SafetensorError, OSError, ValueError, RuntimeError):
        return {}
    return {name: values for name, values in found.items() if len(values)}


def _values(tensor: Tensor) -> NDArray[np.float32]:
    """Some values of one tensor; none of one that holds no floating numbers."""
    count = tensor.numel() if tensor.is_floating_point() else 0
    places = np.unique(np.linspace(0, count - 1, min(VALUES, count)).astype(np.int64))
    values: NDArray[np.float32] = tensor.reshape(-1)[torch.from_numpy(places)].float().numpy()
    return values


def packed(values: Sketch) -> dict[str, str]:
    """A sketch as it is kept: 16 bits a value, which is what a hand-in has."""
    with np.errstate(over="ignore"):
        return {name: base64.b64encode(one.astype("<f2").tobytes()).decode() for name, one in values.items()}


def unpacked(kept: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
    """The other way round.

    Raises:
        ValueError: It is no sketch.
    """
    return {str(name): np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32) for name, text in kept.items()}


def distances(sketches: Mapping[str, Sketch]) -> NDArray[np.float64]:
    """How far networks are from each other, in units of how far they are in this class on average.

    Each tensor counts by what its values vary over the class: layers that everybody took from the same file, and hardly trained, do not
    hide those that a student trained.

    Args:
        sketches: Name of a submission -> sketch; those compared have the same tensors.

    Returns:
        (N, N): 0 for equal ones, about 1 for networks that were trained each for itself.
    """
    names = sorted(set.intersection(*(set(one) for one in sketches.values()))) if sketches else []
    total, counted = np.zeros((len(sketches), len(sketches))), 0
    for name in names:
        values = [one[name] for one in sketches.values()]
        if len({len(one) for one in values}) > 1:
            continue
        table = np.nan_to_num(np.stack(values).astype(np.float64), posinf=0.0, neginf=0.0)  # (N, values)
        table -= table.mean(axis=0)
        lengths = (table**2).sum(axis=1)
        squares = np.maximum(lengths[:, None] + lengths[None] - 2 * table @ table.T, 0.0)
        if (mean := squares[~np.eye(len(table), dtype=bool)].mean() if len(table) > 1 else 0.0) > 0:
            total, counted = total + squares / mean, counted + 1
    return np.sqrt(total / max(counted, 1))
