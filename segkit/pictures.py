"""Photographs and label maps as files: found whatever the case of their ending, and photographs opened upright.

A camera writes how it was held into the EXIF part of its files, and programs that label pictures show them turned accordingly. So
a photograph is turned here, where it is opened, and nowhere else. A label map is taken as it stands.
"""

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

__all__ = ["BROKEN", "LABELS", "PHOTOGRAPHS", "find_picture", "names_in", "open_photograph", "photograph_size", "upright"]

PHOTOGRAPHS = (".jpg", ".jpeg")
LABELS = (".png",)
BROKEN = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)  # what Pillow raises on a damaged file

# by hand, not by ImageOps.exif_transpose: that writes the EXIF part anew, and fails where a camera filled it with nonsense
TURN: dict[int | None, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)


def find_picture(stem: Path, endings: Iterable[str]) -> Path:
    """The file of a picture, whatever the case of its ending.

    Args:
        stem: Its path without the ending.
        endings: In lower case; the first one is that of a file that is not there.
    """
    names = [stem.name + form for ending in endings for form in (ending, ending.upper(), ending.title())]
    return next((path for name in names if (path := stem.with_name(name)).is_file()), stem.with_name(names[0]))


def names_in(folder: str | os.PathLike, endings: Iterable[str]) -> list[str]:
    """Names of the pictures of a folder, without endings, in order; what systems leave there (``._x.jpg``, ``Thumbs.db``) is none.

    Args:
        folder: Where they are; one that is not there holds none.
        endings: In lower case.
    """
    folder, endings = Path(folder), tuple(endings)
    if not folder.is_dir():
        return []
    return sorted({p.stem for p in folder.iterdir() if p.suffix.lower() in endings and not p.name.startswith(".") and p.is_file()})


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its camera says it was held; itself where there is nothing to turn."""
    turn = TURN.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def open_photograph(path: str | os.PathLike) -> np.ndarray:
    """Open a photograph, upright.

    Returns:
        uint8 array (H, W, 3), RGB, its own memory.

    Raises:
        BROKEN: One of these, where it is damaged.
    """
    with Image.open(path) as picture:
        turn = TURN.get(_orientation(picture))
        plain = picture.convert("RGB")
    return np.array(plain if turn is None else plain.transpose(turn))


def photograph_size(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W) of a photograph as ``open_photograph`` gives it, from the head of its file.

    Raises:
        BROKEN: One of these, where it is damaged.
    """
    with Image.open(path) as picture:
        width, height = picture.size
        return (width, height) if _orientation(picture) in SIDEWAYS else (height, width)


def _orientation(picture: Image.Image) -> int | None:
    """What EXIF says of how the camera was held, 1 to 8; None where it says nothing that can be read."""
    try:
        found = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF part raises whatever it likes; the picture itself may be good
        return None
    return found if isinstance(found, int) else None
