"""Where the images of a run come from: decoded once and kept, or asked of the dataset every time.

The cache holds decoded bytes, as in the files: they take a fifth of the memory of normalised floats, and a fifth of the time
to send them to a GPU. Several threads may read at once, so nothing is sent to other processes, and a ``read_label`` that was
defined in a notebook works on every operating system.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from segkit.inference import image_name
from segkit.training.resuming import TrainingError
from segkit.transforms import IGNORE_INDEX

__all__ = ["DecodedPairs", "Items", "Pairs", "PlainPairs", "free_memory", "label_shares", "open_pairs", "read_pairs"]


Item = TypeVar("Item", covariant=True)


class Items(Protocol[Item]):
    """What has a length and items by number: a list, a dataset."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Item: ...


class Pairs(Protocol):
    """Images with their labels, as batches are made of them.

    Attributes:
        names: one per image, for messages.
        sizes: (H, W) of every image, None where only reading them would tell.
        parallel: whether ``load`` may be called from several threads, and draws no random numbers.
    """

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def sizes(self) -> list[tuple[int, int]] | None: ...
    @property
    def parallel(self) -> bool: ...

    def load(self, index: int) -> tuple[Tensor, Tensor]:
        """Image (3, H, W), uint8 as decoded or float as normalised, and label (H, W) of any integer type."""


class PlainPairs:
    """Any dataset: its items as they are, asked for one after the other.

    Its items may draw random numbers, so they are neither kept nor read by several threads.

    Args:
        dataset: items ``(image (3, H, W), label (H, W))``.
    """

    parallel, sizes = False, None

    def __init__(self, dataset: Items[tuple[Tensor, Tensor]]) -> None:
        self.dataset = dataset
        self.names = [image_name(dataset, index) for index in range(len(dataset))]

    def load(self, index: int) -> tuple[Tensor, Tensor]:
        return self.dataset[index]


class DecodedPairs:
    """Pairs as decoded bytes, kept after the first reading.

    Args:
        dataset: with ``decode(index)`` and ``size(index)``, as :class:`segkit.datasets.PairDataset` has them.
        cache: ``memory``; ``disk`` for a temporary file, which vanishes with the program; ``auto`` for the first of the
            two that has room; ``off``.

    Attributes:
        place: where they are kept: ``memory``, ``disk`` or ``off``.
    """

    parallel = True

    def __init__(self, dataset: Any, cache: str = "auto") -> None:
        self.dataset = dataset
        self.names = [image_name(dataset, index) for index in range(len(dataset))]
        self.sizes = [dataset.size(index) for index in range(len(dataset))]
        pixels = np.array([height * width for height, width in self.sizes])
        self._begin = np.concatenate([[0], 4 * pixels.cumsum()])  # three bytes of colour and one of label
        self._kept = np.zeros(len(pixels), dtype=bool)
        self.place, self._store = _room(int(self._begin[-1]), cache)

    def load(self, index: int) -> tuple[Tensor, Tensor]:
        pixels, label = self._view(index) if self._kept[index] else self._decode(index)
        return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(label)

    def _decode(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, label = self.dataset.decode(index)
        if self._store is None:
            return pixels, label
        if label.shape != self.sizes[index]:
            raise TrainingError(f"{self.names[index]} changed its size while it was read. Start again.")
        kept = self._view(index)
        kept[0][:], kept[1][:] = pixels, label
        self._kept[index] = True  # set last: another thread must not see a half-written picture
        return kept

    def _view(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._store is not None, "only what is kept is viewed"
        (height, width), begin = self.sizes[index], self._begin[index]
        part = self._store[begin : self._begin[index + 1]]
        border = 3 * height * width
        return part[:border].reshape(height, width, 3), part[border:].reshape(height, width)


def open_pairs(dataset: Items[tuple[Tensor, Tensor]], cache: str) -> Pairs:
    """Decoded pairs where the dataset offers them and has no transform of its own, otherwise plain ones.

    Args:
        dataset: items ``(image, label)``.
        cache: see :class:`DecodedPairs`; ``off`` reads plainly.
    """
    return PlainPairs(dataset) if cache == "off" or not _decodes(dataset) else DecodedPairs(dataset, cache)


def read_pairs(dataset: Items[tuple[Tensor, Tensor]]) -> Pairs:
    """The same for images that are needed once or in their plain order: none is kept, but they are read as decoded bytes."""
    return DecodedPairs(dataset, "off") if _decodes(dataset) else PlainPairs(dataset)


def _decodes(dataset: object) -> bool:
    offers = callable(getattr(dataset, "decode", None)) and callable(getattr(dataset, "size", None))
    return offers and getattr(dataset, "transform", None) is None


def label_shares(pairs: Pairs, n_class: int) -> np.ndarray:
    """Share of each class in the labelled pixels: float64 (n_class,)."""
    counts = np.zeros(256, dtype=np.int64)
    for index in range(len(pairs.names)):
        label = pairs.load(index)[1].numpy()
        counts += np.bincount(label.ravel().astype(np.uint8), minlength=256)
    counts[IGNORE_INDEX] = 0
    shares: np.ndarray = counts[:n_class] / max(counts[:n_class].sum(), 1)
    return shares


# -- room -------------------------------------------------------------------------------------------


def _room(size: int, cache: str) -> tuple[str, np.ndarray | None]:
    """Bytes in memory or in a temporary file."""
    if cache == "memory" or (cache == "auto" and size <= free_memory() // 2):
        return "memory", np.empty(size, dtype=np.uint8)
    if cache in ("disk", "auto"):
        try:
            return "disk", _on_disk(size)
        except OSError as error:
            if cache == "disk":
                raise TrainingError(
                    f"No room for {size / 2**20:.0f} MiB of decoded images in {tempfile.gettempdir()} ({error.strerror}). "
                    "Name another folder in the variable TMPDIR, or train with cache 'off'."
                ) from error
    return "off", None


def _on_disk(size: int) -> np.ndarray:
    with tempfile.TemporaryFile(prefix="segkit-decoded-") as file:  # the file has no name: nothing stays behind after a kill
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # without this, a full disk would kill the program when the map is written
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=(size,))  # keeps the file open by itself


def free_memory() -> int:
    """Bytes of memory that are free, as far as the system tells; 4 GiB where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 4 * 2**30
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 4 * 2**30)
    return min(free, _group_limit())


def _group_limit() -> int:
    """What a container still allows."""
    folder = Path("/sys/fs/cgroup")
    try:
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or "max"
        return 2**62
