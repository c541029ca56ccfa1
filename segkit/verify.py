"""Looks through a folder of facades: what is missing, damaged or inconsistent, and the figures of what is there.

An instructor's tool; it decodes label files, which is the students' first task, and so stays out of their edition.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from segkit.download import SUFFIXES, hash_file, part_names, read_manifest
from segkit.facades import CLASSES, N_CLASS, PALETTE, DataError, demand_one_size, image_path
from segkit.pictures import BROKEN, LABELS, PHOTOGRAPHS, find_picture, names_in, open_photograph

__all__ = ["Survey", "format_survey", "read_ids", "survey", "write_manifest"]

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
        size = os.path.getsize(path) if os.path.exists(path) else 0
        raise DataError(
            f"{path}: expected a complete label PNG, found a missing or damaged file ({size} bytes; {error}). "
            "Fetch it again: python -m segkit data fetch"
        ) from error
    if mode != "P":
        raise DataError(
            f"{path}: expected a palette picture (mode P) whose index is the class id, found mode {mode}. "
            "Some program has saved it anew with colours or grey values; take the file of the database."
        )
    if ids.max(initial=0) > N_CLASS:
        raise DataError(f"{path}: expected ids 0..{N_CLASS}, found {int(ids.max())}. Not a label of this database.")
    return ids


@dataclass
class Survey:
    """What was found below a root.

    Attributes:
        root: the folder.
        pairs: number of readable pairs per folder (``base``, ``extended``).
        sizes: (H, W) of every readable pair.
        pixels: int64 (13,), number of pixels of the ids 0..12.
        hashed: number of files compared with the manifest.
        faults: one line per fault; any of them makes ``data verify`` fail.
        notes: remarks that are no faults.
    """

    root: Path
    pairs: dict[str, int] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(N_CLASS + 1, dtype=np.int64))
    hashed: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def frequencies(self) -> np.ndarray:
        """Share of each of the 12 classes among the known pixels, float (12,)."""
        known = self.pixels[1:]
        return known / max(1, known.sum())


def survey(root: str | os.PathLike, *, progress: bool = True) -> Survey:
    """Reads every file below a root once.

    Args:
        root: folder that holds ``base/`` and perhaps ``extended/``.
        progress: show a bar.
    """
    found = Survey(Path(root))
    manifest = read_manifest()
    for part in ("base", "extended"):
        folder = found.root / part
        if not folder.is_dir():
            if part == "base":
                found.faults.append(f"{part}/: no such folder below {found.root}")
            continue
        names = _names(folder, part, found)
        found.pairs[part] = 0
        for name in tqdm(names, desc=f"verify {part}", disable=not progress):
            _look_at(folder, name, manifest, found)
        if not names:
            found.faults.append(f"{part}/: no pictures in it")
    if "extended" not in found.pairs and image_path(found.root, "cmp_b0001").is_file():
        found.notes.append("no extended/: split 'course' cannot be used, split 'base' can")
    return found


def _names(folder: Path, part: str, found: Survey) -> list[str]:
    """Names to look at: what the database has, and what lies there; differences go into the survey."""
    present = set(names_in(folder, PHOTOGRAPHS + LABELS))
    expected = set(part_names(part))
    if not present & expected:  # own pictures, or the drawn sample: no list to compare with
        return sorted(present)
    extra = sorted(present - expected)
    if extra:
        found.notes.append(f"{part}/: {len(extra)} pictures that the database does not have: {_some(extra)}")
    return sorted(present | expected)


def _look_at(folder: Path, name: str, manifest: dict[str, str], found: Survey) -> None:
    image, label, boxes = (find_picture(folder / name, endings) for endings in (PHOTOGRAPHS, LABELS, (".xml",)))
    missing = [path for path in (image, label) if not path.is_file()]
    found.faults += [f"{folder.name}/{path.name}: missing" for path in missing]
    if not boxes.is_file():
        found.notes.append(f"{folder.name}/{boxes.name}: missing (the kit does not need it)")
    for path in (image, label, boxes):
        digest = manifest.get(f"{folder.name}/{path.name}")
        if digest and path.is_file():
            found.hashed += 1
            if hash_file(path) != digest:
                found.faults.append(f"{folder.name}/{path.name}: sha256 differs from the manifest")
    if missing:
        return
    try:
        size, ids = _image_size(image), read_ids(label)
    except DataError as error:
        found.faults.append(str(error))
        return
    _compare(image, label, size, ids, found)


def _image_size(path: Path) -> tuple[int, int]:
    """(H, W) of a photograph that was read to its end, upright."""
    try:
        return open_photograph(path).shape[:2]
    except BROKEN as error:
        size = path.stat().st_size
        raise DataError(f"{path}: expected a complete picture, found a damaged file ({size} bytes; {error}).") from error


def _compare(image: Path, label: Path, size: tuple[int, int], ids: np.ndarray, found: Survey) -> None:
    where = f"{label.parent.name}/{label.name}"
    try:
        demand_one_size(image, label, size)
    except DataError as error:
        found.faults.append(str(error))
        return
    with Image.open(label) as picture:
        palette = np.array(picture.getpalette()[: PALETTE.size], dtype=np.uint8)
    if palette.size < PALETTE.size or (palette != PALETTE.ravel()).any():
        found.faults.append(f"{where}: expected the database's palette, found other colours (saved anew?)")
    found.pairs[label.parent.name] += 1
    found.sizes.append(size)
    found.pixels += np.bincount(ids.ravel(), minlength=N_CLASS + 1)


def _some(items: Iterable[str], shown: int = 3) -> str:
    items = list(items)
    return ", ".join(items[:shown]) + (", ..." if len(items) > shown else "")


def format_survey(found: Survey, *, most: int = 20) -> str:
    """The survey as text: counts, sizes, class frequencies, remarks, faults (``most`` of them)."""
    counts = ", ".join(f"{part} {number}" for part, number in found.pairs.items()) or "none"
    lines = [f"{found.root}", f"readable pairs    {counts}"]
    if found.hashed:
        lines.append(f"files hashed      {found.hashed} of {len(read_manifest())} in the manifest")
    if found.sizes:
        lines += _size_lines(found.sizes) + [""] + _class_lines(found)
    lines += _listed("remarks", found.notes, most) + _listed("FAULTS", found.faults, most)
    lines += ["", f"{len(found.faults)} fault(s) found" if found.faults else "all in order"]
    return "\n".join(lines)


def _size_lines(sizes: list[tuple[int, int]]) -> list[str]:
    sides = np.array(sizes)
    ranges = [f"{side.min()} / {np.median(side):g} / {side.max()}" for side in sides.T]
    fitting = int((sides % 32 == 0).all(axis=1).sum())
    return [
        f"height, width     {ranges[0]} and {ranges[1]} px (min / median / max)",
        f"distinct sizes    {len(Counter(sizes))}; {fitting} pictures with both sides divisible by 32",
    ]


def _class_lines(found: Survey) -> list[str]:
    share = found.frequencies
    lines = ["id  label  class        % of the known pixels"]
    for k, name in enumerate(CLASSES):
        lines.append(f"{k + 1:2d}  {k:5d}  {name:<11s}  {100 * share[k]:5.1f}  {'#' * round(50 * share[k])}")
    unknown = found.pixels[0] / found.pixels.sum()
    most = int(share.argmax())
    return lines + [
        f" 0    255  unknown      {100 * unknown:5.1f} % of all pixels; they do not count",
        # a network that gives one answer everywhere has the IoU of that class, and 0 for the others
        f"always answering {CLASSES[most]!r}: {100 * share[most]:.1f} % accuracy, "
        f"{100 * share[most] / (share > 0).sum():.1f} % mIoU",
    ]


def _listed(title: str, entries: list[str], most: int) -> list[str]:
    if not entries:
        return []
    rest = [f"  ... and {len(entries) - most} more"] if len(entries) > most else []
    return ["", f"{title}:", *(f"  {entry}" for entry in entries[:most]), *rest]


def write_manifest(root: str | os.PathLike, out: str | os.PathLike) -> int:
    """Writes the manifest of the base part (``sha256sum -c`` reads it too) and returns its number of lines."""
    paths = [f"base/{name}{suffix}" for name in part_names("base") for suffix in SUFFIXES]
    lines = [f"{hash_file(Path(root) / path)}  {path}\n" for path in paths]
    Path(out).write_text("".join(lines), encoding="ascii", newline="\n")
    return len(lines)
