"""Runs that repeat to the bit on a GPU."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["repeatable"]


@contextmanager
def repeatable(on: bool) -> Iterator[None]:
    """Choose algorithms that give the same bits in every run, as far as the block goes.

    torch warns about max pooling, whose gradient uses atomic additions. The windows of a VGG do not overlap, so every sum has
    one term, and the warning is hidden. cuBLAS reads its setting when a process first uses it.

    Args:
        on: False changes nothing.
    """
    if not on:
        yield
        return
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False  # it would choose the algorithm that happens to be fastest
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*max_pool2d.*deterministic.*")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
