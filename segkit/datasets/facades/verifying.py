"""Looks through a folder of facades: the files of the database against its manifest, and every pair.

An instructor's tool; it decodes label files, which is the students' first task, and so stays out of their edition.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.datasets import survey as surveying
from segkit.datasets.facades import SPEC
from segkit.datasets.facades.archives import SUFFIXES, hash_file, part_names, read_manifest
from segkit.datasets.spec import DataError
from segkit.pictures import BROKEN, LABELS, PHOTOGRAPHS, find_picture, names_in

__all__ = ["read_ids", "survey", "write_manifest"]


def read_ids(path: str | os.PathLike) -> np.ndarray:
    """Raw class ids of a label file.

    Args:
        path: a palette PNG of the database.

    Returns:
        uint8 (H, W), values 0..12 as in the file: 0 unknown, 1 background, ..., 12 shop.

    Raises:
        DataError: damaged, not a palette picture, or ids above 12.
    """
    try:
        with Image.open(path) as picture:
            mode, ids = picture.mode, np.array(picture)
    except BROKEN as error:
        size = Path(path).stat().st_size if os.path.exists(path) else 0
        raise DataError(
            f"{path}: expected a complete label PNG, found a missing or damaged file ({size} bytes; {error}). "
            "Fetch it again: python -m segkit data fetch"
        ) from error
    if mode != "P":
        raise DataError(
            f"{path}: expected a palette picture (mode P) whose index is the class id, found mode {mode}. "
            "Some program has saved it anew with colours or grey values; take the file of the database."
        )
    if ids.max(initial=0) > SPEC.n_class:
        raise DataError(f"{path}: expected ids 0..{SPEC.n_class}, found {int(ids.max())}. Not a label of this database.")
    return ids


def survey(root: str | os.PathLike, *, progress: bool = True) -> surveying.Survey:
    """Reads every file below a root once.

    Args:
        root: folder that holds ``base/`` and perhaps ``extended/``.
        progress: show a bar.
    """
    manifest = read_manifest()

    def examine(image: Path, label: Path, found: surveying.Survey) -> None:
        _compare_with_manifest(image, label, manifest, found)

    found = surveying.survey(SPEC, root, _pairs, read_ids, examine=examine, progress=progress)
    if "extended" not in found.pairs and SPEC.image_path(found.root, "cmp_b0001").is_file():
        found.notes.append("no extended/: split 'course' cannot be used, split 'base' can")
    return found


def _pairs(folder: Path, found: surveying.Survey) -> list[tuple[Path, Path]]:
    """What the database has, and what lies there; differences go into the survey."""
    names, expected = set(names_in(folder, PHOTOGRAPHS + LABELS)), set(part_names(folder.name))
    if names & expected:  # else own pictures, or the drawn sample: no list to compare with
        if extra := sorted(names - expected):
            found.notes.append(f"{folder.name}/: {len(extra)} pictures that the database does not have: {surveying.some(extra)}")
        names |= expected
    return [(find_picture(folder / name, PHOTOGRAPHS), find_picture(folder / name, LABELS)) for name in sorted(names)]


def _compare_with_manifest(image: Path, label: Path, manifest: dict[str, str], found: surveying.Survey) -> None:
    boxes = find_picture(image.with_suffix(""), (".xml",))
    if not boxes.is_file():
        found.notes.append(f"{boxes.parent.name}/{boxes.name}: missing (the kit does not need it)")
    for path in (image, label, boxes):
        digest = manifest.get(f"{path.parent.name}/{path.name}")
        if digest and path.is_file():
            found.hashed = found.hashed[0] + 1, len(manifest)
            if hash_file(path) != digest:
                found.faults.append(f"{path.parent.name}/{path.name}: sha256 differs from the manifest")
    if label.is_file() and _other_palette(label):
        found.faults.append(f"{label.parent.name}/{label.name}: expected the database's palette, found other colours (saved anew?)")


def _other_palette(label: Path) -> bool:
    """Whether a palette picture has other colours; one that is damaged is reported where its pixels are read."""
    try:
        with Image.open(label) as picture:
            colours = picture.getpalette()
    except BROKEN:
        return False
    return colours is not None and colours[: SPEC.palette.size] != SPEC.palette.ravel().tolist()


def write_manifest(root: str | os.PathLike, out: str | os.PathLike) -> int:
    """Writes the manifest of the base part (``sha256sum -c`` reads it too) and returns its number of lines."""
    paths = [f"base/{name}{suffix}" for name in part_names("base") for suffix in SUFFIXES]
    lines = [f"{hash_file(Path(root) / path)}  {path}\n" for path in paths]
    Path(out).write_text("".join(lines), encoding="ascii", newline="\n")
    return len(lines)
