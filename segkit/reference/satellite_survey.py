"""Looks through a folder of satellite pictures: pairs of photograph and mask, and the pictures that are to be classified.

An instructor's tool; it decodes masks, which is a task of the students, and so it lies with the solutions.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.datasets import survey as surveying
from segkit.datasets.satellite import N_PICTURED, SPEC, class_of, open_picture
from segkit.datasets.spec import PARTS, DataError
from segkit.pictures import BROKEN, LABELS, PHOTOGRAPHS, find_picture, names_in

__all__ = ["read_ids", "survey"]

STORED = (512, 512)


def read_ids(path: str | os.PathLike) -> np.ndarray:
    """A mask as numbers.

    Args:
        path: A picture in the pure colours of the classes.

    Returns:
        uint8 (H, W): 0 where nobody labelled, else the class plus 1.

    Raises:
        DataError: It is damaged, or a pixel has a colour that is no class; the text has its position, its colour and the nearest class.
    """
    try:
        with Image.open(path) as picture:
            pixels = np.array(picture.convert("RGB"))
    except BROKEN as error:
        raise DataError(f"{path}: expected a complete mask, found a damaged file ({error}).") from error
    matches = (pixels[..., None, :] == SPEC.palette).all(-1)  # (H, W, 7)
    if (strange := ~matches.any(-1)).any():
        raise DataError(_strange(path, pixels, strange))
    return matches.argmax(-1).astype(np.uint8)


def _strange(path: str | os.PathLike, pixels: np.ndarray, strange: np.ndarray) -> str:
    row, column = (int(value) for value in np.argwhere(strange)[0])
    colour = pixels[row, column]
    nearest = int(((SPEC.palette.astype(int) - colour) ** 2).sum(1).argmin())
    name, others = ("unknown", *SPEC.classes)[nearest], int(strange.sum()) - 1
    return (
        f"{path}: colour {tuple(colour.tolist())} at row {row}, column {column} is no class; the nearest is {name} {SPEC.stored[nearest]}. "
        f"{others} more pixels have colours that are none. A mask is kept without loss (no JPEG) and never resized smoothly."
    )


def survey(root: str | os.PathLike, *, progress: bool = True) -> surveying.Survey:
    """Reads every file below a root once.

    Args:
        root: Folder that holds ``train/`` and perhaps ``validation/``, or ``train_50/`` and ``val_50/``, or all of them.
        progress: Show a bar.
    """
    root = Path(root)
    folders = [folder for part in ("train", "val") if (folder := root / f"{part}_{N_PICTURED}").is_dir()]
    land = any((root / part).is_dir() for part in SPEC.folders) or not folders
    found = surveying.survey(SPEC, root, _pairs, read_ids, progress=progress) if land else surveying.Survey(SPEC, root)
    if others := [size for size in found.sizes if size != STORED]:
        found.notes.append(f"{len(others)} pairs are not of 512 x 512 pixels, as the course's are")
    for folder in folders:
        _classes(folder, found)
    return found


def _pairs(folder: Path, found: surveying.Survey) -> list[tuple[Path, Path]]:
    """Photographs and masks by their number: of each there should be both."""
    names = {name.removesuffix("_sat").removesuffix("_mask") for name in names_in(folder, PHOTOGRAPHS + LABELS)}
    listed = [SPEC.stems(name)[0] for part in PARTS for name in SPEC.split_names("course", part)]
    expected = {Path(stem).name.removesuffix("_sat") for stem in listed if stem.startswith(f"{folder.name}/")}
    if names & expected and (absent := sorted(expected - names)):
        found.notes.append(f"{folder.name}/: {len(absent)} of the course's {len(expected)} pairs are not here: {surveying.some(absent)}")
    pairs = [(folder / f"{name}_sat", folder / f"{name}_mask") for name in sorted(names)]
    return [(find_picture(photograph, PHOTOGRAPHS), find_picture(mask, LABELS)) for photograph, mask in pairs]


def _classes(folder: Path, found: surveying.Survey) -> None:
    """Counts the pictures of each class of a folder, and notes what is none."""
    counts = np.zeros(N_PICTURED, dtype=int)
    for name in names_in(folder, LABELS):
        path = find_picture(folder / name, LABELS)
        try:
            number, _ = class_of(path), open_picture(path)
        except DataError as error:
            found.faults.append(str(error))
        else:
            counts[number] += 1
    if missing := np.flatnonzero(counts == 0).tolist():
        found.faults.append(f"{folder.name}/: no picture of {len(missing)} of {N_PICTURED} classes: {surveying.some(map(str, missing))}")
    found.notes.append(f"{folder.name}/: {counts.sum()} pictures, {counts.min()} to {counts.max()} of each of {N_PICTURED} classes")
