"""A few values of each tensor of a checkpoint, by which networks are compared without reading gigabytes again.

Read is only safetensors, which is a table of contents and numbers, and what ``segkit submit`` hands in; a pickle is not opened here.
"""

import base64
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sketch", "distances", "packed", "sketch", "unpacked"]

Sketch = Mapping[str, NDArray[np.float32]]

VALUES, MOST_TENSORS = 192, 400
MOST_HEADER = 16 * 2**20  # bytes
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def sketch(path: Path) -> dict[str, NDArray[np.float32]]:
    """Take ``VALUES`` values of each tensor of floating numbers, at places that its size alone decides.

    Returns:
        Tensor -> values, float32; empty for a file that is no safetensors.
    """
    with path.open("rb") as file:
        head = file.read(8)
        size = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= size <= MOST_HEADER:
            return {}
        try:
            table = json.loads(file.read(size))
        except (ValueError, RecursionError):
            return {}
    tensors = {str(name): entry for name, entry in table.items() if name != "__metadata__"} if isinstance(table, dict) else {}
    whole = np.memmap(path, dtype=np.uint8, mode="r")[8 + size :]
    found = {name: _values(entry, whole) for name, entry in sorted(tensors.items())[:MOST_TENSORS]}
    return {name: values for name, values in found.items() if len(values)}


def _values(entry: Any, whole: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Some values of one tensor; none where its entry does not fit the file."""
    nothing = np.zeros(0, dtype=np.float32)
    try:
        kind, (begin, end) = np.dtype(TYPES[entry["dtype"]]), entry["data_offsets"]
        if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end <= len(whole)) or (end - begin) % kind.itemsize:
            return nothing
    except (KeyError, TypeError, ValueError):
        return nothing
    count = (end - begin) // kind.itemsize
    places = np.unique(np.linspace(0, count - 1, min(VALUES, count)).astype(np.int64)) if count else np.zeros(0, dtype=np.int64)
    raw = np.stack([whole[begin + places * kind.itemsize + byte] for byte in range(kind.itemsize)], axis=1)  # (values, bytes)
    values = np.ascontiguousarray(raw).view(kind).reshape(-1)
    if entry["dtype"] == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


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
