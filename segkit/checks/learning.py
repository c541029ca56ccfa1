"""Checks of the first loss and of the overfitting rung of the ladder."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.checks.report import Report
from segkit.transforms import IGNORE_INDEX

__all__ = ["check_first_loss", "check_overfit"]


def check_first_loss(model: nn.Module, image: Tensor, label: Tensor) -> Report:
    """Check that an untrained network with zero score layers has the loss of pure guessing, ln(n_class).

    Args:
        model: A network before its first step.
        image: Float image (3, H, W), normalised.
        label: Long label (H, W), 255 where unknown.

    Returns:
        The printed report.
    """
    report = Report()
    training = model.training
    model.eval()

    def loss() -> tuple[float, int]:
        with torch.no_grad():
            scores = model(image[None])
            return float(F.cross_entropy(scores, label[None], ignore_index=IGNORE_INDEX)), scores.shape[1]

    ran, result = report.run("first loss", loss)
    model.train(training)
    if not ran:
        return report
    value, n_class = result
    wanted = math.log(n_class)
    cause = "the score layers do not begin at zero (weights and biases), so the network already prefers a class"
    if value != value:
        cause = "the scores are nan: look at the initial weights"
    report.expect(abs(value - wanted) < 1e-3, "first loss", f"ln {n_class} = {wanted:.4f}", f"{value:.4f}", cause,
                  f"{value:.4f} = ln {n_class}: every class gets the same share")  # fmt: skip
    return report


def check_overfit(losses: Sequence[float], factor: float = 0.7) -> Report:
    """Check that the loss on a handful of pictures went down.

    Args:
        losses: Loss per step.
        factor: The last loss must be below the first one times this.

    Returns:
        The printed report.
    """
    report = Report()
    values = [float(value) for value in losses]
    if len(values) < 2:
        report.fault("overfitting", "at least two losses", len(values), "run the training cell above first")
        return report
    first, last = values[0], sum(values[-3:]) / len(values[-3:])
    cause = "zero_grad, backward and step in this order? A trunk of zeros, or a softmax in forward, also stops learning"
    if last != last:
        cause = "nan: the learning rate is too high, or the loss is summed over pixels"
    report.expect(last < factor * first, "overfitting", f"below {factor * first:.3f}", f"{last:.3f}", cause,
                  f"loss {first:.3f} -> {last:.3f} in {len(values)} steps")  # fmt: skip
    return report
