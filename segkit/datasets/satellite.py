"""Land seen from above: seven classes as pure colours, photographs of 512 x 512 pixels (NTU DLCV, after DeepGlobe's land cover).

Demir et al., "DeepGlobe 2018: A Challenge to Parse the Earth through Satellite Images", CVPR Workshops 2018.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.datasets.spec import DatasetSpec
from segkit.pictures import PHOTOGRAPHS, names_in

__all__ = ["SPEC", "draw_tile", "make_sample"]

PARTS = (12, 2, 4)  # pictures of the sample: train, val, test
GROUND = ((150, 140, 140), (170, 170, 90), (140, 150, 90), (40, 80, 40), (40, 60, 110), (200, 190, 170))  # a shade for each class


def _stems(name: str) -> tuple[str, str]:
    """``train_0000`` is ``train/0000_sat.jpg`` with ``train/0000_mask.png``."""
    stem = name.replace("_", "/", 1)
    return f"{stem}_sat", f"{stem}_mask"


def _split_of(root: Path) -> str:
    """``sample`` (drawn pictures count from 9000) or ``course``."""
    return "sample" if any(name.startswith("9") for name in names_in(Path(root) / "train", PHOTOGRAPHS)) else "course"


def draw_tile(seed: int, side: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Draw a photograph and its mask; the same arguments give the same tile.

    Args:
        seed: Any whole number from 0. Every eighth tile has a black margin that nobody labelled.
        side: Rows and columns.

    Returns:
        uint8 (side, side, 3), RGB; uint8 (side, side), ids 0..6.
    """
    rng = np.random.default_rng([seed, side])
    rows, columns = np.mgrid[:side, :side]
    towns = (np.array([(y, x) for y in range(3) for x in range(3)]) + rng.uniform(0.2, 0.8, (9, 2))) * side / 3
    kinds = rng.permutation([*range(6), *rng.integers(0, 6, 3)])
    mask = kinds[((rows[..., None] - towns[:, 0]) ** 2 + (columns[..., None] - towns[:, 1]) ** 2).argmin(-1)].astype(np.uint8)
    texture = np.zeros((side, side))
    texture[mask == 0] = np.where((rows // 8 + columns // 8) % 2, 35, -35)[mask == 0]  # roofs and streets
    texture[mask == 1] = (20 * np.sign(np.sin((rows + columns) / 5)))[mask == 1]  # furrows
    texture[mask == 3] = np.kron(rng.normal(0, 18, (side // 8, side // 8)), np.ones((8, 8)))[mask == 3]  # crowns of trees
    picture = np.array(GROUND, float)[mask] + texture[..., None] + rng.normal(0, 2, (side, side, 1))
    if seed % 8 == 3:
        mask[:, -side // 16 :], picture[:, -side // 16 :] = 6, 0
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def make_sample(root: str | os.PathLike, count: int = sum(PARTS), seed: int = 2026) -> tuple[str, ...]:
    """Draw the first pictures of the sample into ``root``.

    Args:
        root: Folder; it is made if need be.
        count: How many.
        seed: Another one draws another sample.

    Returns:
        The names.
    """
    train = PARTS[0]
    names = tuple(f"{'train' if n < train else 'validation'}_{9000 + n:04d}" for n in range(count))
    for number, name in enumerate(names):
        photograph, mask = draw_tile(seed * 1000 + number)
        path = SPEC.image_path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph).save(path, quality=70)
        colours = np.roll(SPEC.palette, -1, axis=0)  # id 6, unknown, stands first in the palette
        Image.fromarray(colours[mask]).save(SPEC.label_path(root, name), optimize=True)
    return names


SPEC = DatasetSpec(
    name="satellite",
    title="Satellite land cover",
    pictures="satellite pictures",
    citation="I. Demir et al., DeepGlobe 2018, CVPR Workshops 2018",
    classes=("urban", "agriculture", "rangeland", "forest", "water", "barren"),
    colours=((0, 0, 0), (0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255)),
    stored=("(0, 0, 0)", "(0, 255, 255)", "(255, 255, 0)", "(255, 0, 255)", "(0, 255, 0)", "(0, 0, 255)", "(255, 255, 255)"),
    stored_as="colour",
    ignore_index=6,
    size=(256, 256),
    home="dlcv_satellite",
    folders=("train", "validation"),
    stems=_stems,
    splits=("course", "sample"),  # 1900, 100 of train/ and 257 of validation/; 12, 2, 4 drawn ones
    split_of=_split_of,
    draw=make_sample,
    networks=("FCN32s",),
    outputs=7,
    reader="read_mask",
    reference="segkit.reference.satellite",
)
