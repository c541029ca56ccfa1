"""Bilinear upsampling kernels and the crop geometry of the VGG-based FCNs.

References:
    Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, sections 3.3
    (upsampling is backwards strided convolution) and 4.2 (combining what and where).
    https://doi.org/10.1109/CVPR.2015.7298965
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MIN_PADDING", "CropGeometry", "bilinear_kernel", "bilinear_weight", "crop_offsets"]

MIN_PADDING = 97
"""Smallest padding of ``conv1_1`` for which every input size from 1 px up is covered by the uncropped output."""


def bilinear_kernel(size: int) -> Tensor:
    """Return the kernel with which a transposed convolution interpolates bilinearly.

    A transposed convolution of stride ``s`` with this kernel of size ``2 * s`` upsamples by the factor ``s``.

    Args:
        size: Side of the kernel in pixels, at least 1.

    Returns:
        Float32 tensor of shape ``(size, size)``: the outer product of two triangles centred on the kernel's middle.

    Raises:
        ValueError: If ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"Expected a kernel size of at least 1, but got {size}.")
    factor = (size + 1) // 2
    # an odd kernel has a middle pixel, an even one has its centre between two pixels
    centre = factor - 1 if size % 2 == 1 else factor - 0.5
    distance = (torch.arange(size, dtype=torch.float64) - centre).abs()
    triangle = 1 - distance / factor  # (size,)
    return torch.outer(triangle, triangle).float()


def bilinear_weight(n_class: int, size: int) -> Tensor:
    """Return the weight of a transposed convolution that upsamples every channel on its own, bilinearly.

    Args:
        n_class: Number of channels, in and out.
        size: Side of the kernel in pixels.

    Returns:
        Float32 tensor of shape ``(n_class, n_class, size, size)``: the bilinear kernel on the channel diagonal, zero
        elsewhere, so that no class leaks into another.
    """
    weight = torch.zeros(n_class, n_class, size, size)
    diagonal = torch.arange(n_class)
    weight[diagonal, diagonal] = bilinear_kernel(size)
    return weight


@dataclass(frozen=True)
class CropGeometry:
    """Where the crops of the three networks begin, for one padding of ``conv1_1``.

    All offsets are in pixels of the map that is cropped, the same for rows and columns.

    Attributes:
        padding: Padding of ``conv1_1``; the course's value is 100.
        fcn32s: Offset of the output crop of FCN-32s (``padding - 81``).
        fcn16s: Offset of the output crop of FCN-16s (``padding - 73``).
        fcn8s: Offset of the output crop of FCN-8s (``padding - 69``).
        pool4: Offset of the crop of ``score_pool_4``; it does not depend on the padding.
        pool3: Offset of the crop of ``score_pool_3``; it does not depend on the padding.
    """

    padding: int = 100
    pool4: int = 5
    pool3: int = 9

    def __post_init__(self) -> None:
        if not isinstance(self.padding, int) or self.padding < MIN_PADDING:
            raise ValueError(
                f"Expected an integer padding of conv1_1 of at least {MIN_PADDING}, but got {self.padding!r}: "
                "with less, the uncropped output does not cover every input size."
            )

    @property
    def fcn32s(self) -> int:
        return self.padding - 81

    @property
    def fcn16s(self) -> int:
        return self.padding - 73

    @property
    def fcn8s(self) -> int:
        return self.padding - 69

    def score_centre(self, index: int) -> float:
        """Return the input row (or column) at which score cell ``index`` looks, in pixels of the input image.

        For padding 100 it is ``32 * index + 12.5``.
        """
        # five 2x2 pools put a cell's centre at 15.5 of its 32 pixels; fc6 (7x7, no padding) moves it by 3 cells
        return 32 * (index + 3) + 15.5 - (self.padding - 1)


def crop_offsets(padding: int = 100) -> dict[str, int]:
    """Return all five crop offsets for a padding of ``conv1_1``.

    Args:
        padding: Padding of ``conv1_1`` in pixels, at least 97.

    Returns:
        Offsets in pixels by name: ``fcn32s``, ``fcn16s``, ``fcn8s`` (output crops), ``pool4`` and ``pool3`` (crops of the
        skip connections).

    Raises:
        ValueError: If the padding is no integer or below 97.
    """
    geometry = CropGeometry(padding)
    return {name: getattr(geometry, name) for name in ("fcn32s", "fcn16s", "fcn8s", "pool4", "pool3")}
