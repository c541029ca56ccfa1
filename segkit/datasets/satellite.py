"""Land seen from above: seven classes as pure colours, photographs of 512 x 512 pixels (NTU DLCV, after DeepGlobe's land cover).

Demir et al., "DeepGlobe 2018: A Challenge to Parse the Earth through Satellite Images", CVPR Workshops 2018.
"""

import functools
import importlib
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageFilter

from segkit.datasets.spec import DataError, DatasetSpec
from segkit.pictures import BROKEN, LABELS, PHOTOGRAPHS, find_picture, names_in
from segkit.transforms import IMAGENET_MEAN, IMAGENET_STD, normalize

if TYPE_CHECKING:
    from segkit.datasets.survey import Survey

__all__ = ["PUBLISHED", "SPEC", "ClassPictures", "LabelledPictures", "class_of", "digits", "draw_tile", "make_sample", "open_picture"]

PUBLISHED: dict[str, dict[int | str, float]] = {
    "FCN32s": {1: 0.43, 5: 0.56, 10: 0.59, 15: 0.61, 20: 0.65, "final": 0.670},
    "FCN16s": {1: 0.54, 5: 0.58, 10: 0.61, 15: 0.64, 20: 0.67, "final": 0.709},
    "FCN8s": {"final": 0.699},
}
"""Mean IoU on the pictures of ``validation/`` after some epochs, as published by students of the course."""

Layer = np.ndarray  # float: (side, side) of numbers, or (side, side, 3) of colours

N_PICTURED, SIDE = 50, 32  # classes and pixels of the pictures that are to be classified

PARTS = (22, 4, 6)  # pictures of the sample: train, val, test
URBAN, AGRICULTURE, RANGELAND, FOREST, WATER, BARREN, UNKNOWN = range(7)
LAND = (URBAN, AGRICULTURE, RANGELAND, FOREST, BARREN)
TREES = np.array((0.04, 0, 0.05, 1, 0, 0.01))  # share of the places for a tree that have one, by class
KINDS = 1024  # fields and lots that differ; a larger number begins again

CROPS = ((122, 140, 66), (152, 152, 84), (96, 122, 60), (170, 150, 100), (142, 114, 82), (186, 172, 112), (80, 104, 56), (134, 128, 74))
ROOFS = ((186, 182, 176), (160, 104, 84), (214, 210, 202), (142, 138, 136), (176, 122, 92), (120, 118, 122))
WATERS = ((42, 72, 92), (58, 92, 96), (86, 104, 92), (48, 66, 74))
GARDEN, YARD, STREET, HEDGE, CROWN, FLOOR = (104, 112, 78), (150, 138, 120), (136, 134, 134), (92, 96, 62), (54, 84, 42), (62, 70, 44)
GRASS, SAND, SHORE, ROAD = (132, 130, 84), (196, 178, 150), (178, 164, 132), (198, 190, 176)


def _stems(name: str) -> tuple[str, str]:
    """``train_0000`` is ``train/0000_sat.jpg`` with ``train/0000_mask.png``."""
    stem = name.replace("_", "/", 1)
    return f"{stem}_sat", f"{stem}_mask"


def _split_of(root: Path) -> str:
    """``sample`` (drawn pictures count from 9000) or ``course``."""
    return "sample" if any(name.startswith("9") for name in names_in(Path(root) / "train", PHOTOGRAPHS)) else "course"


# -- drawing ---------------------------------------------------------------------------------------------------------------


def draw_tile(seed: int, side: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Draw a photograph and its mask; the same arguments give the same tile.

    Nine pieces of land with winding borders, all five kinds among them; over these a river, a lake or both; then trees with their
    shadows, and a road that nobody labelled. A forest's trees reach a little over its border, as they do.

    Args:
        seed: Any whole number from 0. Every eighth tile has a black margin that nobody labelled.
        side: Rows and columns; what stands on the land keeps its size in pixels.

    Returns:
        uint8 (side, side, 3), RGB; uint8 (side, side), ids 0..6.
    """
    rng = np.random.default_rng([seed, side])
    places = np.mgrid[:side, :side] + np.stack([_clouds(rng, side, 4), _clouds(rng, side, 4)]) * side / 30  # (2, side, side)
    centres = (np.array(list(itertools.product(range(3), repeat=2))) + rng.uniform(0.15, 0.85, (9, 2))) * side / 3
    pieces = ((places[:, None] - centres.T[..., None, None]) ** 2).sum(0).argmin(0)  # (side, side), 0..8
    mask = rng.permutation([*LAND, *rng.choice(LAND, 4)])[pieces].astype(np.uint8)
    depth = _depth(rng, side)
    mask[depth > 0] = WATER
    picture = _trees(rng, _ground(rng, mask, depth), mask)
    picture = _laid_over(picture, ROAD, _road(rng, side))
    picture = _blurred(np.clip(picture, 0, 255), 0.6) * rng.uniform(0.92, 1.06, 3) + rng.normal(0, 2.5, (side, side, 1))
    if seed % 8 == 3:
        mask[:, -side // 16 :], picture[:, -side // 16 :] = UNKNOWN, 0
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def _clouds(rng: np.random.Generator, side: int, cells: int, octaves: int = 3) -> Layer:
    """Smooth noise of deviation 1: random grids, each twice as fine as the last and half as strong, made large."""
    total = np.zeros((side, side))
    for octave in range(octaves):
        grid = rng.normal(size=2 * [(cells << octave) + 2]).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)) / 2**octave
    return total / total.std()


def _blurred(layer: Layer, radius: float) -> Layer:
    """A layer of values 0..255, smoothed."""
    return np.asarray(Image.fromarray(layer.astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius)), float)


def _laid_over(below: Layer, above: Layer | tuple[int, ...], cover: Layer) -> Layer:
    """Colours over others, where ``cover`` (side, side) is 1; beside that it lets through."""
    return below * (1 - cover[..., None]) + np.asarray(above) * cover[..., None]


def _shadow(what: np.ndarray, far: int) -> np.ndarray:
    """What lies so many pixels to the lower right of something."""
    return np.pad(what, ((far, 0), (far, 0)))[: len(what), : len(what)]


def _turned(rng: np.random.Generator, side: int) -> tuple[Layer, Layer]:
    """Coordinates in pixels from the middle, turned by a random angle: streets and furrows run in all directions."""
    angle = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[:side, :side] - side / 2
    return columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)


def _wave(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """A winding line (side,) of deviation 1."""
    line = _clouds(rng, side, cells, 1)[side // 2]
    return (line - line.mean()) / line.std()


def _beside(centre: np.ndarray) -> Layer:
    """Distance of each place from a line that is at column ``centre[row]``, about, in pixels."""
    return abs(np.arange(len(centre)) - centre[:, None]) / np.hypot(1, np.gradient(centre))[:, None]


def _depth(rng: np.random.Generator, side: int) -> Layer:
    """How far inside water a place lies, in pixels; negative on land."""
    slope = rng.uniform(-0.5, 0.5) * np.arange(-side / 2, side / 2)
    half = rng.uniform(11, 24) * (1 + 0.25 * _wave(rng, side, 6))[:, None]
    river = half - _beside(side * rng.uniform(0.25, 0.75) + slope + _wave(rng, side, 3) * side * 0.07)
    river = river.T if rng.random() < 0.5 else river
    row, column, reach = rng.uniform(0.1, 0.9) * side, rng.uniform(0.1, 0.9) * side, rng.uniform(0.09, 0.2) * side
    rows, columns = np.ogrid[:side, :side]
    lake = reach * (1 + 0.22 * _clouds(rng, side, 3, 2)) - np.hypot(rows - row, columns - column)
    return (river, lake, np.maximum(river, lake))[rng.integers(3)]


def _road(rng: np.random.Generator, side: int) -> Layer:
    """1 on a road from side to side."""
    slope = rng.uniform(-0.4, 0.4) * np.arange(-side / 2, side / 2)
    road = np.clip(3.5 - _beside(side * rng.uniform(0.3, 0.7) + slope + _wave(rng, side, 2) * side * 0.08), 0, 1)
    return road if rng.random() < 0.5 else road.T


def _ground(rng: np.random.Generator, mask: np.ndarray, depth: Layer) -> Layer:
    """Colours of the land and of the water, without what stands on them."""
    side = len(mask)
    fine, coarse = _clouds(rng, side, 64, 2)[..., None], _clouds(rng, side, 5)[..., None]  # (side, side, 1)
    grass = GRASS + coarse * (14, 8, 8) + fine * 8
    sand = SAND + coarse * 10 + fine * 4 + 6 * np.sin(9 * coarse)
    water = WATERS[rng.integers(len(WATERS))] + 3 * coarse + np.clip(14 - depth, 0, 14)[..., None] * (1.6, 1.5, 0.8)
    grounds = np.stack([_town(rng, side), _fields(rng, side), grass, np.broadcast_to(np.array(FLOOR, float), grass.shape), water, sand])
    picture = np.take_along_axis(grounds, mask[None, ..., None].astype(int), 0)[0]
    return _laid_over(picture, SHORE, 0.65 * ((depth <= 0) & (depth > -6 - 2 * coarse[..., 0])))


def _fields(rng: np.random.Generator, side: int) -> Layer:
    """Strips cut into fields, each with a crop and its furrows, and hedges between them."""
    u, v = _turned(rng, side)
    edges = np.cumsum(rng.uniform(24, 60, 8 + side // 12)) - side
    strip = np.searchsorted(edges[:-1], u)
    length, first = (rng.uniform(low, 150, len(edges))[strip] for low in (60, 0))
    number, along = np.divmod(v + first, length)
    field = (31 * strip + number.astype(int)) % KINDS
    crop, period, strong = rng.integers(len(CROPS), size=KINDS), rng.uniform(6, 11, KINDS), rng.uniform(2, 15, KINDS)
    way = np.where((rng.random(KINDS) < 0.4)[field], v, u)
    ground = np.array(CROPS, float)[crop][field] + (strong[field] * np.sin(2 * np.pi * way / period[field]))[..., None]
    ground += rng.uniform(-12, 12, KINDS)[field, None]
    border = np.minimum.reduce([along, length - along, edges[strip] - u, u - edges[strip - 1]])
    return np.where(border[..., None] < 1.6, HEDGE, ground)


def _town(rng: np.random.Generator, side: int) -> Layer:
    """Streets, and houses with two lit halves of a roof, a shadow, and a garden or a yard."""
    u, v = _turned(rng, side)
    (column, x), (row, y) = np.divmod(u, 22), np.divmod(v, 26)  # number of a lot, and pixels inside it
    lot = (37 * column + row).astype(int) % KINDS
    wide, long = rng.uniform(8, 13, KINDS)[lot], rng.uniform(9, 17, KINDS)[lot]
    house = (x > 8) & (x < 8 + wide) & (y > 8) & (y < 8 + long) & (rng.random(KINDS) < 0.9)[lot]
    ground = np.where((rng.random(KINDS) < 0.45)[lot, None], GARDEN, YARD) + 8 * _clouds(rng, side, 48, 2)[..., None]
    ground[((column % 4 == 0) & (x < 7)) | ((row % 3 == 0) & (y < 7))] = STREET
    ground *= 1 - 0.5 * _shadow(house, 4)[..., None]
    roof = np.array(ROOFS)[rng.integers(len(ROOFS), size=KINDS)][lot] + np.where(x < 8 + wide / 2, 10, -14)[..., None]
    return np.where(house[..., None], roof, ground)


def _trees(rng: np.random.Generator, picture: Layer, mask: np.ndarray, step: int = 12) -> Layer:
    """Crowns as domes in the light of the upper left, and their shadows: all over a forest, and here and there on other land."""
    side = len(mask)
    n = side // step + 3
    centres = (np.mgrid[:n, :n] + rng.random((2, n, n)) - 1) * step  # one place for a tree in each cell of a grid
    kind = mask[tuple(np.clip(centres, 0, side - 1).astype(int))]
    radius = rng.uniform(0.6, 1.05, (n, n)) * step * (rng.random((n, n)) < TREES[kind])
    places = np.mgrid[:side, :side]
    height, tree = np.zeros((side, side)), np.zeros((side, side), int)
    for shift in itertools.product(range(3), repeat=2):  # a crown reaches into the cells around its own
        i, j = places // step + np.array(shift)[:, None, None]
        dome = np.sqrt(np.maximum(radius[i, j] ** 2 - ((places - centres[:, i, j]) ** 2).sum(0), 0))
        tree, height = np.where(dome > height, i * n + j, tree), np.maximum(dome, height)
    light = np.clip(sum(np.gradient(height)), -1.5, 1.5)[..., None]
    crowns = (CROWN + rng.normal(0, 9, (n * n, 1))[tree] + rng.normal(0, 3, (n * n, 3))[tree]) * (0.85 + 0.33 * light)
    shadow = _blurred(255 * _shadow(height > 2, 6), 1.5) / 255
    return _laid_over(picture * (1 - 0.5 * shadow[..., None]), crowns, np.clip(height / 3, 0, 1))


def make_sample(root: str | os.PathLike, count: int = sum(PARTS), seed: int = 2026) -> tuple[str, ...]:
    """Draw the first pictures of the sample into ``root``; with the defaults, the sample that comes with the kit.

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


# -- pictures of one thing each ------------------------------------------------------------------------------------------------


class LabelledPictures(torch.utils.data.Dataset):
    """Pictures of one thing each, to be told apart.

    An item is ``(image, label)``: a FloatTensor (3, 32, 32), RGB / 255 normalised with the ImageNet statistics, and an int.

    Args:
        names: Of the pictures.
        labels: Class of each.
        classes: Name of each class.
        pixels: uint8 (32, 32, 3), RGB, of each.

    Attributes:
        names, labels, classes: as given, as tuples.
    """

    def __init__(self, names: Sequence[str], labels: Sequence[int], classes: Sequence[str], pixels: Sequence[np.ndarray] = ()) -> None:
        self.names, self.labels, self.classes, self._pixels = tuple(names), tuple(labels), tuple(classes), pixels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(self._read(index)).permute(2, 0, 1).float().div_(255)  # (3, 32, 32)
        return normalize(image, IMAGENET_MEAN, IMAGENET_STD), self.labels[index]

    def _read(self, index: int) -> np.ndarray:
        return self._pixels[index]


class ClassPictures(LabelledPictures):
    """The 50 classes of the course: ``train_50/`` and ``val_50/`` with pictures ``CLASS_NUMBER.png`` of 32 x 32 pixels.

    Args:
        root: Folder that holds both.
        split: ``train`` or ``val``.

    Raises:
        DataError: There is no such folder or no picture in it, or a name is no ``CLASS_NUMBER`` (when built); a picture is damaged
            or of another size (when an item is read).
    """

    def __init__(self, root: str | os.PathLike, split: str) -> None:
        folder = Path(root).expanduser() / f"{_part(split)}_{N_PICTURED}"
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. Expected it below the root, with pictures 0_000.png, 0_001.png and so on.")
        paths = [find_picture(folder / name, LABELS) for name in names_in(folder, LABELS)]
        if not paths:
            raise DataError(f"{folder}: no pictures in it. Expected 0_000.png, 0_001.png and so on.")
        self._paths = sorted(paths, key=lambda path: (class_of(path), len(path.stem), path.stem))
        super().__init__([path.stem for path in self._paths], list(map(class_of, self._paths)), list(map(str, range(N_PICTURED))))

    def _read(self, index: int) -> np.ndarray:
        return open_picture(self._paths[index])


def class_of(path: Path) -> int:
    """Class of a picture ``CLASS_NUMBER.png``, by its name.

    Raises:
        DataError: It has another name, or the class is none of 0..49.
    """
    found = re.fullmatch(r"([0-9]+)_([0-9]+)", path.stem)
    if not found:
        raise DataError(f"{path}: expected a name CLASS_NUMBER.png, as 7_012.png. Put other files elsewhere.")
    if int(found[1]) >= N_PICTURED:
        raise DataError(f"{path}: expected a class 0..{N_PICTURED - 1} in the name CLASS_NUMBER.png, found {found[1]}.")
    return int(found[1])


def open_picture(path: Path) -> np.ndarray:
    """A picture that is to be classified: uint8 (32, 32, 3), RGB.

    Raises:
        DataError: It is damaged, or of another size.
    """
    try:
        with Image.open(path) as picture:
            pixels = np.array(picture.convert("RGB"))
    except BROKEN as error:
        raise DataError(f"{path}: expected a complete picture, found a missing or damaged file ({error}).") from error
    if pixels.shape[:2] != (SIDE, SIDE):
        raise DataError(f"{path}: expected {SIDE} x {SIDE} pixels, found {pixels.shape[0]} x {pixels.shape[1]} (H x W).")
    return pixels


def digits(split: str) -> LabelledPictures:
    """The handwritten digits that come with scikit-learn, in the form of ``ClassPictures``: real pictures for a machine without others.

    1797 pictures of ten classes, 8 x 8 pixels made 32 x 32, in RGB; a fifth of each class is ``val``, always the same.
    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.

    Args:
        split: ``train`` or ``val``.

    Raises:
        DataError: scikit-learn is not installed.
    """
    pixels, labels, members = _digits()
    chosen = members[_part(split)]
    names = [f"{labels[n]}_{n:04d}" for n in chosen]
    return LabelledPictures(names, labels[chosen].tolist(), list(map(str, range(10))), list(pixels[chosen]))


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Pictures uint8 (1797, 32, 32, 3), their classes (1797,), and the numbers of those of each split."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise DataError("The digits are part of scikit-learn, which is not installed: python -m pip install scikit-learn") from error
    small, labels = load_digits(return_X_y=True)  # (1797, 64), 0..16
    grey = np.round(small * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    large = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in grey])
    train, val = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    return np.repeat(large[..., None], 3, axis=-1), labels, {"train": np.sort(train), "val": np.sort(val)}


def _part(split: str) -> str:
    if split not in ("train", "val"):
        raise DataError(f"Expected split 'train' or 'val', found {split!r}.")
    return split


# -- the data set --------------------------------------------------------------------------------------------------------------


def _verify(root: Path, progress: bool = True) -> "Survey":
    """By its name: what decodes masks stays with the solutions, and the student edition has none of them."""
    found: Survey = importlib.import_module("segkit.reference.satellite_survey").survey(root, progress=progress)
    return found


class _Satellite(DatasetSpec):
    """A root may hold the pictures that are to be classified alone, or those of a gate."""

    def find_root(self, data: str | os.PathLike | None = None) -> Path:
        place = None if data is None else Path(data).expanduser()
        if place is not None and any((place / part).is_dir() for part in (f"train_{N_PICTURED}", "validation")):
            return place
        return super().find_root(data)


SPEC = _Satellite(
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
    splits=("course", "sample"),  # 1900, 100 of train/ and 257 of validation/; 22, 4, 6 drawn ones
    split_of=_split_of,
    draw=make_sample,
    verify=_verify,
    networks=("FCN32s", "FCN16s", "FCN8s"),
    outputs=7,
    reader="read_mask",
    reference="segkit.reference.satellite",
)
