"""Checks of the first loss, of one training step, and of the overfitting rung of the ladder."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.checks.report import Report, arguments_hint
from segkit.subject import LocalSubject, StudentError
from segkit.transforms import IGNORE_INDEX

__all__ = ["check_first_loss", "check_overfit", "check_train_step"]

SEED, N_CLASS = 11, 4  # of the small network on which a step is tried
FOUND = frozenset({"step.values", "step.loss"})  # mistakes whose words say what was found, and no cause
STEP_HINTS = {
    "Long": "integers reach the loss: it wants the raw scores (N, C, H, W), no argmax, and integer labels (N, H, W)",
    "is not a Tensor": "train_step gets a batch as tensors and gives it to the model as it is",
    "shape": "give the loss the scores (N, C, H, W) and the labels (N, H, W) as they are",
}


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


def check_train_step(train_step: Callable[..., float]) -> Report:
    """Check one step of training: two calls on a small network in eval mode, a fifth of whose pixels are unknown.

    Args:
        train_step: The student's function ``(model, images, labels, optimizer) -> loss``.

    Returns:
        The printed report.
    """
    from segkit.step_mistakes import PARTS, step_mistakes  # here: a worker, which has no such file, may still import this one
    from segkit.training_step import Exercise

    report, subject = Report(), LocalSubject(Path())
    subject.adopt("train_step", train_step)
    exercise = Exercise(np.random.default_rng(SEED), N_CLASS)
    exchanged = arguments_hint(train_step, "def train_step(model, images, labels, optimizer)")
    ask = partial(_unless_stub, step_mistakes, subject, "train_step", exercise)
    ran, mistakes = report.run("two steps of a small network", ask, exchanged | STEP_HINTS)
    if not ran:
        return report
    told = {mistake.part: mistake for mistake in mistakes if mistake.words}
    for part, right in PARTS.items():
        if part in told:
            words = told[part].words
            if told[part].code in FOUND:
                report.wrong(part, words.rstrip("."), code=told[part].code)
            else:
                report.wrong(part, f"expected {right}", words, told[part].code)
        else:
            report.ok(part, right)
    return report


def _unless_stub(ask: Callable[..., list], *args: object) -> list:
    try:
        return ask(*args)
    except StudentError as error:
        if error.cause == "code.unfinished":
            raise NotImplementedError from None
        raise


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
