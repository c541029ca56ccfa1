"""Scores on the validation images without making a GPU wait."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from segkit.inference import Evaluation, scored
from segkit.precision import Precision
from segkit.training.measuring import PIXELS_AT_ONCE, measure
from segkit.training.sources import Pairs

__all__ = ["validate"]


def validate(
    model: nn.Module,
    pairs: Pairs,
    *,
    device: torch.device,
    precision: Precision,
    confusion_matrix: Callable[..., Any],
    scores: Callable[..., Any],
    workers: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Score a network over images that may be kept decoded, in the format in which it is trained.

    Args:
        model: maps (B, 3, H, W) to logits (B, n_class, H, W); B is 1 but on a CUDA GPU, where images of equal size share a
            batch, as in :func:`segkit.evaluation.evaluate`. Afterwards in the mode in which it was.
        pairs: the images.
        device: where the network is.
        precision: of the forward passes.
        confusion_matrix: see :func:`segkit.training.measuring.measure`.
        scores: see :func:`segkit.evaluation.evaluate`.
        workers: threads that read images ahead.
        progress: show a bar.

    Returns:
        An :class:`~segkit.evaluation.Evaluation` without interval.

    Raises:
        EvaluationError: the network or a function returned something that cannot be scored.
    """
    counts = measure(
        model, pairs, device=device, precision=precision, confusion_matrix=confusion_matrix, threads=workers,
        most_pixels=PIXELS_AT_ONCE if device.type == "cuda" else 0, progress=progress, desc="validating",
    )  # fmt: skip
    return scored(counts, scores)
