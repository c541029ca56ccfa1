"""Values between a check and a student's code: what a function is called with, and what it returned, as plain data."""

import inspect
import operator
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segkit.student_errors import StudentError

__all__ = ["MAX_ELEMENTS", "array_of", "bound_method", "holds_array", "plain", "tensors_in", "wants_tensors"]

MAX_ELEMENTS = 2**26
MAX_ITEMS = 10_000  # of one list


def plain(value: Any, depth: int = 0) -> Any:
    """Turn a returned value into plain data: numbers, text, arrays, lists, dicts; anything else becomes its type's name."""
    if isinstance(value, torch.Tensor):
        value = value.detach().as_subclass(torch.Tensor).cpu()
        value = value.float() if value.dtype == torch.bfloat16 else value
        if value.numel() > MAX_ELEMENTS:
            raise StudentError(f"expected a small result, but got a tensor of shape {tuple(value.shape)}", "code.type")
        return value.numpy().copy()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf" or value.size > MAX_ELEMENTS:
            return {"type": f"ndarray of {value.dtype}"}
        return np.array(value)
    if isinstance(value, np.generic):
        return value.item() if value.dtype.kind in "biuf" else {"type": str(value.dtype)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)) and depth < 6 and len(value) <= MAX_ITEMS:
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, dict) and depth < 6 and len(value) <= MAX_ITEMS:
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    return {"type": type(value).__name__}


def array_of(value: torch.Tensor | None) -> NDArray | None:
    """A float32 copy of a parameter or gradient; None where there is none."""
    return None if value is None else value.detach().as_subclass(torch.Tensor).float().cpu().numpy().copy()


def tensors_in(value: Any, depth: int = 0) -> list[torch.Tensor]:
    """All tensors of a returned value, also those in lists, tuples and dictionaries."""
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in islice(items, MAX_ITEMS) for tensor in tensors_in(item, depth + 1)] if depth < 6 else []


def holds_array(value: Any) -> bool:
    """Whether an argument is a NumPy array, or a list or dictionary with one in it."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, np.ndarray) or any(map(holds_array, items))


def bound_method(owner: Any, name: str, args: Sequence[Any]) -> Callable:
    """A method of an object, to be called with ``args``.

    Python's own names mean what Python does with them: ``__len__`` is ``len(owner)``, ``__getitem__`` is ``owner[index]``, and
    ``__iter__`` lists the items. A method that is none of an instance (a staticmethod) gets the object first.
    """
    if name in _OPERATORS:
        return partial(_OPERATORS[name], owner)
    method = getattr(owner, name)
    return partial(method, owner) if not _takes(method, args) and _takes(method, [owner, *args]) else method


def _listed(owner: Any) -> list[Any]:
    items = list(islice(owner, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise StudentError(f"{type(owner).__name__}: expected at most {MAX_ITEMS} items, but got more. Does it end?", "code.type")
    return items


_OPERATORS: dict[str, Callable] = {"__len__": len, "__getitem__": operator.getitem, "__iter__": _listed}


def wants_tensors(error: BaseException) -> bool:
    """Whether code failed on an array only because it was written for tensors (``x.long()``, a function of torch)."""
    if type(error) is TypeError:
        return "must be Tensor, not numpy.ndarray" in str(error)
    return (isinstance(error, AttributeError) and isinstance(getattr(error, "obj", None), (np.ndarray, np.generic))
            and hasattr(torch.Tensor, str(error.name)))  # fmt: skip


def _takes(function: Callable, values: Sequence[Any]) -> bool:
    """Whether a function can be called with so many values; True where its signature cannot be had."""
    try:
        inspect.signature(function).bind(*values)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
