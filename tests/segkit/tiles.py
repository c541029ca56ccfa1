"""A made-up data set as the tests want one: aerial tiles in two folders, masks in pure colours, used at half their size."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segkit.datasets import DataError, DatasetSpec

COLOURS = ((0, 0, 0), (250, 200, 0), (0, 0, 255), (255, 255, 255))  # no data, soil, water, cloud


def read_ids(path: Path) -> np.ndarray:
    """Row of the colour in ``COLOURS`` for every pixel."""
    rgb = np.array(Image.open(path).convert("RGB"))
    hits = (rgb[:, :, None] == np.array(COLOURS)).all(-1)  # (H, W, 4)
    if not hits.any(-1).all():
        raise DataError(f"{path}: a colour of no class")
    return hits.argmax(-1).astype(np.uint8)


def read_label(path: Path) -> torch.Tensor:
    """Soil 0, water 1, cloud 2; no data 3."""
    return torch.from_numpy((read_ids(path).astype(np.int64) - 1) % 4)


def write(root: Path, name: str, ids: np.ndarray) -> None:
    """A pair: ``ids`` are rows of ``COLOURS``; the photograph has the colours of the mask, a little darker."""
    colours = np.array(COLOURS, dtype=np.uint8)[ids]
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours // 2).save(root / f"{name}_sat.jpg", quality=95)
    Image.fromarray(colours).save(root / f"{name}_mask.png")


def draw(root: Path, count: int = 4, seed: int = 0) -> tuple[str, ...]:
    """Blocks of 8 x 8 pixels; the last tile lies in ``validation/``."""
    names = tuple(f"{'train' if index < count - 1 else 'validation'}/{index:04d}" for index in range(count))
    for index, name in enumerate(names):
        blocks = np.random.default_rng([seed, index]).integers(0, 4, (6, 8))
        write(root, name, np.kron(blocks, np.ones((8, 8), dtype=int)))
    return names


def verify(root: Path, progress: bool = True):
    from segkit.datasets.survey import survey

    def pairs(folder: Path, found) -> list[tuple[Path, Path]]:
        return [(path.with_name(path.name.replace("_mask.png", "_sat.jpg")), path) for path in sorted(folder.glob("*_mask.png"))]

    return survey(SPEC, root, pairs, read_ids, progress=progress)


SPEC = DatasetSpec(
    name="tiles", title="Tiles from above", pictures="tiles", citation="nobody", classes=("soil", "water", "cloud"), colours=COLOURS,
    stored=tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in COLOURS), stored_as="colour", ignore_index=3, size=(24, 32),
    home="tiles_real", variable="TILES_DATA", folders=("train", "validation"), stems=lambda name: (f"{name}_sat", f"{name}_mask"),
    splits=("all",), split_of=lambda root: "all", draw=draw, verify=verify,
)  # fmt: skip
