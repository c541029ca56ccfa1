"""Pictures of a run while it goes on: curves after every epoch, and what the network saw at some of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from segkit import plots
from segkit.atomic import replacing
from segkit.inference import image_name, predict
from segkit.training.segmentation import EpochDone
from segkit.training.sources import Items

__all__ = ["STAGES", "LivePictures", "save_figure", "spread"]

STAGES = ("first", "middle", "last")


class LivePictures:
    """To be called after each epoch: writes ``curves.png``, and ``stages.png`` with masks of a few images.

    Masks are kept in ``stages.npz`` (:func:`segkit.plots.read_stages`), those of before a kill too.

    Args:
        out: folder of the run.
        dataset: items ``(image, label)``.
        chosen: which of them to predict; none draws curves alone.
        stages: after which epochs: ``first``, ``middle``, ``last``, or their numbers.
    """

    def __init__(
        self, out: Path, dataset: Items[tuple[Tensor, Tensor]], chosen: Sequence[int], stages: Sequence[str | int] = STAGES
    ) -> None:
        self.out, self.chosen, self.spec, self.stages = Path(out), list(chosen), getattr(dataset, "spec", None), stages
        pairs = [dataset[index] for index in self.chosen]
        self.images, self.labels = [image for image, _ in pairs], [label for _, label in pairs]
        self.names = [image_name(dataset, index) for index in self.chosen]
        self.masks = self._read()

    def __call__(self, done: EpochDone) -> None:
        names = self.spec and self.spec.names_for(len(done.history.epochs[-1].iou))
        save_figure(plots.curves(done.history, names), self.out / "curves.png")
        if done.epoch == 0:  # a run begins: masks that are here belong to another run
            self.masks = {}
        if self.chosen and self._due(done):
            self.masks[done.epoch] = [predict(done.model, image).numpy().astype(np.uint8) for image in self.images]
            self._write()
            save_figure(plots.stages(self.images, self.labels, self.masks, self.names, self.spec), self.out / "stages.png")

    def _due(self, done: EpochDone) -> bool:
        numbers: dict[str | int, int] = {"first": 1, "middle": (done.epochs + 1) // 2}
        return (done.last and "last" in self.stages) or done.epoch in [numbers.get(stage, stage) for stage in self.stages]

    def _write(self) -> None:
        arrays = {f"{epoch}/{name}": mask for epoch, masks in self.masks.items() for name, mask in zip(self.names, masks, strict=True)}
        with replacing(self.out / "stages.npz") as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type] # the stub takes the arrays for its switch as well

    def _read(self) -> dict[int, list[np.ndarray]]:
        """Masks of an interrupted run; none if they are of other images or cannot be read."""
        try:
            return {epoch: [maps[name] for name in self.names] for epoch, maps in plots.read_stages(self.out).items()}
        except (ValueError, KeyError):
            return {}


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture in one step, so that no reader sees a half-written file."""
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` positions, evenly spread."""
    most = min(count, most)
    return [round((place + 0.5) * count / most - 0.5) for place in range(most)]
