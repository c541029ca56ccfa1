"""Prepare what a check passes to a student's code for the pipe; a value that cannot be sent is an error of the check, raised at once."""

import math
from typing import Any

import numpy as np
import torch

from autograder.sandbox.wire import DTYPES, MAX_ARRAYS

__all__ = ["plain"]

MAX_AXES = 8
MAX_DEPTH = 24


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """Turn an argument into what a message can hold.

    Numbers, texts, None, bytes and arrays arrive as they are; tensors and numpy scalars as arrays and numbers; tuples (and
    ``torch.Size``) as lists; dictionaries need texts as keys.

    Args:
        value: The argument.
        where: What to call it in an error, such as ``call('scores'), argument 1``.
        depth: How deep it lies in lists and dictionaries.

    Raises:
        TypeError: If it cannot be sent; the text names the argument and what to pass in its place.
    """
    if depth > MAX_DEPTH:
        raise TypeError(f"{where}: nested deeper than {MAX_DEPTH} lists; expected a flat list or an array.")
    if isinstance(value, torch.Tensor):
        return _array(_of_tensor(value, where), where)
    if isinstance(value, np.ndarray):
        return _array(value, where)
    if isinstance(value, np.generic):
        return plain(value.item(), where, depth + 1)
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{where}: a dictionary with the key {odd[0]!r:.40}; expected texts as keys.")
        return {key: plain(item, f"{where}[{key!r:.40}]", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str, bytes, bytearray)):
        return value
    hint = "list(...)" if isinstance(value, (set, frozenset, range)) else "numbers, texts, lists, dictionaries, arrays or tensors"
    raise TypeError(f"{where}: a {type(value).__name__} cannot be passed to a student's code; expected {hint}.")


def _of_tensor(value: torch.Tensor, where: str) -> np.ndarray:
    if value.layout != torch.strided or value.device.type == "meta" or value.is_quantized:
        raise TypeError(f"{where}: a tensor without plain values ({value.layout}, {value.device}); expected a dense one.")
    if value.dtype == torch.bfloat16:
        raise TypeError(f"{where}: a tensor of dtype bfloat16, which numpy does not have; pass .float().")
    try:
        return value.detach().cpu().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{where}: a tensor of dtype {value.dtype} cannot be passed: {error}") from error


def _array(value: np.ndarray, where: str) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{where}: a masked array would lose its mask; pass .filled(...), or values and mask.")
    if value.dtype.name not in DTYPES:
        raise TypeError(f"{where}: an array of dtype {value.dtype} cannot be passed; expected one of {', '.join(DTYPES)}.")
    if value.ndim > MAX_AXES or math.prod(value.shape) * value.itemsize > MAX_ARRAYS:
        raise TypeError(f"{where}: an array of shape {value.shape} is too large; expected at most {MAX_AXES} axes and 512 MiB.")
    return np.asarray(value)
