"""The pictures on which gates are measured, from any data set that a ``DatasetSpec`` describes."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from autograder.judge.run import GateData
from segkit.datasets import DatasetSpec, demand_one_size, fit_label, fit_photograph
from segkit.pictures import open_photograph, photograph_size
from segkit.transforms import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["gate_data", "root_and_split"]


def root_and_split(spec: DatasetSpec, source: str | None) -> tuple[Path, str]:
    """The root of a source, and the split whose lists fit it.

    Args:
        spec: The data set.
        source: A folder, ``"sample"``, or None for the place where the notebooks look too.

    Raises:
        LookupError, DataError: There are no pictures; or None was given, and only the drawn sample is there.
    """
    root = spec.find_root(source)
    split = spec.split_of(root)
    if source is None and split == "sample":
        raise LookupError(f"no {spec.pictures} were found; give --data FOLDER, or --data sample for the embedded sample")
    return root, split


def gate_data(
    spec: DatasetSpec, source: str | None, read_label: Callable[[Path], Tensor] | None,
    own_names: Callable[[Path], Sequence[str]] | None = None,
) -> GateData:  # fmt: skip
    """Open the test list of the split that a source allows, or the instructor's own pictures.

    Args:
        spec: The data set.
        source: As ``root_and_split`` takes it.
        read_label: The reference's; without it labels are not read and need not be there.
        own_names: Root -> names of all its pictures, which are then the instructor's own.

    Raises:
        LookupError, OSError, ValueError: There are none, some are missing, or a label is not of its picture's size.
    """
    if own_names is None:
        root, split = root_and_split(spec, source)
        names = spec.split_names(split, "test")
    else:
        root, split = spec.find_root(source), "own"
        names = tuple(own_names(root))
    files = {name: [spec.image_path(root, name), *([spec.label_path(root, name)] if read_label else [])] for name in names}
    _demand_files(spec, split, files, "pairs" if read_label else "pictures")

    def photo(name: str) -> np.ndarray:
        return fit_photograph(spec, open_photograph(files[name][0]))  # (H, W, 3)

    def image(name: str) -> np.ndarray:
        scaled = (photo(name).astype(np.float32) / 255 - np.asarray(IMAGENET_MEAN, np.float32)) / np.asarray(IMAGENET_STD, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1).astype(np.float32))  # (3, H, W)

    def label(name: str) -> np.ndarray | None:
        return fit_label(spec, read_label(files[name][1])).numpy() if read_label else None  # (H, W)

    def size(name: str) -> tuple[int, int]:
        return spec.size or photograph_size(files[name][0])

    title = {"sample": "embedded sample", "own": f"the instructor's own {spec.pictures}"}.get(split, spec.title)
    return GateData(title, split, names, photo, image, label, _digest(files), size, sum(map(tuple, files.values()), ()))


def _demand_files(spec: DatasetSpec, split: str, files: dict[str, list[Path]], kind: str) -> None:
    """Refuse a list that is empty, or of which files are missing or of two sizes."""
    missing = [name for name, paths in files.items() if not all(path.is_file() for path in paths)]
    if missing or not files:
        advice = "; run `python -m segkit data verify`" if spec.verify else ""
        raise LookupError(
            f"the test list of split {split} is incomplete below the data folder: {len(missing)} of {len(files)} "
            f"{kind} are missing ({', '.join(missing[:3])}){advice}"
        )
    for photograph, *labels in files.values():
        for label in labels:
            demand_one_size(spec, photograph, label)


def _digest(files: dict[str, list[Path]]) -> str:
    digest = hashlib.sha256()
    for name, paths in files.items():
        digest.update(name.encode() + b"".join(path.read_bytes() for path in paths))
    return digest.hexdigest()
