"""A small training on which a training step is tried, and the ways of taking it: the right one and the classical mistakes.

``segkit.step_mistakes`` compares with them. No worker of the grader has this file: what is compared with earns nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.layer import Layer
from segkit.subject import LocalSubject

__all__ = ["DETACHED", "LOSSES", "MODE", "MODES", "NO_STEP", "OPTIMIZER", "ORDER", "UPDATES", "VOID", "Exercise", "Steps", "Way"]

Steps = Sequence[Mapping[str, Any]]  # of each call, see ``segkit.gradients.SmallTraining.after``


@dataclass(frozen=True)
class Way:
    """One way of doing a part: the right one has no code. ``how`` is an argument of ``Exercise.taken``."""

    code: str
    words: str
    how: Mapping[str, Any]


class Exercise:
    """A small training in which each mistake shows: a fifth of the pixels unknown, batch norm, which feels the mode, and two calls.

    The network is in eval mode at first, as a validation leaves it. Its gradient is so short that clipping it to a norm of 1 does nothing.

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
        shapes = {"conv.weight": (4, 3, 3, 3), "norm.weight": (4,), "norm.bias": (4,), "score.weight": (n_class, 4, 1, 1),
                  "score.bias": (n_class,)}  # fmt: skip
        weights = {key: rng.uniform(0.2, 0.5, shape) * rng.choice([-1, 1], shape) for key, shape in shapes.items()}
        labels = np.where(rng.random((2, 6, 7)) < 0.2, ignore, rng.integers(0, n_class, (2, 6, 7)))
        known = {"network": "@network", "optimizer": "@optimizer", "images": rng.standard_normal((2, 3, 6, 7)).astype(np.float32),
                 "labels": labels}  # fmt: skip
        self.question: dict[str, Any] = {
            "weights": {key: value.astype(np.float32) for key, value in weights.items()},
            "calls": [[known[name] for name in order]] * 2, "layers": layers, "sgd": {"lr": 0.1, "momentum": 0.5},
        }  # fmt: skip

    def once(self) -> "Exercise":
        """The same with one call."""
        return self._with([self.question["calls"][0]])

    def known(self) -> "Exercise":
        """The same without unknown pixels: class 0 in their place."""
        place = self.order.index("labels")
        calls = [
            [*call[:place], np.where(call[place] == self.ignore, 0, call[place]), *call[place + 1 :]] for call in self.question["calls"]
        ]
        return self._with(calls)

    @property
    def has_unknown(self) -> bool:
        """Whether any pixel is unknown."""
        return any(bool((call[self.order.index("labels")] == self.ignore).any()) for call in self.question["calls"])

    def _with(self, calls: list[list[Any]]) -> "Exercise":
        other = object.__new__(Exercise)
        other.__dict__ = self.__dict__ | {"question": self.question | {"calls": calls}}
        return other

    def taken(
        self, do: Sequence[str] = ("zero", "forward", "backward", "step"), loss: str = "mean", train: bool = True,
        half: torch.dtype | None = None,
    ) -> Steps:  # fmt: skip
        """What a step does that calls ``do`` in this order, with a loss of ``_loss``, and sets train mode or does not.

        ``half``: the 16 bits of ``torch.autocast``, in which scores and loss are computed; None for none.
        """
        subject = LocalSubject(Path())
        subject.adopt("step", partial(_step, self.order, self.ignore, do, loss, train, half))
        return subject.take_steps("step", **self.question)


def _step(
    order: Sequence[str], ignore: int, do: Sequence[str], loss_name: str, train: bool, half: torch.dtype | None, *args: Any,
) -> float:  # fmt: skip
    given = dict(zip(order, args, strict=True))
    network: nn.Module = given["network"]
    if train:
        network.train()
    for name in do:
        if name == "forward":
            with torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None):
                loss = _loss(network(given["images"]), given["labels"], ignore, loss_name)
        elif name == "backward":
            loss.backward()
        elif name == "step":
            given["optimizer"].step()
        else:
            given["optimizer"].zero_grad()
    return loss.item()


def _loss(logits: Tensor, labels: Tensor, ignore: int, name: str) -> Tensor:
    """A loss by its name: the right one is ``mean``."""
    kind, _, number = name.partition(" ")
    counts = labels != ignore
    if kind == "class":  # unknown pixels are one
        counts, labels = torch.ones_like(counts), torch.where(counts, labels, int(number) % logits.shape[1])
    labels = torch.where(counts, labels, 0)
    losses = INSIDE.get(kind, functional.cross_entropy)(logits, labels, reduction="none") * counts
    if kind == "times":
        return losses.sum() / counts.sum() * float(number)
    divisors = {"pixels": labels.numel(), "images": len(labels), "sum": 1}
    return losses.sum() / divisors.get(kind, int(counts.sum()))


def _flat(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    return functional.cross_entropy(logits.reshape(-1, logits.shape[1]), labels.reshape(-1), reduction=reduction).view_as(labels)


def _along(dim: int) -> Callable[..., Tensor]:
    return lambda logits, labels, reduction: functional.nll_loss(functional.log_softmax(logits, dim), labels, reduction=reduction)


INSIDE: dict[str, Callable[..., Tensor]] = {
    "softmax": lambda logits, labels, reduction: functional.cross_entropy(logits.softmax(1), labels, reduction=reduction),
    "sigmoid": lambda logits, labels, reduction: functional.cross_entropy(logits.sigmoid(), labels, reduction=reduction),
    "scores": functional.nll_loss, "flat": _flat, "along_0": _along(0), "along_2": _along(2), "along_3": _along(3),
}  # fmt: skip
NO_GRADIENT = "no gradient reached the weights: loss.backward() is missing, or .data or .detach() cut the scores off their graph."
CLEARED = "zero_grad() stands between loss.backward() and optimizer.step(): the gradient is wiped before it is used."
ORDER = "optimizer.step() stands before loss.backward(): it uses no gradient, or that of the batch before."
ZERO = "the gradients of two batches added up: optimizer.zero_grad() is missing."
VOID = "unknown pixels were learned as a class: leave out label 255 (ignore_index), and do not overwrite it."
MODE = "the model learned in eval mode: model.train() is missing."
DIMENSION = "log_softmax runs along another dimension than that of the classes, which is 1."
DETACHED = "the loss has no graph: .data, .detach(), .item(), argmax or no_grad() stands between the model and loss.backward()."
FLAT = "the scores (N, C, H, W) were flattened as if the classes came last: permute(0, 2, 3, 1) first, or flatten nothing."
NO_STEP = "the optimizer that was given made no step: optimizer.step() is missing."
OPTIMIZER = "the weights moved, but not by the optimizer that was given: use no other one."
UPDATES = (
    Way("", "", {}),
    Way("step.zero_grad", ZERO, {"do": ("forward", "backward", "step")}),
    Way("step.missing", NO_STEP, {"do": ("zero", "forward", "backward")}),
    Way("step.backward", NO_GRADIENT, {"do": ("zero", "forward", "step")}),
    Way("step.cleared", CLEARED, {"do": ("forward", "backward", "zero", "step")}),
    Way("step.order", ORDER, {"do": ("zero", "forward", "step", "backward")}),
    Way("step.order", ORDER, {"do": ("step", "zero", "forward", "backward")}),
    Way("step.backward", "neither loss.backward() nor optimizer.step() was called.", {"do": ("zero", "forward")}),
)
LOSSES = (
    Way("", "", {}),
    *(Way("step.ignore", VOID, {"loss": name}) for name in ("class 0", "class -1")),
    Way("step.mean", "the loss was divided by the number of all pixels: unknown ones do not count.", {"loss": "pixels"}),
    Way("step.mean", "the loss was divided by the number of images, not by that of the known pixels.", {"loss": "images"}),
    Way("step.mean", "the loss was summed: expected its mean over the known pixels.", {"loss": "sum"}),
    Way("step.softmax", "softmax before cross entropy, which has one of its own: give it the raw scores.", {"loss": "softmax"}),
    Way("step.softmax", "sigmoid before cross entropy, which has a softmax of its own: give it the raw scores.", {"loss": "sigmoid"}),
    Way("step.softmax", "nll_loss of raw scores: it wants log_softmax, and cross_entropy does both.", {"loss": "scores"}),
    Way("step.flat", FLAT, {"loss": "flat"}),
    *(Way("step.dimension", DIMENSION, {"loss": f"along_{dim}"}) for dim in (0, 2, 3)),
)
MODES = (Way("", "", {}), Way("step.mode", MODE, {"train": False}))
