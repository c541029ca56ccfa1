"""The batches of one training epoch, in an order that follows from the seed and the epoch alone.

Batch k of epoch e is the same whoever asks for it and whenever: its random draws are seeded with
(seed, epoch, k). A run that was killed can therefore go on in the middle of an epoch as if nothing had happened.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segkit.evaluation import image_name
from segkit.facades import IGNORE_INDEX
from segkit.transforms import RandomCrop, RandomHorizontalFlip

__all__ = ["Batch", "EpochBatches", "fingerprint", "load_batches"]

Batch = tuple[Tensor, Tensor, list[str]]
"""images (B, 3, H, W), labels (B, H, W), names of the images"""


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence([abs(number) for number in numbers]).generate_state(1)[0])


class EpochBatches(Dataset):
    """The batches of one epoch as a list.

    Args:
        dataset: items ``(image (3, H, W), label (H, W))``.
        seed: of the whole run.
        epoch: number of the epoch.
        batch_size: images per batch; the last batch may be smaller.
        crop: side of a random square window, None for the whole image.
        flip: mirror every second image, label with it.
    """

    def __init__(self, dataset: Sequence, *, seed: int, epoch: int, batch_size: int, crop: int | None, flip: bool) -> None:
        self.dataset, self.seed, self.epoch, self.batch_size = dataset, seed, epoch, batch_size
        self.transforms = ([RandomCrop((crop, crop))] if crop else []) + ([RandomHorizontalFlip()] if flip else [])
        generator = torch.Generator().manual_seed(_seed(seed, epoch))
        self.order = torch.randperm(len(dataset), generator=generator).tolist()

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, k: int) -> Batch:
        indices = self.order[k * self.batch_size : (k + 1) * self.batch_size]
        with torch.random.fork_rng(devices=[]):  # dropout goes on undisturbed by the draws made here
            torch.default_generator.manual_seed(_seed(self.seed, self.epoch, k))
            pairs = [self._pair(index) for index in indices]
        images, labels = _pad_to_largest(pairs)
        return images, labels, [image_name(self.dataset, index) for index in indices]

    def _pair(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.dataset[index]
        for transform in self.transforms:
            image, label = transform(image, label)
        return image, label


def _pad_to_largest(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Stack a batch; smaller images get zeros (the mean colour) right and below, their labels void."""
    height = max(label.shape[0] for _, label in pairs)
    width = max(label.shape[1] for _, label in pairs)
    images, labels = [], []
    for image, label in pairs:
        border = (0, width - label.shape[1], 0, height - label.shape[0])
        images.append(F.pad(image, border))
        labels.append(F.pad(label, border, value=IGNORE_INDEX))
    return torch.stack(images), torch.stack(labels)


def load_batches(batches: EpochBatches, start: int, workers: int) -> Iterator[Batch]:
    """Iterate over the batches from number ``start`` on, read ahead by ``workers`` processes (Linux only)."""
    # fork hands functions defined in a notebook to the workers, which other start methods cannot
    workers = min(workers, os.cpu_count() or 1) if sys.platform == "linux" else 0
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=range(start, len(batches)),
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
            generator=torch.Generator(),  # else the loader draws from the generator that dropout uses
            pin_memory=workers > 0 and torch.cuda.is_available(),
        )
    )


def fingerprint(dataset: Sequence) -> str:
    """Number of images and a hash of their names: tells whether two runs saw the same list."""
    names = "\n".join(image_name(dataset, index) for index in range(len(dataset)))
    return f"{len(dataset)} images, list {hashlib.sha256(names.encode()).hexdigest()[:8]}"
