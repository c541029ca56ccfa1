"""Settings of a training run as plain values, and the two recipes of the kit."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from segkit.precision import PRECISIONS

__all__ = ["RECIPES", "TrainConfig", "configured"]

CHOICES = {
    "schedule": ("plateau", "poly"),
    "optimizer": ("adam", "sgd"),
    "precision": PRECISIONS,
    "class_weights": ("none", "median"),
    "cache": ("off", "auto", "memory", "disk"),
}

SWITCHES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; the defaults are the recipe of the course.

    What decides the result:

    Attributes:
        recipe: name of the recipe, for the record.
        epochs: passes over the training images; the course takes 25 with pretraining, 5 from scratch.
        optimizer: ``adam``; or ``sgd`` with momentum as in Long et al.: biases learn twice as fast and without decay.
        learning_rate: 1e-4 suits Adam and a mean loss (a summed one would diverge with it); 1e-3 suits ``sgd``.
        momentum: of ``sgd``.
        weight_decay: L2 penalty, added to the gradient.
        batch_size: images per step; 1 allows full-size images of different sizes.
        schedule: ``plateau`` divides the rate by 10 when the train loss stalls; ``poly`` lets it fall
            to zero over the run as (1 - step / steps) ** 0.9, after every step.
        warmup: steps over which ``poly`` first rises from zero; Adam's first steps are otherwise its wildest.
        patience: epochs without progress before ``plateau`` acts.
        min_learning_rate: where ``plateau`` stops.
        clip: largest norm of the gradient, 0 for no clipping.
        skip_scale: factor of the skip connections' scores, below 1 where pool3 and pool4 answer much louder than fc7
            (Long et al. take 0.01 and 0.0001 for an FCN-8s trained at once). The network stays as it is: a score
            layer scaled by s that learns at rate r is the same layer, unscaled, at rate r s (Adam) or r s^2 (sgd).
        class_weights: ``median`` weights the loss of a class with median frequency / its frequency, at most 10
            (Eigen & Fergus 2015), so that doors count beside walls.
        crop: side of random square windows in pixels, None for whole images.
        scale: images are resized by a factor drawn from this range, None for never.
        flip: mirror half of the images; facades are about symmetric.
        jitter: how far colours are changed, 0 for not at all; see :func:`segkit.training.loading.jittered`.
        pad_to: batches are padded to multiples of this, so that few different shapes occur.
        precision: ``auto`` takes 16 bits where the device is fast in them, see :mod:`segkit.precision`.
        deterministic: only algorithms that repeat to the bit, slower on a GPU; a CPU always repeats.
        seed: of the shuffling, the random windows and dropout.

    What only decides where and how fast, and when it ends; a resumed run may change these:

    Attributes:
        stop_after: end the run after so many epochs without a better mean IoU; 0 for never.
        workers: threads that read and prepare images ahead; 0 does it between the steps.
        cache: keep decoded images in ``memory``, in a temporary file on ``disk``, where there is room (``auto``), or
            not at all (``off``).
        read_every: steps between two looks at the loss: each look makes the program wait for the GPU.
    """

    recipe: str = "course"
    epochs: int = 25
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 2e-5
    batch_size: int = 1
    schedule: str = "plateau"
    warmup: int = 0
    patience: int = 3
    min_learning_rate: float = 1e-10
    clip: float = 0.0
    skip_scale: tuple[float, float] = (1.0, 1.0)  # pool4, pool3
    class_weights: str = "none"
    crop: int | None = None
    scale: tuple[float, float] | None = None
    flip: bool = False
    jitter: float = 0.0
    pad_to: int = 1
    precision: str = "float32"
    deterministic: bool = False
    seed: int = 0
    stop_after: int = 0
    workers: int = 0
    cache: str = "off"
    read_every: int = 1

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                expected = ", ".join(repr(choice) for choice in choices)
                raise ValueError(f"Expected {name} {expected}, but got {getattr(self, name)!r}.")
        for name in ("epochs", "batch_size", "learning_rate", "pad_to", "read_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} above 0, but got {getattr(self, name)}.")
        for name in ("clip", "warmup", "stop_after", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"Expected {name} of at least 0, but got {getattr(self, name)}.")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Expected jitter within 0..1, but got {self.jitter}.")
        if self.scale is not None and not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1]):
            raise ValueError(f"Expected scale (low, high) with 0 < low <= high, but got {self.scale}.")
        if self.warmup and self.schedule == "plateau":
            raise ValueError("Expected schedule 'poly' with warmup: 'plateau' knows no steps.")


RECIPES = {
    # Adam on whole images, one at a time: what the published figures of the course were reached with
    "course": TrainConfig(),
    # Whole images too (a window pays the network's padding of 100 anew), but several of about one size per step
    "fast": TrainConfig(
        recipe="fast", epochs=25, learning_rate=2e-4, batch_size=4, schedule="poly", warmup=50, clip=5.0, flip=True,
        pad_to=32, precision="auto", workers=4, cache="auto", read_every=20,
    ),
}  # fmt: skip


def configured(config: TrainConfig, changes: dict[str, str]) -> TrainConfig:
    """A configuration with some settings replaced, as they come from a command line.

    Args:
        config: what to start from.
        changes: name of a setting -> its value as text: ``512``, ``1e-3``, ``yes``, ``none``, ``0.75,1.25``.

    Raises:
        ValueError: unknown name, or a text that is no value for it; the text says which there are.
    """
    known = {item.name: item.type for item in dataclasses.fields(config) if item.name != "recipe"}
    values: dict[str, Any] = {}
    for name, text in changes.items():
        if name not in known:
            raise ValueError(f"Unknown setting {name!r}. Expected one of: {', '.join(known)}.")
        try:
            values[name] = _parse(text.strip(), known[name])
        except ValueError:
            raise ValueError(f"Expected {name} as {_named(known[name])}, but got {text!r}.") from None
    return dataclasses.replace(config, **values)


def _named(kind: object) -> str:
    return kind.__name__ if type(kind) is type else str(kind)


def _parse(text: str, kind: object) -> object:
    named = _named(kind)
    if "None" in named and text.lower() == "none":
        return None
    if "tuple" in named:
        low, high = (float(part) for part in text.split(","))
        return (low, high)
    if "bool" in named:
        if text.lower() not in SWITCHES:
            raise ValueError
        return SWITCHES[text.lower()]
    return (int if "int" in named else float if "float" in named else str)(text)
