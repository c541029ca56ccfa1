"""Photographs of a data set with their labels, one pair at a time."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segkit.datasets.spec import DataError, DatasetSpec
from segkit.pictures import BROKEN, open_photograph, photograph_size
from segkit.transforms import IGNORE_INDEX, IMAGENET_MEAN, IMAGENET_STD, PairTransform, normalize

__all__ = ["PairDataset", "demand_one_size", "fit_label", "fit_photograph"]


class PairDataset(torch.utils.data.Dataset):
    """Photographs with their labels.

    An item is ``(image, label)``: a FloatTensor (3, H, W), RGB / 255 normalised with the ImageNet statistics,
    and a LongTensor (H, W) of training labels, 255 where the pixel does not count.

    Args:
        spec: the data set.
        root: folder of its pictures (see :meth:`DatasetSpec.find_root`).
        split: one of the spec's split lists.
        part: ``train``, ``val`` or ``test``.
        read_label: ``read_label(path) -> LongTensor (H, W)``, a student's function or the reference's.
        transform: transform of an (image, label) pair, called before normalisation with the image as a
            FloatTensor (3, H, W) in 0..1; see ``segkit.transforms``.
        names: these names in place of a split's list.

    Attributes:
        names: tuple of the names, in order.
        root: the folder.
        spec: the data set.

    Raises:
        DataError: files of the list are missing (when built); a file is damaged, or picture and label
            disagree in size, or ``read_label`` returns something else than labels (when an item is read).
    """

    def __init__(
        self,
        spec: DatasetSpec,
        root: str | os.PathLike,
        split: str = "",
        part: str = "train",
        *,
        read_label: Callable[[Path], torch.Tensor],
        transform: PairTransform | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.spec = spec
        self.root = Path(root)
        self.names = tuple(names) if names is not None else spec.split_names(split, part)
        self.read_label = read_label
        self.transform = transform
        what = "the given names" if names is not None else f"split {split!r}, part {part!r}"
        _demand_files(spec, self.root, self.names, what)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, label = self._open(index)
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255)  # (3, H, W)
        if self.transform is not None:
            image, label = self.transform(image, label)
        return normalize(image, IMAGENET_MEAN, IMAGENET_STD), label

    def decode(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair as bytes: neither transformed nor normalised, and four bytes per pixel instead of twenty.

        Args:
            index: position in ``names``.

        Returns:
            uint8 array (H, W, 3), RGB, and uint8 array (H, W) of training labels, 255 where the pixel does not count.

        Raises:
            DataError: see the class.
        """
        pixels, label = self._open(index)
        return pixels, label.numpy().astype(np.uint8)

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of a picture, from the head of its file.

        Raises:
            DataError: the file cannot be read.
        """
        return self.spec.size or _read(self.spec.image_path(self.root, self.names[index]), photograph_size, self.spec)

    def _open(self, index: int) -> tuple[np.ndarray, torch.Tensor]:
        name = self.names[index]
        photograph = self.spec.image_path(self.root, name)
        pixels = _read(photograph, open_photograph, self.spec)  # (H, W, 3)
        label = self._open_label(self.spec.label_path(self.root, name), photograph, pixels.shape[:2])
        return fit_photograph(self.spec, pixels), fit_label(self.spec, label)

    def _open_label(self, path: Path, photograph: Path, size: tuple[int, int]) -> torch.Tensor:
        demand_one_size(self.spec, photograph, path, size)
        try:
            label = self.read_label(path)
        except Exception:
            _read(path, _loaded, self.spec)  # a damaged file is not the fault of read_label, and is reported as such
            raise
        _demand_label(label, path, size, self.spec)
        return label


def fit_photograph(spec: DatasetSpec, pixels: np.ndarray) -> np.ndarray:
    """A photograph in the size that the data set asks for, bilinearly.

    Args:
        spec: the data set.
        pixels: uint8 (H, W, 3), RGB, as it is stored.
    """
    if spec.size is None or pixels.shape[:2] == tuple(spec.size):
        return pixels
    height, width = spec.size
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def fit_label(spec: DatasetSpec, label: torch.Tensor) -> torch.Tensor:
    """A label map in the size that the data set asks for, with 255 where a pixel does not count.

    A class number between two classes means nothing, so each pixel takes the nearest one's.

    Args:
        spec: the data set.
        label: LongTensor (H, W), as ``read_label`` gives it.
    """
    if spec.ignore_index != IGNORE_INDEX:
        label = label.masked_fill(label == spec.ignore_index, IGNORE_INDEX)
    if spec.size is None or tuple(label.shape) == tuple(spec.size):
        return label
    height, width = spec.size
    small = Image.fromarray(label.numpy().astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(small)).long()


def _read(path: Path, how: Callable[[Path], Any], spec: DatasetSpec) -> Any:
    try:
        return how(path)
    except BROKEN as error:
        raise _damaged(path, error, spec) from error


def _stored_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.height, picture.width


def _loaded(path: Path) -> None:
    with Image.open(path) as picture:
        picture.load()


def _demand_files(spec: DatasetSpec, root: Path, names: Sequence[str], what: str) -> None:
    wanted = [p for name in names for p in (spec.image_path(root, name), spec.label_path(root, name))]
    missing = [path for path in wanted if not path.is_file()]
    if not missing:
        return
    command = " (python -m segkit data fetch)" if spec.fetch else ""
    advice = f"{'Download' if command else 'Copy'} the data again{command}, or name another root with --data."
    absent = [folder for folder in spec.folders[1:] if not (root / folder).is_dir()]
    if gone := next((folder for folder in absent if any(path.is_relative_to(root / folder) for path in missing)), None):
        advice = f"There is no {gone}/ here: use split {spec.split_of(root)!r}, or fetch it{command}."
    raise DataError(
        f"{len(missing)} of {len(wanted)} files of {what} are missing below {root}, the first is {missing[0].relative_to(root)}. "
        f"Expected a {spec.photographs[0]} and a {spec.labels[0]} for every name. {advice}"
    )


def demand_one_size(spec: DatasetSpec, photograph: Path, label: Path, size: tuple[int, int] | None = None) -> None:
    """Refuse a pair whose files are not of one size: nothing that is counted over it would mean anything.

    Args:
        spec: The data set.
        photograph: The file.
        label: The file.
        size: (H, W) of the photograph upright; read from its file where it is left out.

    Raises:
        DataError: They differ, or one cannot be read; the text names both.
    """
    height, width = size or _read(photograph, photograph_size, spec)
    found = _read(label, _stored_size, spec)
    if found == (height, width):
        return
    why = "One of the two files is from elsewhere; fetch this pair again."
    if found == (width, height):
        why = "One of them lies on its side. A photograph is turned upright as its camera says (EXIF); turn the label as well."
    raise DataError(
        f"{label}: picture and label disagree in size: expected {height} x {width} (H x W, {photograph.name}), "
        f"found {found[0]} x {found[1]}. {why}"
    )


def _demand_label(label: object, path: Path, size: tuple[int, int], spec: DatasetSpec) -> None:
    """Tells at once, and in words, what would otherwise end in an index error deep inside the loss."""
    n_class, found = spec.n_class, type(label).__name__
    if isinstance(label, torch.Tensor):
        found = f"a tensor {tuple(label.shape)} of {label.dtype}"
        if tuple(label.shape) == size and label.dtype == torch.int64:
            low, high = torch.aminmax(label)  # one pass is enough for most label maps
            if low >= 0 and high < n_class:
                return
            wrong = ((label < 0) | (label >= n_class)) & (label != spec.ignore_index)
            if not bool(wrong.any()):
                return
            row, column = (int(value) for value in wrong.nonzero()[0])
            value, count = int(label[row, column]), int(wrong.sum())
            found = f"the value {value} at row {row}, column {column} ({count} pixels are out of range)"
    raise DataError(
        f"read_label({path.name!r}) returned {found}. Expected a LongTensor of shape {size} "
        f"with training labels 0..{n_class - 1}, and {spec.ignore_index} for unknown."
    )


def _damaged(path: Path, error: Exception, spec: DatasetSpec) -> DataError:
    size = path.stat().st_size if path.exists() else 0
    command = ": python -m segkit data fetch" if spec.fetch else "."
    return DataError(
        f"{path}: expected a complete picture, found a damaged or truncated file ({size} bytes; {error}). "
        f"Delete it and fetch it again{command}"
    )
