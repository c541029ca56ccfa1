"""Judges a training step by what it did to a small network: against the judge's own step, and against the classical mistakes."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.layer import Layer
from segkit.subject import LocalSubject, StudentError, Subject

__all__ = ["Exercise", "step_mistakes"]

Mistake = tuple[str, str]  # stable code, and words for the student
Steps = Sequence[Mapping[str, Any]]  # of each call, see ``segkit.gradients.SmallTraining.after``

RIGHT = ("zero", "forward", "backward", "step")


class Exercise:
    """A small training in which each mistake shows: a fifth of the pixels unknown, batch norm, which feels the mode, and two calls.

    The network is in eval mode at first, as a validation leaves it.

    Args:
        rng: Draws images, labels and weights.
        n_class: Number of classes.
        ignore: The label that does not count.
        order: The arguments of the step: ``network``, ``images`` (N, 3, H, W) float32, ``labels`` (N, H, W) int64, ``optimizer``.

    Attributes:
        question: What ``student.take_steps`` gets beside the name of the function.
    """

    def __init__(
        self, rng: np.random.Generator, n_class: int = 3, ignore: int = 255,
        order: Sequence[str] = ("network", "images", "labels", "optimizer"),
    ) -> None:  # fmt: skip
        self.n_class, self.ignore, self.order = n_class, ignore, order
        layers = [
            Layer("conv", "Conv2d", {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "padding": 1, "bias": False}),
            Layer("norm", "BatchNorm2d", {"num_features": 4}), Layer("relu", "ReLU"),
            Layer("score", "Conv2d", {"in_channels": 4, "out_channels": n_class, "kernel_size": 1}),
        ]  # fmt: skip
        shapes = {"conv.weight": (4, 3, 3, 3), "norm.weight": (4,), "norm.bias": (4,), "score.weight": (n_class, 4, 1, 1)}
        weights = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
        labels = np.where(rng.random((2, 6, 7)) < 0.2, ignore, rng.integers(0, n_class, (2, 6, 7)))
        known = {"network": "@network", "optimizer": "@optimizer", "images": rng.standard_normal((2, 3, 6, 7)).astype(np.float32),
                 "labels": labels}  # fmt: skip
        self.question: dict[str, Any] = {
            "calls": [[known[name] for name in order]] * 2, "layers": layers, "weights": weights, "sgd": {"lr": 0.1, "momentum": 0.5},
        }  # fmt: skip

    def taken(self, **how: Any) -> list[dict[str, Any]]:
        """What the judge's own step does; ``how`` spoils it (see ``_step``)."""
        subject = LocalSubject(Path())
        subject.adopt("step", partial(_step, self.order, self.ignore, how))
        return subject.take_steps("step", **self.question)


def _step(order: Sequence[str], ignore: int, how: Mapping[str, Any], *args: Any) -> float:
    """A step of training; ``how`` says ``do``, its calls in their order; ``train``, whether it sets the mode; ``void``, the class that
    unknown pixels count as; and ``mean``, over what.
    """
    given = dict(zip(order, args, strict=True))
    network: nn.Module = given["network"]
    if how.get("train", True):
        network.train()
    for name in how.get("do", RIGHT):
        if name == "forward":
            loss = _loss(network(given["images"]), given["labels"], ignore, how.get("void"), how.get("mean", "known pixels"))
        elif name == "backward":
            loss.backward()
        elif name == "step":
            given["optimizer"].step()
        else:
            given["optimizer"].zero_grad()
    return loss.item()


def _loss(logits: Tensor, labels: Tensor, ignore: int, void: int | None, mean: str) -> Tensor:
    counts = labels != ignore if void is None else torch.ones_like(labels, dtype=torch.bool)
    labels = torch.where(labels == ignore, void or 0, labels)
    losses = functional.cross_entropy(logits, labels, reduction="none") * counts  # (N, H, W)
    divisors = {"known pixels": int(counts.sum()), "pixels": labels.numel(), "images": len(labels), "none": 1}
    return losses.sum() / divisors[mean]


NO_GRADIENT = "the optimizer stepped without a gradient: is loss.backward() missing, or does zero_grad() stand between it and step()?"
ORDER = "optimizer.step() stands before loss.backward(): it uses no gradient, or that of the batch before."
ZERO = "the gradients of two batches added up: optimizer.zero_grad() is missing."
VOID = "unknown pixels were learned as a class: give the criterion ignore_index, and do not overwrite their label."
HYPOTHESES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("step.backward", NO_GRADIENT, {"do": ("zero", "forward", "step")}),
    ("step.missing", "the optimizer made no step: optimizer.step() is missing.", {"do": ("zero", "forward", "backward")}),
    ("step.order", ORDER, {"do": ("zero", "forward", "step", "backward")}),
    ("step.order", ORDER, {"do": ("step", "zero", "forward", "backward")}),
    ("step.zero_grad", ZERO, {"do": ("forward", "backward", "step")}),
    ("step.mode", "the network learned in eval mode: network.train() is missing.", {"train": False}),
    ("step.ignore", VOID, {"void": 0}),
    ("step.mean", "the loss was divided by the number of all pixels: unknown ones do not count.", {"mean": "pixels"}),
    ("step.mean", "the loss was divided by the number of images, not by that of the known pixels.", {"mean": "images"}),
    ("step.mean", "the loss was summed: expected its mean over the known pixels.", {"mean": "none"}),
)


def step_mistakes(student: Subject, name: str, exercise: Exercise) -> list[Mistake]:
    """Try a training step, and name what it does wrong.

    Args:
        student: Who is asked.
        name: Of the function.
        exercise: What it is tried on.

    Returns:
        Code and words of each mistake; none for a step that does what the judge's own does, and returns the loss as a number or a
        tensor without a graph. One whose weights no known mistake explains is ``step.values``.

    Raises:
        StudentError: The function fails, and no known mistake explains it.
    """
    try:
        found = student.take_steps(name, **exercise.question)
    except StudentError as error:
        if "modified by an inplace operation" in str(error):  # torch's own words
            return [("step.order", ORDER)]
        if f"Target {exercise.ignore} is out of bounds" in str(error):
            return [("step.ignore", VOID)]
        raise
    return _differences(found, exercise)


def _differences(found: Steps, exercise: Exercise) -> list[Mistake]:
    right, mistakes = exercise.taken(), []
    if not _same(found, right):
        mistakes.append(_explained(found, exercise) or ("step.values", _difference(found, right)))
    elif any(step["mode"] is False for step in found):
        mistakes.append(("step.mode", "the network learned in eval mode: network.train() is missing."))
    elif text := _loss_differs(found, right):
        mistakes.append(("step.loss", text))
    if any(step["graph"] for step in found):
        mistakes.append(("step.graph", "the loss came back with its graph, which keeps all activations in memory: return loss.item()."))
    return mistakes


def _explained(found: Steps, exercise: Exercise) -> Mistake | None:
    for code, words, how in (*HYPOTHESES, ("step.ignore", VOID, {"void": exercise.n_class - 1})):
        guess = exercise.taken(**how)
        if _same(found, guess) and _traces(found) == _traces(guess):
            return code, words
    return None


def _traces(steps: Steps) -> list[tuple[bool, bool]]:
    """Of each call whether the optimizer stepped, and whether it left a gradient."""
    return [(step["steps"] > 0, any(value is not None and bool(value.any()) for value in step["gradients"].values())) for step in steps]


def _same(found: Steps, expected: Steps) -> bool:
    return all(
        np.allclose(one["values"][key], other["values"][key], rtol=1e-4, atol=1e-5)
        for one, other in zip(found, expected, strict=True) for key in other["values"]
    )  # fmt: skip


def _difference(found: Steps, right: Steps) -> str:
    """The first call after which the weights are others, and the parameter that differs most."""
    calls = enumerate(zip(found, right, strict=True), start=1)
    number, (one, other) = next((number, pair) for number, pair in calls if not _same(pair[:1], pair[1:]))
    far = {key: float(np.abs(one["values"][key] - value).max()) for key, value in other["values"].items()}
    worst = max(far, key=lambda key: (np.isnan(far[key]), far[key]))
    return f"after call {number} the weights are others than they should be: {worst} by up to {far[worst]:.2g}."


def _loss_differs(found: Steps, right: Steps) -> str:
    for one, other in zip(found, right, strict=True):
        value = one["returned"]
        if not isinstance(value, (float, int, np.ndarray)) or np.size(value) != 1:
            return f"expected the loss of the batch in return, but got {type(value).__name__}."
        if not np.isclose(np.ravel(value)[0], other["returned"], rtol=1e-3):
            return f"expected the loss of the batch in return, {other['returned']:.4g}, but got {np.ravel(value)[0]:.4g}."
    return ""
