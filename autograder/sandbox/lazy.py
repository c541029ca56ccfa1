"""Construct large networks without drawing a hundred million random numbers that nothing reads. For workers.

The judge replaces the weights of a student's network before it runs; right after construction it looks only at the beginning
of each tensor. So when a large tensor is filled with random numbers, only its beginning is drawn; the rest is zero and takes
no memory until something writes to it.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["lazy_weights"]

LARGE = 2**20  # elements
DRAWN = 2**14

with torch.device("meta"):  # torch registers at the first use which functions make tensors: it must see the original torch.empty
    torch.empty(0)


@contextlib.contextmanager
def lazy_weights() -> Iterator[None]:
    """Within this context, large float32 tensors on the CPU are made, and filled with random numbers, as fast as small ones."""
    empty, usual = torch.empty, {name: getattr(torch.Tensor, name) for name in ("normal_", "uniform_")}
    torch.empty = _lazy_empty(empty)
    for name, fill in usual.items():
        setattr(torch.Tensor, name, _lazy_fill(fill))
    try:
        yield
    finally:
        torch.empty = empty
        for name in usual:
            delattr(torch.Tensor, name)  # the inherited method is visible again


def _lazy_fill(fill: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def lazy(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if tensor.device.type != "cpu" or not tensor.is_contiguous() or tensor.numel() <= LARGE:
            return fill(tensor, *args, **kwargs)
        fill(tensor.detach().view(-1)[:DRAWN], *args, **kwargs)
        return tensor

    return lazy


def _lazy_empty(empty: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def lazy(*args: Any, **kwargs: Any) -> torch.Tensor:
        shape = tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
        # what a layer asks for: a plain float32 tensor on the CPU
        plain = set(kwargs) <= {"device", "dtype"} and kwargs.get("dtype") in (None, torch.float32)
        here = plain and empty(0, device=kwargs.get("device")).device.type == "cpu"
        usual = all(type(n) is int and n >= 0 for n in shape) and torch.get_default_dtype() == torch.float32
        if not (here and usual and math.prod(shape) > LARGE):
            return empty(*args, **kwargs)
        # NumPy takes zeroed memory from the system, which becomes real memory only when it is touched
        return torch.from_numpy(np.zeros(shape, np.float32))

    return lazy
