"""The CMP Facade Database: classes, palette, the fixed split lists, and a dataset over a folder of facades.

Tylecek & Sara, "Spatial Pattern Templates for Recognition of Objects with Regular Structure", GCPR 2013.
https://cmp.felk.cvut.cz/~tylecr1/facade/

Decoding a label file is the student's first task; this module therefore takes ``read_label`` as an argument.
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segkit.pictures import BROKEN, LABELS, PHOTOGRAPHS, find_picture, names_in, open_photograph, photograph_size
from segkit.transforms import PairTransform, normalize

__all__ = [
    "CLASSES",
    "IGNORE_INDEX",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "N_CLASS",
    "PALETTE",
    "PARTS",
    "SPLITS",
    "DataError",
    "FacadeDataset",
    "data_folder",
    "demand_one_size",
    "find_root",
    "image_path",
    "label_path",
    "split_names",
]

# Training label k is CLASSES[k]; the file holds k + 1. This is the order of the database's label_names.txt.
# The lists on its web page and in readme.txt are in another order and must not be used as numbers.
CLASSES: tuple[str, ...] = (
    "background", "facade", "window", "door", "cornice", "sill",
    "balcony", "blind", "deco", "molding", "pillar", "shop",
)  # fmt: skip
N_CLASS = len(CLASSES)
IGNORE_INDEX = 255

# RGB of the ids 0..12 as the label files hold them (row = id in the file, so class k has row k + 1)
PALETTE = np.array(
    [
        (0, 0, 0), (0, 0, 170), (0, 0, 255), (0, 85, 255), (0, 170, 255), (0, 255, 255), (85, 255, 170),
        (170, 255, 85), (255, 255, 0), (255, 170, 0), (255, 85, 0), (255, 0, 0), (170, 0, 0),
    ],
    dtype=np.uint8,
)  # fmt: skip
PALETTE.setflags(write=False)

# channel statistics of the pictures that VGG-16 was trained on, for RGB in 0..1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SPLITS = ("course", "base", "sample")
PARTS = ("train", "val", "test")


class DataError(ValueError):
    """A picture, a label or a data folder is not what it must be; the text says what to do about it."""


def data_folder() -> Path:
    """The folder ``data/`` of the kit (split lists, manifest, sample).

    It lies beside the package; where the package was installed elsewhere, the working folder and the folders
    above it are tried, so that a notebook in ``notebooks/fcn`` finds it too.

    Raises:
        DataError: nowhere a ``data/`` with the split lists.
    """
    beside = Path(__file__).resolve().parent.parent
    here = Path.cwd()
    for parent in (beside, here, *here.parents):
        if (parent / "data" / "splits").is_dir():
            return parent / "data"
    raise DataError(
        f"The folder data/ with the split lists was not found: looked beside the package ({beside}), "
        f"in {here} and above. Unpack the kit again, or start Python in the folder that holds data/."
    )


def find_root(data: str | os.PathLike | None = None) -> Path:
    """Finds the root of the facades: the folder that holds ``base/`` (and perhaps ``extended/``).

    Args:
        data: a folder; or ``"sample"`` for the synthetic sample of the kit; or None: the environment variable
            ``SEGKIT_DATA`` if set (a folder or ``sample``), else ``data/cmp_facade`` of the kit.

    Raises:
        DataError: there are no facades at that place.
    """
    if data is None:
        data = os.environ.get("SEGKIT_DATA") or None
    if data is None:
        root = data_folder() / "cmp_facade"
        if not (root / "base").is_dir():
            raise DataError(
                f"No facades found: expected {root / 'base'}, which is not there. Three ways to go on:\n"
                "  1. python -m segkit data fetch             downloads the database to data/cmp_facade\n"
                "  2. set SEGKIT_DATA=/path/to/cmp_facade     to a folder that holds base/ (in a notebook:\n"
                "                                             %env SEGKIT_DATA=/path/to/cmp_facade)\n"
                "  3. set SEGKIT_DATA=sample                  for the small drawn facades that are in the kit"
            )
        return root
    root = data_folder() / "sample" if os.fspath(data) == "sample" else Path(data).expanduser()
    if (root / "base").is_dir():
        return root
    if not root.is_dir():
        raise DataError(f"No such folder: {root}. Expected a folder that holds base/cmp_b0001.jpg and so on.")
    if any(name.startswith("cmp_b") for name in names_in(root, PHOTOGRAPHS)):
        above = root.resolve().parent
        raise DataError(f"{root} holds the pictures themselves: name the folder above it, {above}.")
    raise DataError(
        f"{root} holds no folder base/. Expected base/cmp_b0001.jpg, .png and so on; "
        "`python -m segkit data fetch --out FOLDER` downloads them."
    )


@functools.cache
def split_names(split: str, part: str) -> tuple[str, ...]:
    """Names of one part of a split, in the fixed order of its list.

    Args:
        split: ``course`` (500 train, 30 val, 76 test of all 606), ``base`` (300, 30, 48 of the 378 in
            ``base/``) or ``sample`` (24, 4, 4 drawn facades).
        part: ``train``, ``val`` or ``test``.

    Raises:
        DataError: unknown split or part, or the list is missing.
    """
    if split not in SPLITS or part not in PARTS:
        raise DataError(
            f"Unknown split or part: expected one of {', '.join(SPLITS)} and one of {', '.join(PARTS)}, "
            f"found {split!r} and {part!r}."
        )
    file = data_folder() / "splits" / split / f"{part}.txt"
    if not file.is_file():
        raise DataError(f"The split list {file} is missing. Unpack the kit again: the lists are part of it.")
    return tuple(file.read_text(encoding="utf-8").split())


def _stem(root: str | os.PathLike, name: str) -> Path:
    folder = "extended" if name.startswith("cmp_x") else "base"
    return Path(root) / folder / name


def image_path(root: str | os.PathLike, name: str) -> Path:
    """Path of the photograph ``name`` (.jpg, .jpeg, .JPG): ``cmp_x...`` lies in ``extended/``, all others in ``base/``."""
    return find_picture(_stem(root, name), PHOTOGRAPHS)


def label_path(root: str | os.PathLike, name: str) -> Path:
    """Path of the label map ``name``."""
    return find_picture(_stem(root, name), LABELS)


class FacadeDataset(torch.utils.data.Dataset):
    """Facades with their labels.

    An item is ``(image, label)``: a FloatTensor (3, H, W), RGB / 255 normalised with the ImageNet statistics,
    and a LongTensor (H, W) of training labels 0..11, 255 where the pixel does not count.

    Args:
        root: folder that holds ``base/`` (see :func:`find_root`).
        split: ``course``, ``base`` or ``sample``.
        part: ``train``, ``val`` or ``test``.
        read_label: ``read_label(path) -> LongTensor (H, W)``, the function of notebook 1.
        transform: transform of an (image, label) pair, called before normalisation with the image as a
            FloatTensor (3, H, W) in 0..1; see ``segkit.transforms``.
        names: these names in place of a split's list.

    Attributes:
        names: tuple of the names, in order.
        root: the folder.

    Raises:
        DataError: files of the list are missing (when built); a file is damaged, or picture and label
            disagree in size, or ``read_label`` returns something else than labels (when an item is read).
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str = "base",
        part: str = "train",
        *,
        read_label: Callable[[Path], torch.Tensor],
        transform: PairTransform | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.root = Path(root)
        self.names = tuple(names) if names is not None else split_names(split, part)
        self.read_label = read_label
        self.transform = transform
        what = "the given names" if names is not None else f"split {split!r}, part {part!r}"
        _demand_files(self.root, self.names, what)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, label = self._open(index)
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255)  # (3, H, W)
        if self.transform is not None:
            image, label = self.transform(image, label)
        return normalize(image, IMAGENET_MEAN, IMAGENET_STD), label

    def decode(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair as it is stored: neither transformed nor normalised, and four bytes per pixel instead of twenty.

        Args:
            index: position in ``names``.

        Returns:
            uint8 array (H, W, 3), RGB, and uint8 array (H, W) of training labels, 255 for unknown.

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
        return _read(image_path(self.root, self.names[index]), photograph_size)

    def _open(self, index: int) -> tuple[np.ndarray, torch.Tensor]:
        name = self.names[index]
        photograph = image_path(self.root, name)
        pixels = _read(photograph, open_photograph)  # (H, W, 3)
        return pixels, self._open_label(label_path(self.root, name), photograph, pixels.shape[:2])

    def _open_label(self, path: Path, photograph: Path, size: tuple[int, int]) -> torch.Tensor:
        demand_one_size(photograph, path, size)
        try:
            label = self.read_label(path)
        except Exception:
            _read(path, _loaded)  # a damaged file is not the fault of read_label, and is reported as such
            raise
        _demand_label(label, path, size)
        return label


def _read(path: Path, how: Callable[[Path], Any]) -> Any:
    try:
        return how(path)
    except BROKEN as error:
        raise _damaged(path, error) from error


def _stored_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.height, picture.width


def _loaded(path: Path) -> None:
    with Image.open(path) as picture:
        picture.load()


def _demand_files(root: Path, names: Sequence[str], what: str) -> None:
    wanted = [p for name in names for p in (image_path(root, name), label_path(root, name))]
    missing = [path for path in wanted if not path.is_file()]
    if not missing:
        return
    advice = "Download the data again (python -m segkit data fetch), or name another root with --data."
    if not (root / "extended").is_dir() and any(name.startswith("cmp_x") for name in names):
        advice = "There is no extended/ here: use split 'base', or fetch it (python -m segkit data fetch)."
    raise DataError(
        f"{len(missing)} of {len(wanted)} files of {what} are missing below {root}, "
        f"the first is {missing[0].relative_to(root)}. Expected a .jpg and a .png for every name. {advice}"
    )


def demand_one_size(photograph: Path, label: Path, size: tuple[int, int] | None = None) -> None:
    """Refuse a pair whose files are not of one size: nothing that is counted over it would mean anything.

    Args:
        photograph: The file.
        label: The file.
        size: (H, W) of the photograph upright; read from its file where it is left out.

    Raises:
        DataError: They differ, or one cannot be read; the text names both.
    """
    height, width = size or _read(photograph, photograph_size)
    found = _read(label, _stored_size)
    if found == (height, width):
        return
    why = "One of the two files is from elsewhere; fetch this pair again."
    if found == (width, height):
        why = "One of them lies on its side. A photograph is turned upright as its camera says (EXIF); turn the label as well."
    raise DataError(
        f"{label}: picture and label disagree in size: expected {height} x {width} (H x W, {photograph.name}), "
        f"found {found[0]} x {found[1]}. {why}"
    )


def _demand_label(label: object, path: Path, size: tuple[int, int]) -> None:
    """Tells at once, and in words, what would otherwise end in an index error deep inside the loss."""
    found = type(label).__name__
    if isinstance(label, torch.Tensor):
        found = f"a tensor {tuple(label.shape)} of {label.dtype}"
        if tuple(label.shape) == size and label.dtype == torch.int64:
            low, high = torch.aminmax(label)  # one pass is enough for most label maps
            if low >= 0 and high < N_CLASS:
                return
            wrong = ((label < 0) | (label >= N_CLASS)) & (label != IGNORE_INDEX)
            if not bool(wrong.any()):
                return
            row, column = (int(value) for value in wrong.nonzero()[0])
            value, count = int(label[row, column]), int(wrong.sum())
            found = f"the value {value} at row {row}, column {column} ({count} pixels are out of range)"
    raise DataError(
        f"read_label({path.name!r}) returned {found}. Expected a LongTensor of shape {size} "
        f"with training labels 0..{N_CLASS - 1}, and {IGNORE_INDEX} for unknown."
    )


def _damaged(path: Path, error: Exception) -> DataError:
    size = path.stat().st_size if path.exists() else 0
    return DataError(
        f"{path}: expected a complete picture, found a damaged or truncated file ({size} bytes; {error}). "
        "Delete it and fetch it again: python -m segkit data fetch"
    )
