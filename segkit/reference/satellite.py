"""References of the assignment ``satellite``."""

import os

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import vgg16

from segkit.datasets.satellite import SPEC
from segkit.upsampling import bilinear_weight

__all__ = ["FCN32s", "read_mask"]


def read_mask(path: str | os.PathLike) -> Tensor:
    """Decode a mask: pure colours to ids 0..6.

    Returns:
        LongTensor (H, W).

    Raises:
        ValueError: Another colour; the text names it and the position (row, column).
    """
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB"))
    ids = np.full(pixels.shape[:2], 255)
    for number, colour in enumerate(np.roll(SPEC.palette, -1, axis=0)):
        ids[(pixels == colour).all(-1)] = number
    if (ids == 255).any():
        row, column = (int(value) for value in np.argwhere(ids == 255)[0])
        raise ValueError(f"{path}: colour {tuple(pixels[row, column].tolist())} at row {row}, column {column} is none of the seven.")
    return torch.from_numpy(ids).long()


class FCN32s(nn.Module):
    """VGG-16's features, a head of 1 x 1 convolutions but for fc6's kernel of 2, and one upsampling by 32.

    Args:
        n_class: Number of classes.
    """

    def __init__(self, n_class: int = 7) -> None:
        super().__init__()
        self.features = vgg16(weights=None).features
        self.fc6, self.fc7, self.score = nn.Conv2d(512, 4096, 2), nn.Conv2d(4096, 4096, 1), nn.Conv2d(4096, n_class, 1)
        self.upscore = nn.ConvTranspose2d(n_class, n_class, 64, stride=32, bias=False)
        self.upscore.weight.data.copy_(bilinear_weight(n_class, 64))
        self.drop = nn.Dropout2d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Score the pixels: (N, 3, H, W) to (N, n_class, 32 [H / 32], 32 [W / 32]); H and W from 64 up."""
        x = self.features(x)  # (N, 512, H/32, W/32)
        x = self.drop(torch.relu(self.fc6(x)))  # (N, 4096, H/32 - 1, W/32 - 1)
        x = self.drop(torch.relu(self.fc7(x)))
        return self.upscore(self.score(x))

    def copy_params_from_vgg16(self, vgg16: nn.Module) -> None:
        """Take over the convolutions of torchvision's VGG-16."""
        self.features.load_state_dict(vgg16.get_submodule("features").state_dict())
