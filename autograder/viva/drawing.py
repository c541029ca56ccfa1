"""Small pictures of maps before and after a change, as data URIs."""

import base64
import colorsys
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autograder.viva.maps import alike

__all__ = ["before_and_after"]

WIDTH, MOST_SIDE = 180, 400  # pixels of a drawn picture; of a map that is drawn
GOLDEN = 0.381966  # hues of neighbours lie far apart
HUES = [round(255 * part) for n in range(255) for part in colorsys.hsv_to_rgb(n * GOLDEN % 1, 0.65, 0.95 - 0.45 * (n % 2))] + [0, 0, 0]


def before_and_after(before: NDArray[Any], after: NDArray[Any]) -> tuple[str, str] | None:
    """Pictures of two label maps (H, W), or of the classes that win in score maps (N, C, H, W).

    Where the same classes win, the scores of the class that changed most are drawn in grey. None for what is no map, or alike.
    """
    if alike(before, after) or not (_is_map(before) and _is_map(after)):
        return None
    if before.ndim == 2:
        return _drawn(before), _drawn(after)
    one, other = before[0], after[0]  # (C, H, W), of the first picture
    if one.shape != other.shape or not np.array_equal(one.argmax(0), other.argmax(0)):
        return _drawn(one.argmax(0)), _drawn(other.argmax(0))
    most = int(np.abs(other - one).mean((1, 2)).argmax())
    low, high = float(one[most].min()), float(one[most].max())
    grey = [np.nan_to_num((maps[most] - low) / max(high - low, 1e-12) * 255).clip(0, 255).astype(np.uint8) for maps in (one, other)]
    return _uri(Image.fromarray(grey[0])), _uri(Image.fromarray(grey[1]))


def _is_map(array: NDArray[Any]) -> bool:
    if array.ndim == 4:
        return array.shape[1] > 1 and min(array.shape[2:]) > 1 and max(array.shape[2:]) <= MOST_SIDE and array.dtype.kind == "f"
    return array.ndim == 2 and array.dtype.kind in "iu" and min(array.shape) >= 15 and max(array.shape) <= MOST_SIDE


def _drawn(labels: NDArray[Any]) -> str:
    picture = Image.fromarray((labels.astype(np.int64) % 256).astype(np.uint8))
    picture.putpalette(HUES)
    return _uri(picture)


def _uri(picture: Image.Image) -> str:
    scale = max(1, round(WIDTH / picture.width))
    file = io.BytesIO()
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
