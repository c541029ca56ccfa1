"""Decoding of the label maps of the CMP Facade Database."""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import LongTensor

__all__ = ["read_label"]


def read_label(path: str | Path) -> LongTensor:
    """Decode a label map by palette index.

    The database numbers its classes from 1, in the order of its ``label_names.txt``; 0 is "unknown". Training labels are
    ids minus 1, and 255 where the id is 0.

    Args:
        path: An indexed PNG (PIL mode ``P``) with the values 0..12.

    Returns:
        Int64 tensor of shape ``(H, W)`` with the values 0..11 and 255.

    Raises:
        ValueError: If the file is no indexed PNG or holds an index above 12.
    """
    with Image.open(path) as picture:
        if picture.mode != "P":
            raise ValueError(
                f"{path}: expected an indexed PNG (mode P), but got mode {picture.mode}. Its colours or grey values are "
                "not class ids; take the file from the database again."
            )
        ids = np.asarray(picture)  # (H, W) uint8; the palette index is the class id
    if ids.max() > 12:
        raise ValueError(f"{path}: expected palette indices 0..12, but got {ids.max()}. This is no CMP label map.")
    label = ids.astype(np.int64) - 1
    label[ids == 0] = 255
    return cast(torch.LongTensor, torch.from_numpy(label))
