"""The settings of pretraining, apart from its code: ``pretrain --help`` names them without waiting for torch."""

from dataclasses import dataclass

__all__ = ["PretrainConfig"]


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of pretraining.

    Attributes:
        epochs: passes over the patches.
        patches: per image and epoch.
        side: of a patch in pixels; from 224 on fc6 sees 7 x 7 cells, as in the FCN.
        scale: range of the factor by which a picture is resized before a patch is cut.
        jitter: how far colours are changed, see :func:`segkit.training.loading.jittered`; 0 for not at all.
        batch_size: patches per step.
        learning_rate: Adam's at the beginning; it falls to zero.
        weight_decay: L2 penalty; Adam lets a large one wipe out fc6, whose gradients are small.
        precision: see :mod:`segkit.precision`.
        seed: of everything that is drawn.
        workers: threads that prepare patches.
        cache: see :class:`segkit.training.TrainConfig`.
    """

    epochs: int = 30
    patches: int = 4
    side: int = 320
    scale: tuple[float, float] = (0.4, 1.0)
    jitter: float = 0.3
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 2e-5
    precision: str = "auto"
    seed: int = 0
    workers: int = 4
    cache: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "patches", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} above 0, but got {getattr(self, name)}.")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Expected jitter within 0..1, but got {self.jitter}.")
        if self.side < 32:
            raise ValueError(f"Expected a side of at least 32 pixels, which VGG-16 makes one cell of, but got {self.side}.")
