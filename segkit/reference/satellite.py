"""References of the assignment ``satellite``."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor, nn
from torchvision.models import vgg16

from segkit.datasets.satellite import SPEC
from segkit.upsampling import bilinear_weight

__all__ = ["Classifier", "FCN8s", "FCN16s", "FCN32s", "embed", "layer_table", "mean_iou", "read_mask"]

Row = tuple[str, tuple[int, ...], int]


# ------------------------------------------------------------------------------------------------------------ classifying
def layer_table(model: nn.Module, size: tuple[int, ...]) -> list[Row]:
    """List the layers of a model in the order in which they run; the model stays as it was.

    Args:
        model: Any module that takes a batch of float32 tensors.
        size: Of one input, without the batch: (3, 32, 32).

    Returns:
        A row for each call of a module without children: name, shape of its output without the batch, parameters. A module that runs
        twice has two rows, and its parameters count in the first; one that never runs has none.
    """
    rows: list[Row] = []
    seen: set[nn.Module] = set()

    def hook(name: str) -> Any:
        def note(module: nn.Module, _: Any, output: Tensor) -> None:
            count = 0 if module in seen else sum(parameter.numel() for parameter in module.parameters())
            seen.add(module)
            rows.append((name, tuple(output.shape[1:]), count))

        return note

    modes = {module: module.training for module in model.modules()}
    hooks = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if not [*module.children()]]
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *size))
    finally:
        for one in hooks:
            one.remove()
        for module, mode in modes.items():
            module.training = mode
    return rows


class Classifier(nn.Module):
    """Torchvision's VGG-16 with ``n_class`` outputs (Simonyan & Zisserman, ICLR 2015, configuration D).

    Args:
        n_class: Number of classes.
    """

    def __init__(self, n_class: int = 50) -> None:
        super().__init__()
        self.vgg = vgg16(weights=None, num_classes=n_class)

    def features(self, x: Tensor) -> Tensor:
        """What the last layer reads, behind its ReLU: (N, 3, H, W) to (N, 4096)."""
        *head, _, _ = self.vgg.classifier  # without dropout and the last layer
        return nn.Sequential(self.vgg.features, self.vgg.avgpool, nn.Flatten(), *head)(x)

    def forward(self, x: Tensor) -> Tensor:
        """Score the classes: (N, 3, H, W) to (N, n_class)."""
        return self.vgg.classifier[5:](self.features(x))


def embed(model: Any, loader: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The features of all pictures, in eval mode and without gradients; the model's mode stays as it was.

    Args:
        model: A classifier with ``features(x)``.
        loader: Batches of pictures (N, 3, H, W) and labels (N,).

    Returns:
        Float32 (M, 4096) and int64 (M,), in the loader's order.
    """
    training = model.training
    with torch.no_grad():
        model.eval()
        batches = [(model.features(x), labels) for x, labels in loader]
    model.train(training)
    features, labels = zip(*batches, strict=True)
    return torch.cat(features).float(), torch.cat(labels)


# ------------------------------------------------------------------------------------------------------------ masks
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


def mean_iou(pred: ArrayLike, gt: ArrayLike, count_unknown: bool = False) -> float:
    """Mean over the classes 0 to 5 of intersection over union, counted over all pixels together.

    Args:
        pred: Ids, of any shape.
        gt: Ids of the same shape; whatever is none of the six classes is unknown.
        count_unknown: Whether a class that is predicted where the truth is unknown counts as wrong, as the course's own script has it.
            Else such pixels do not count at all.

    Returns:
        NaN where no class occurs. A class that is in neither map does not count.
    """
    pred, gt = np.asarray(pred), np.asarray(gt)
    if not count_unknown:
        pred, gt = pred[gt < SPEC.n_class], gt[gt < SPEC.n_class]
    classes = [(pred == number, gt == number) for number in range(SPEC.n_class)]
    found = [(p & t).sum() / (p | t).sum() for p, t in classes if (p | t).any()]
    return float(np.mean(found)) if found else float("nan")


# ------------------------------------------------------------------------------------------------------------ networks
class FCN32s(nn.Module):
    """VGG-16's features, a head of 1 x 1 convolutions but for fc6's kernel of 2, and one upsampling by 32.

    Args:
        n_class: Number of classes.
    """

    def __init__(self, n_class: int = 7) -> None:
        super().__init__()
        self.features = vgg16(weights=None).features
        self.fc6, self.fc7, self.score = nn.Conv2d(512, 4096, 2), nn.Conv2d(4096, 4096, 1), nn.Conv2d(4096, n_class, 1)
        self.drop = nn.Dropout2d(0.5)
        self._add_upsampling(n_class)

    def _add_upsampling(self, n_class: int) -> None:
        self.upscore = nn.ConvTranspose2d(n_class, n_class, 64, stride=32, bias=False)
        self.upscore.weight.data.copy_(bilinear_weight(n_class, 64))

    def _scores(self, x: Tensor) -> Tensor:
        """Of the last pool's map: (N, 512, h, w) to (N, n_class, h - 1, w - 1)."""
        x = self.drop(torch.relu(self.fc6(x)))
        return self.score(self.drop(torch.relu(self.fc7(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Score the pixels: (N, 3, H, W) to (N, n_class, 32 [H / 32], 32 [W / 32]); H and W from 64 up."""
        return self.upscore(self._scores(self.features(x)))

    def copy_params_from_vgg16(self, vgg16: nn.Module) -> None:
        """Take over the convolutions of torchvision's VGG-16."""
        self.features.load_state_dict(vgg16.get_submodule("features").state_dict())


class FCN16s(FCN32s):
    """FCN-32s whose scores are brought to the channels of pool4 and added to it: fused in feature space, not in score space."""

    def _add_upsampling(self, n_class: int) -> None:
        self.upfeature = nn.ConvTranspose2d(n_class, 512, 4, stride=2, bias=False)
        self.upscore = nn.ConvTranspose2d(512, n_class, 16, stride=16, bias=False)

    def terms(self, scores: Tensor, pool4: Tensor) -> dict[str, Tensor]:
        """The maps that are added, each (N, 512, H/16, W/16)."""
        return {"scores": self.upfeature(scores), "pool4": pool4}

    def forward(self, x: Tensor) -> Tensor:
        """Score the pixels: (N, 3, H, W) to (N, n_class, H, W) for multiples of 32 from 64 up."""
        pool4 = self.features[:24](x)  # (N, 512, H/16, W/16)
        scores = self._scores(self.features[24:](pool4))  # (N, n_class, H/32 - 1, W/32 - 1)
        return self.upscore(torch.stack([*self.terms(scores, pool4).values()]).sum(0))


class FCN8s(FCN32s):
    """FCN-32s whose scores, and pool4, are brought to the channels of pool3 and added to it."""

    def _add_upsampling(self, n_class: int) -> None:
        self.upfeature = nn.ConvTranspose2d(n_class, 256, 8, stride=4, bias=False)
        self.uppool4 = nn.ConvTranspose2d(512, 256, 2, stride=2, bias=False)
        self.upscore = nn.ConvTranspose2d(256, n_class, 8, stride=8, bias=False)

    def terms(self, scores: Tensor, pool4: Tensor, pool3: Tensor) -> dict[str, Tensor]:
        """The maps that are added, each (N, 256, H/8, W/8)."""
        return {"scores": self.upfeature(scores), "pool4": self.uppool4(pool4), "pool3": pool3}

    def forward(self, x: Tensor) -> Tensor:
        """Score the pixels: (N, 3, H, W) to (N, n_class, H, W) for multiples of 32 from 64 up."""
        pool3 = self.features[:17](x)  # (N, 256, H/8, W/8)
        pool4 = self.features[17:24](pool3)  # (N, 512, H/16, W/16)
        scores = self._scores(self.features[24:](pool4))  # (N, n_class, H/32 - 1, W/32 - 1)
        return self.upscore(torch.stack([*self.terms(scores, pool4, pool3).values()]).sum(0))
