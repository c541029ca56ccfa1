"""Looks through the pictures below a root: what is missing, damaged or inconsistent, and the figures of what is there.

An instructor's tool; what decodes label files for it is the students' first task, and so it stays out of their edition.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from segkit.datasets.pairs import demand_one_size
from segkit.datasets.spec import DataError, DatasetSpec
from segkit.pictures import BROKEN, open_photograph

__all__ = ["Survey", "format_survey", "survey"]


@dataclass
class Survey:
    """What was found below a root.

    Attributes:
        spec: the data set.
        root: the folder.
        pairs: number of readable pairs per folder.
        sizes: (H, W) of every readable pair.
        pixels: int64 (n_class + 1,), number of pixels that do not count, then of each class.
        hashed: number of files compared with a manifest, and of those in it.
        faults: one line per fault; any of them makes ``data verify`` fail.
        notes: remarks that are no faults.
    """

    spec: DatasetSpec
    root: Path
    pairs: dict[str, int] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    pixels: np.ndarray = field(init=False)
    hashed: tuple[int, int] = (0, 0)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pixels = np.zeros(self.spec.n_class + 1, dtype=np.int64)

    @property
    def frequencies(self) -> np.ndarray:
        """Share of each class among the pixels that count, float (n_class,)."""
        known = self.pixels[1:]
        return known / max(1, known.sum())


def survey(
    spec: DatasetSpec, root: str | os.PathLike, list_pairs: Callable[[Path, Survey], Sequence[tuple[Path, Path]]],
    read_ids: Callable[[Path], np.ndarray], *, examine: Callable[[Path, Path, Survey], None] | None = None, progress: bool = True,
) -> Survey:  # fmt: skip
    """Read every pair below a root once.

    Args:
        spec: the data set.
        root: folder that holds the first of the spec's folders, and perhaps the others.
        list_pairs: folder -> photograph and label of each pair that is there or should be.
        read_ids: label file -> uint8 (H, W), 0 where a pixel does not count, else the training label plus 1; raises DataError.
        examine: looks at photograph and label in its own way, before they are read; files may be missing.
        progress: show a bar.
    """
    found = Survey(spec, Path(root))
    for part in spec.folders:
        folder = found.root / part
        if not folder.is_dir():
            if part == spec.folders[0]:
                found.faults.append(f"{part}/: no such folder below {found.root}")
            continue
        pairs = list_pairs(folder, found)
        found.pairs[part] = 0
        for image, label in tqdm(pairs, desc=f"verify {part}", disable=not progress):
            missing = [path for path in (image, label) if not path.is_file()]
            found.faults += [f"{path.relative_to(found.root).as_posix()}: missing" for path in missing]
            if examine is not None:
                examine(image, label, found)
            if not missing:
                _count(part, image, label, read_ids, found)
        if not pairs:
            found.faults.append(f"{part}/: no pictures in it")
    return found


def _count(part: str, image: Path, label: Path, read_ids: Callable[[Path], np.ndarray], found: Survey) -> None:
    try:
        size, ids = _image_size(image), read_ids(label)
        demand_one_size(found.spec, image, label, size)
    except DataError as error:
        found.faults.append(str(error))
        return
    found.pairs[part] += 1
    found.sizes.append(size)
    found.pixels += np.bincount(ids.ravel(), minlength=len(found.pixels))


def _image_size(path: Path) -> tuple[int, int]:
    """(H, W) of a photograph that was read to its end, upright."""
    try:
        return open_photograph(path).shape[:2]
    except BROKEN as error:
        size = path.stat().st_size
        raise DataError(f"{path}: expected a complete picture, found a damaged file ({size} bytes; {error}).") from error


def format_survey(found: Survey, *, most: int = 20) -> str:
    """The survey as text: counts, sizes, class frequencies, remarks, faults (``most`` of them)."""
    counts = ", ".join(f"{part} {number}" for part, number in found.pairs.items()) or "none"
    lines = [f"{found.root}", f"readable pairs    {counts}"]
    if found.hashed[0]:
        lines.append("files hashed      {} of {} in the manifest".format(*found.hashed))
    if found.sizes:
        lines += [*_size_lines(found.sizes), "", *_class_lines(found)]
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
    spec, share = found.spec, found.frequencies
    wide, long = max(map(len, (spec.stored_as, *spec.stored))), max(11, *map(len, spec.classes))
    lines = [f"{spec.stored_as:<{wide}s}  label  {'class':<{long}s}  % of the known pixels"]
    for k, name in enumerate(spec.classes):
        bar = "#" * round(50 * share[k])
        lines.append(f"{spec.stored[k + 1]:>{wide}s}  {k:5d}  {name:<{long}s}  {100 * share[k]:5.1f}  {bar}")
    unknown = found.pixels[0] / found.pixels.sum()
    most = int(share.argmax())
    return [
        *lines,
        f"{spec.stored[0]:>{wide}s}  {spec.ignore_index:5d}  {'unknown':<{long}s}  {100 * unknown:5.1f} % of all pixels; they do not count",
        # a network that gives one answer everywhere has the IoU of that class, and 0 for the others
        f"always answering {spec.classes[most]!r}: {100 * share[most]:.1f} % accuracy, {100 * share[most] / (share > 0).sum():.1f} % mIoU",
    ]


def _listed(title: str, entries: list[str], most: int) -> list[str]:
    if not entries:
        return []
    rest = [f"  ... and {len(entries) - most} more"] if len(entries) > most else []
    return ["", f"{title}:", *(f"  {entry}" for entry in entries[:most]), *rest]


def some(items: Iterable[str], shown: int = 3) -> str:
    """The first of some items."""
    items = list(items)
    return ", ".join(items[:shown]) + (", ..." if len(items) > shown else "")
