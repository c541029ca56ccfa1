"""How much evidence points need: an output that agrees says little where few numbers had to agree.

A constant agrees with a constant, one number with one pixel, a map of zeros with a skip that carries nothing. So what is compared
must have about the picture's size, and the numbers that it is compared with must be many different ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["LEAST", "different_values", "enough", "of_the_pictures_size"]

LEAST = {
    "values": 60,  # values: what 6 coarse cells, 5 classes and 2 images have; FCN-8s has some hundred more
    "dropout": 30,  # channels that must be silent, in 5 classes; beside them 50 that must be left or dropped as p = 0.5 has it
    "copy": 30_000,  # samples of VGG-16's values, in 30 tensors; VGG's own must still be there, and the FCN's stay when they change
    "crop": 12,  # values of the one class that shows a crop: 6 coarse cells and 2 images
}
"""Credited part -> the least number of independent values that must agree before it earns anything."""

FINENESS, CLEAR = 0.1, 0.005
"""Values that lie nearer to each other count as one, in spreads of their map and of the whole: a bilinear map takes all in between."""
SHORT = 8
"""Pixels by which an output may be shorter than the shorter side of its picture: a trunk without ``ceil_mode`` loses some."""


def of_the_pictures_size(found: Tensor, images: Sequence[int], channels: int) -> bool:
    """Whether an output is large enough to be measured: both images, all classes, and no side much shorter than the picture's shorter.

    The shorter one, since rows and columns may be exchanged in a crop, which costs points elsewhere.

    Args:
        found: (N, C, H, W), or a label map (N, H, W) or (N, 1, H, W) of whole numbers.
        images: Shape of the images, (N, 3, H, W).
        channels: The number of classes.
    """
    if found.dim() not in (3, 4) or len(found) != images[0]:
        return False
    is_map = found.dim() == 3 or not found.is_floating_point()
    if found.dim() == 4 and found.shape[1] != (1 if is_map else channels):
        return False
    return min(found.shape[-2:]) >= min(images[2:]) - SHORT


def different_values(expected: Tensor) -> int:
    """Count the values that an output had to have: in each map of an image and a class, those that lie clearly apart.

    Args:
        expected: (N, C, H, W), or labels (N, H, W): there the places count where a label borders on another.
    """
    if not expected.is_floating_point():
        return int((expected.diff(dim=-1) != 0).sum() + (expected.diff(dim=-2) != 0).sum())
    spread = float(expected.std()) if expected.numel() > 1 else 0.0
    if not spread > 1e-6:
        return 0
    maps = expected.flatten(0, 1).flatten(1)  # (N C, H W)
    step = (FINENESS * maps.std(1, keepdim=True)).clamp_min(CLEAR * spread)
    return sum(int(torch.unique(one).numel()) for one in torch.round(maps / step))


def enough(part: str, expected: Tensor) -> bool:
    """Whether a part may be credited for having agreed with these values."""
    return different_values(expected) >= LEAST[part]
