"""The CMP Facade Database under the names that the notebooks of ``fcn`` know; it is described in ``segkit.datasets.facades``.

Decoding a label file is the student's first task; the dataset therefore takes ``read_label`` as an argument.
"""

import os
from typing import Any

from segkit.datasets import DataError, PairDataset, data_folder
from segkit.datasets.facades import SPEC
from segkit.transforms import IGNORE_INDEX, IMAGENET_MEAN, IMAGENET_STD

__all__ = [
    "CLASSES",
    "IGNORE_INDEX",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "N_CLASS",
    "PALETTE",
    "DataError",
    "FacadeDataset",
    "data_folder",
    "find_root",
    "image_path",
    "label_path",
    "split_names",
]

CLASSES, N_CLASS, PALETTE = SPEC.classes, SPEC.n_class, SPEC.palette
find_root, split_names, image_path, label_path = SPEC.find_root, SPEC.split_names, SPEC.image_path, SPEC.label_path


class FacadeDataset(PairDataset):
    """Facades with their labels: :class:`segkit.datasets.PairDataset` of this data set, of split ``base`` by default."""

    def __init__(self, root: str | os.PathLike, split: str = "base", part: str = "train", **options: Any) -> None:
        super().__init__(SPEC, root, split, part, **options)
