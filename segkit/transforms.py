"""Transforms of an (image, label) pair. Both share one random draw: a flipped picture has a flipped label.

Images are FloatTensors (3, H, W), labels LongTensors (H, W). Images are resized bilinearly, labels by the
nearest pixel, for a class number between two classes means nothing; what is added at a border counts as
unknown (255).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from segkit.pictures import upright

__all__ = [
    "IGNORE_INDEX",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Compose",
    "PadToMultiple",
    "PairTransform",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomScale",
    "RandomScaleCrop",
    "denormalize",
    "normalize",
    "to_tensor",
]

PairTransform = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

IGNORE_INDEX = 255  # of label maps in all data sets of the kit: the pixel does not count

# channel statistics of the pictures that VGG-16 was trained on, for RGB in 0..1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """Picture as a tensor.

    Args:
        picture: an RGB picture; it is turned upright as its camera says.

    Returns:
        FloatTensor (3, H, W), values 0..1.
    """
    pixels = np.array(upright(picture), dtype=np.uint8)  # (H, W, 3), a copy: tensors must not share read-only memory
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"Expected an RGB picture (H, W, 3), but got {pixels.shape}: convert it to RGB.")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255)


def normalize(image: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Subtracts the channel means and divides by the channel deviations.

    Args:
        image: FloatTensor (..., 3, H, W), values 0..1.
        mean: three channel means.
        std: three channel standard deviations.

    Returns:
        FloatTensor of the same shape; the argument is left alone.
    """
    mean_, std_ = _channels(image, mean), _channels(image, std)
    return (image - mean_) / std_


def denormalize(image: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Undoes :func:`normalize`, for plots: FloatTensor (..., 3, H, W) within 0..1."""
    return (image * _channels(image, std) + _channels(image, mean)).clamp(0, 1)


def _channels(image: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    return torch.as_tensor(values, dtype=image.dtype, device=image.device).view(-1, 1, 1)


class Compose:
    """One transform after the other."""

    def __init__(self, *transforms: PairTransform) -> None:
        self.transforms = transforms

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for transform in self.transforms:
            image, label = transform(image, label)
        return image, label


class _Random:
    """Base of the random transforms: draws come from ``generator``, or from torch's own seeded one."""

    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator = generator

    def uniform(self) -> float:
        return float(torch.rand((), generator=self.generator))

    def integer(self, upper: int) -> int:
        """A whole number 0..upper, both included."""
        return int(torch.randint(upper + 1, (), generator=self.generator))


class RandomHorizontalFlip(_Random):
    """Mirrors image and label together, left to right, with probability ``p``."""

    def __init__(self, p: float = 0.5, generator: torch.Generator | None = None) -> None:
        super().__init__(generator)
        self.p = p

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _demand_pair(image, label)
        if self.uniform() < self.p:
            return image.flip(-1), label.flip(-1)
        return image, label


class RandomCrop(_Random):
    """Cuts the same window out of image and label; a smaller picture is first padded, right and bottom.

    Args:
        size: (height, width) of the window.
        fill: value of the padded image pixels; padded label pixels are 255 (unknown).
        generator: source of the draw.
        pad: False leaves smaller pictures as small as they are.
    """

    def __init__(self, size: tuple[int, int], fill: float = 0.0, generator: torch.Generator | None = None, pad: bool = True) -> None:
        super().__init__(generator)
        self.size = size
        self.fill = fill
        self.pad = pad

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _demand_pair(image, label)
        height, width = self.size
        if self.pad:
            image, label = _pad(image, label, height, width, self.fill)
        height, width = min(height, label.shape[0]), min(width, label.shape[1])
        top = self.integer(label.shape[0] - height)
        left = self.integer(label.shape[1] - width)
        window = (..., slice(top, top + height), slice(left, left + width))
        return image[window], label[window]


class RandomScale(_Random):
    """Resizes both by one factor drawn from ``low``..``high``: image bilinear, label by the nearest pixel."""

    def __init__(self, low: float = 0.5, high: float = 2.0, generator: torch.Generator | None = None) -> None:
        super().__init__(generator)
        if not 0 < low <= high:
            raise ValueError(f"Expected 0 < low <= high, but got low = {low}, high = {high}.")
        self.low, self.high = low, high

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _demand_pair(image, label)
        factor = self.low + (self.high - self.low) * self.uniform()
        height = max(1, round(label.shape[0] * factor))
        width = max(1, round(label.shape[1] * factor))
        size = (height, width)
        image = F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
        # "nearest-exact" looks at pixel centres, as the image does; plain "nearest" is half a pixel off
        label = F.interpolate(label[None, None].float(), size, mode="nearest-exact")[0, 0].long()
        return image.clamp(0, 1), label


class RandomScaleCrop(_Random):
    """Cuts out a window and resizes it by one random factor: as resizing first would, without its work for what is cut off.

    Takes bytes as well as floats, normalised or not. Images are resized bilinearly, labels by the nearest pixel.

    Args:
        side: of the square that comes out, None for the whole picture; a smaller picture gives less.
        low: smallest factor.
        high: largest factor.
        generator: source of the draws.
    """

    def __init__(self, side: int | None, low: float = 0.5, high: float = 2.0, generator: torch.Generator | None = None) -> None:
        super().__init__(generator)
        if not 0 < low <= high:
            raise ValueError(f"Expected 0 < low <= high, but got low = {low}, high = {high}.")
        self.side, self.low, self.high = side, low, high

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _demand_pair(image, label)
        factor = self.low + (self.high - self.low) * self.uniform()
        height, width = label.shape
        if self.side is not None:
            height, width = (min(size, math.ceil(self.side / factor)) for size in label.shape)
        top, left = self.integer(label.shape[0] - height), self.integer(label.shape[1] - width)
        window = (..., slice(top, top + height), slice(left, left + width))
        size = [max(1, round(length * factor)) for length in (height, width)]
        if self.side is not None:
            size = [min(self.side, length) for length in size]
        image = F.interpolate(image[window][None], size, mode="bilinear", align_corners=False, antialias=True)[0]
        rows, columns = (_nearest(length, new) for length, new in zip((height, width), size, strict=True))
        return image, label[window][rows][:, columns]


def _nearest(length: int, new: int) -> torch.Tensor:
    """Which old line the centre of each of ``new`` lines falls into."""
    return ((torch.arange(new) + 0.5) * (length / new)).long().clamp_(0, length - 1)


class PadToMultiple:
    """Pads right and bottom until both sides are multiples of ``multiple``; padded label pixels are 255."""

    def __init__(self, multiple: int = 32, fill: float = 0.0) -> None:
        if multiple < 1:
            raise ValueError(f"Expected a multiple of at least 1, but got {multiple}.")
        self.multiple = multiple
        self.fill = fill

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _demand_pair(image, label)
        height, width = (-(-side // self.multiple) * self.multiple for side in label.shape)
        return _pad(image, label, height, width, self.fill)


def _pad(image: torch.Tensor, label: torch.Tensor, height: int, width: int, fill: float) -> tuple[torch.Tensor, torch.Tensor]:
    right = max(0, width - label.shape[1])
    bottom = max(0, height - label.shape[0])
    if not right and not bottom:
        return image, label
    border = (0, right, 0, bottom)
    return F.pad(image, border, value=fill), F.pad(label, border, value=IGNORE_INDEX)


def _demand_pair(image: torch.Tensor, label: torch.Tensor) -> None:
    if image.ndim != 3 or label.ndim != 2 or image.shape[1:] != label.shape:
        raise ValueError(
            f"Expected an image (3, H, W) and a label (H, W) of one size, but got {tuple(image.shape)} and {tuple(label.shape)}."
        )
