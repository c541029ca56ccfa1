"""The batches of one training epoch, in an order that follows from the seed and the epoch alone.

Batch k of epoch e is always the same: its random draws are seeded with (seed, epoch, k). So a killed run can continue in the
middle of an epoch with the same batches, and threads can prepare batches ahead.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segkit.inference import image_name
from segkit.training.recipes import TrainConfig
from segkit.training.resuming import TrainingError
from segkit.training.sources import Items, Pairs
from segkit.transforms import IGNORE_INDEX, PairTransform, RandomCrop, RandomHorizontalFlip, RandomScaleCrop

__all__ = ["Augmentation", "Batch", "EpochBatches", "collate", "fingerprint", "label_fault"]

POOL = 16
"""Images of similar size are collected from this many batches. More would pad less, but put the same images together in every epoch."""


class Batch(NamedTuple):
    """A batch on the CPU; images smaller than the largest are padded right and below.

    Attributes:
        images: (B, 3, H, W), uint8 as decoded, or float as normalised. Padded values are undefined.
        labels: (B, H, W), integers, 255 where padded.
        names: of the images.
        sizes: (H, W) of each image before it was padded.
        labelled: number of pixels that count.
    """

    images: Tensor
    labels: Tensor
    names: list[str]
    sizes: list[tuple[int, int]]
    labelled: int

    def part(self, begin: int, count: int) -> "Batch":
        """Some of its images, with the ``labelled`` of all."""
        part = slice(begin, begin + count)
        return Batch(self.images[part], self.labels[part], self.names[part], self.sizes[part], self.labelled)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of an image and its label; see the settings of the same name.

    Attributes:
        crop: side of a random square window, None for the whole image.
        scale: range of a random factor of the size, None for none.
        flip: mirror every second image.
    """

    crop: int | None = None
    scale: tuple[float, float] | None = None
    flip: bool = False

    @classmethod
    def of(cls, config: TrainConfig) -> "Augmentation":
        return cls(config.crop, config.scale, config.flip)

    def transforms(self, generator: torch.Generator | None) -> list[PairTransform]:
        chosen: list[PairTransform] = []
        if self.scale is not None:
            chosen.append(RandomScaleCrop(self.crop, *self.scale, generator=generator))
        elif self.crop is not None:
            chosen.append(RandomCrop((self.crop, self.crop), generator=generator, pad=False))
        return chosen + ([RandomHorizontalFlip(generator=generator)] if self.flip else [])

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size of an image after the changes, as far as it is known; for sorting."""
        return size if self.crop is None else (min(size[0], self.crop), min(size[1], self.crop))


class EpochBatches(Dataset[Batch]):
    """The batches of one epoch as a list.

    Args:
        pairs: the images.
        seed: of the whole run.
        epoch: number of the epoch.
        batch_size: images per batch; the last batch may be smaller.
        augmentation: random changes of the images.
        pad_to: height and width of a batch become multiples of this, so that few different shapes occur.
        n_class: labels must be below this, or 255.
        pin: put batches where a GPU can fetch them while the program goes on.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        augmentation: Augmentation = Augmentation(),
        pad_to: int = 1,
        n_class: int = IGNORE_INDEX,
        pin: bool = False,
    ) -> None:
        self.pairs, self.seed, self.epoch = pairs, seed, epoch
        self.augmentation, self.pad_to, self.n_class, self.pin = augmentation, pad_to, n_class, pin
        generator = torch.Generator().manual_seed(_seed(seed, epoch))
        order = torch.randperm(len(pairs.names), generator=generator).tolist()
        sizes = None if pairs.sizes is None or batch_size == 1 else [augmentation.size(size) for size in pairs.sizes]
        self.plan = _plan(order, sizes, batch_size, generator)

    @property
    def order(self) -> list[int]:
        """All images of the epoch, in order."""
        return [index for batch in self.plan for index in batch]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, k: int) -> Batch:
        seed = _seed(self.seed, self.epoch, k)
        if self.pairs.parallel:
            return self._build(k, torch.Generator().manual_seed(seed))
        with torch.random.fork_rng(devices=[]):  # so that the draws made here do not change dropout
            torch.default_generator.manual_seed(seed)
            return self._build(k, None)

    def _build(self, k: int, generator: torch.Generator | None) -> Batch:
        transforms, loaded = self.augmentation.transforms(generator), []
        for index in self.plan[k]:
            image, label = self.pairs.load(index)
            if wrong := label_fault(label, self.n_class):
                raise TrainingError(
                    f"{self.pairs.names[index]}: {wrong}. Does read_label subtract 1, and turn 0 into {IGNORE_INDEX}? "
                    "Has the network an output for every class?"
                )
            for transform in transforms:
                image, label = transform(image, label)
            loaded.append((image, label))
        return collate(loaded, [self.pairs.names[index] for index in self.plan[k]], self.pad_to, self.pin)


def _plan(order: list[int], sizes: list[tuple[int, int]] | None, batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """Cut an order into batches; where sizes are known, images of about one size come together."""
    if sizes is not None:
        pool = POOL * batch_size
        pools = [order[begin : begin + pool] for begin in range(0, len(order), pool)]
        order = [index for part in pools for index in sorted(part, key=lambda index: sizes[index])]
    plan = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
    if sizes is None:
        return plan
    return [plan[k] for k in torch.randperm(len(plan), generator=generator).tolist()]


def collate(loaded: Sequence[tuple[Tensor, Tensor]], names: list[str], pad_to: int = 1, pin: bool = False) -> Batch:
    """Put images of different sizes into one batch; what is padded is void.

    Args:
        loaded: images (3, H, W) and labels (H, W).
        names: of the images.
        pad_to: height and width of the batch are multiples of this.
        pin: see :class:`EpochBatches`.
    """
    sizes = [(label.shape[0], label.shape[1]) for _, label in loaded]
    height, width = (-(-max(side) // pad_to) * pad_to for side in zip(*sizes, strict=True))
    first, first_label = loaded[0]
    if first.dtype == torch.uint8:
        # colours last in memory: decoded pictures are then copied line by line, and a GPU is fastest with this layout
        images = torch.empty((len(loaded), height, width, 3), dtype=first.dtype, pin_memory=pin).permute(0, 3, 1, 2)
    else:
        images = torch.empty((len(loaded), 3, height, width), dtype=first.dtype, pin_memory=pin)
    labels = torch.empty((len(loaded), height, width), dtype=first_label.dtype, pin_memory=pin)
    for place, (image, label) in enumerate(loaded):
        # NumPy copies in the thread that asks; torch would wake all cores for each picture
        _place(images[place].numpy(), image.numpy(), 0)
        _place(labels[place].numpy(), label.numpy(), IGNORE_INDEX)
    labelled = int(np.count_nonzero(labels.numpy() != IGNORE_INDEX))
    return Batch(images, labels, names, sizes, labelled)


def _place(target: np.ndarray, source: np.ndarray, fill: int) -> None:
    """Copy into the upper left corner, and fill the rest."""
    height, width = source.shape[-2:]
    target[..., :height, :width] = source
    target[..., height:, :] = fill
    target[..., :height, width:] = fill


def label_fault(label: Tensor, n_class: int) -> str:
    """The first label out of range, or nothing. The loss must not get one: on a GPU it kills the whole process."""
    values = label.numpy()
    wrong = (values < 0) | ((values >= n_class) & (values != IGNORE_INDEX))
    if not wrong.any():
        return ""
    row, column = (int(place[0]) for place in np.nonzero(wrong))
    return (
        f"expected labels 0..{n_class - 1} or {IGNORE_INDEX}, but got {int(values[row, column])} at row {row}, "
        f"column {column} ({int(wrong.sum())} pixels)"
    )


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence([abs(number) for number in numbers]).generate_state(1)[0])


def fingerprint(dataset: Items[object]) -> str:
    """Number of images and a hash of their names: tells whether two runs saw the same list."""
    names = "\n".join(image_name(dataset, index) for index in range(len(dataset)))
    return f"{len(dataset)} images, list {hashlib.sha256(names.encode()).hexdigest()[:8]}"
