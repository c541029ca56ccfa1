"""Settings of a training run as plain values, and the two recipes of the kit."""

from dataclasses import dataclass

__all__ = ["RECIPES", "TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; the defaults are the recipe of the course.

    Attributes:
        recipe: name of the recipe, for the record.
        epochs: passes over the training images; the course takes 25 with pretraining, 5 from scratch.
        learning_rate: Adam's; 1e-4 suits a mean loss, a summed one would diverge with it.
        weight_decay: L2 penalty, added to the gradient by Adam.
        batch_size: images per step; 1 allows full-size images of different sizes.
        schedule: ``plateau`` divides the rate by 10 when the train loss stalls; ``poly`` lets it fall
            to zero over the run as (1 - step / steps) ** 0.9, after every step.
        patience: epochs without progress before ``plateau`` acts.
        min_learning_rate: where ``plateau`` stops.
        crop: side of random square windows in pixels, None for whole images.
        flip: mirror half of the images; facades are about symmetric.
        mixed_precision: on a GPU, bfloat16 convolutions over channels-last memory, and a fused optimizer.
        workers: processes that read images ahead.
        seed: of the shuffling, the random windows and dropout.
    """

    recipe: str = "course"
    epochs: int = 25
    learning_rate: float = 1e-4
    weight_decay: float = 2e-5
    batch_size: int = 1
    schedule: str = "plateau"
    patience: int = 3
    min_learning_rate: float = 1e-10
    crop: int | None = None
    flip: bool = False
    mixed_precision: bool = False
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in ("plateau", "poly"):
            raise ValueError(f"Expected schedule 'plateau' or 'poly', but got {self.schedule!r}.")
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} above 0, but got {getattr(self, name)}.")


RECIPES = {
    # Adam on whole images, one at a time: what the published figures of the course were reached with
    "course": TrainConfig(),
    # Half the pixels per image, several images per step, half precision, and a rate that ends at zero
    "fast": TrainConfig(
        recipe="fast", epochs=25, learning_rate=2e-4, batch_size=4, schedule="poly", crop=512, flip=True,
        mixed_precision=True, workers=4,
    ),
}  # fmt: skip
