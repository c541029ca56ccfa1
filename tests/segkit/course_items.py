"""Small stand-ins for facades and networks, shared by the tests of training."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from segkit.facades import PALETTE, FacadeDataset

N = 12
SIZES = ((20, 31), (24, 24), (33, 18), (20, 30), (40, 26), (24, 25), (34, 18), (41, 26))


def decode(path: Path) -> torch.Tensor:
    """What a student writes in notebook 1."""
    ids = torch.from_numpy(np.array(Image.open(path))).long()
    return torch.where(ids == 0, 255, ids - 1)


def write_pair(root: Path, name: str, size: tuple[int, int], seed: int) -> None:
    """Blocks of classes, each in its own colour with some noise: learnable, and some pixels unknown."""
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 13, (6, 6)), np.ones((8, 8), int))[: size[0], : size[1]].astype(np.uint8)
    image = PALETTE[ids].astype(int) + rng.integers(-20, 20, (*size, 3))
    (root / "base").mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "base" / f"{name}.jpg", quality=95)
    label = Image.fromarray(ids, mode="L")
    label.putpalette(PALETTE.tobytes())
    label.save(root / "base" / f"{name}.png")


def facades(root: Path, count: int = 8, start: int = 1, read_label=decode, **options) -> FacadeDataset:
    """Facades of several sizes, written if they are not there."""
    names = [f"cmp_b{index:04d}" for index in range(start, start + count)]
    for place, name in enumerate(names):
        if not (root / "base" / f"{name}.png").exists():
            write_pair(root, name, SIZES[(place + start - 1) % len(SIZES)], start + place)
    return FacadeDataset(root, names=names, read_label=read_label, **options)


def net(dropout: float = 0.2, n_class: int = N) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout2d(dropout), nn.Conv2d(8, n_class, 1))


def comparable(history) -> list:
    """All that a history says but the time it took."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history.to_json()["epochs"]]
