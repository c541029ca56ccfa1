"""Patches of facades, and the task of telling which share of each belongs to which class."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.training.sources import Pairs

__all__ = ["Repeated", "class_shares", "labelled_patches", "share_loss"]


class Repeated:
    """Every image several times, for several patches of it."""

    def __init__(self, pairs: Pairs, indices: Sequence[int], times: int) -> None:
        self.pairs, self.indices, self.parallel = pairs, list(indices) * times, pairs.parallel
        self.names = [pairs.names[index] for index in self.indices]
        self.sizes = None if pairs.sizes is None else [pairs.sizes[index] for index in self.indices]

    def load(self, index: int) -> tuple[Tensor, Tensor]:
        return self.pairs.load(self.indices[index])


def class_shares(labels: Tensor, n_class: int) -> Tensor:
    """Share of each class in the labelled pixels of each patch.

    Args:
        labels: integers (B, H, W), 255 for unknown.
        n_class: number of classes.

    Returns:
        FloatTensor (B, n_class); rows sum to 1, or to 0 where nothing is labelled.
    """
    counts = torch.stack([(labels == index).sum((1, 2)) for index in range(n_class)], 1).float()
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def share_loss(logits: Tensor, labels: Tensor, weight: Tensor | None = None, total: Tensor | None = None) -> Tensor:
    """Cross entropy between the shares of the classes and the softmax of the outputs, per labelled patch.

    Args:
        logits: float32 (B, n_class), or more columns, which are left out.
        labels: integers (B, H, W).
        weight: FloatTensor (n_class,) of ones; its length is the number of classes.
        total: number of labelled patches that the sum is divided by; None: those of this batch.
    """
    shares = class_shares(labels, len(weight))
    losses = -(shares * F.log_softmax(logits[:, : len(weight)], 1)).sum()
    return losses / (labelled_patches(labels, weight) if total is None else total)


def labelled_patches(labels: Tensor, weight: Tensor) -> Tensor:
    """Number of patches with a labelled pixel, at least 1; arguments as of :func:`share_loss`."""
    return class_shares(labels, len(weight)).sum().clamp(min=1)
