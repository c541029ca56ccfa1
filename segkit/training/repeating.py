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

    torch warns about max pooling, whose gradient adds with atomics: the windows of a VGG do not overlap, so that every sum
    has one term, and the warning is not shown. cuBLAS reads its setting when it is first used in a process.

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
    torch.backends.cudnn.benchmark = False  # it takes what is fastest today
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*max_pool2d.*deterministic.*")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
