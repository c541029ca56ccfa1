"""The three crops of FCN-8s in one picture: two skips, and the output."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segkit.plots.geometry import UPSAMPLING, _box, _Side
from segkit.plots.style import BLUE, GREY, PALE, RED, Picture, bare, styled
from segkit.upsampling import crop_offsets

__all__ = ["skip_crops"]


@dataclass(frozen=True)
class _Crop:
    """One crop: what is cropped, and what of it is kept; rows and columns in its own cells."""

    title: str
    partner: str  # whose size it is cropped to
    stride: int  # side of a cell in pixels of the image
    begin: int  # where the map begins, in pixels of the image
    offset: int
    whole: tuple[int, int]
    kept: tuple[int, int]


@styled
def skip_crops(padding: int = 100, size: tuple[int, int] = (96, 128)) -> Figure:
    """The crops of pool4's scores, of pool3's scores and of the output of FCN-8s, to scale.

    All three panels are in pixels of the image: what lies at the same place belongs together.

    Args:
        padding: of ``conv1_1`` in pixels, at least 97.
        size: (H, W) of the image.

    Returns:
        A figure of three panels: the map with its cells, the window that is kept, and how many cells lie before it.

    Raises:
        ValueError: a padding for which the geometry does not hold.
    """
    height, width = size[0] + 2 * padding, size[1] + 2 * padding
    figure = Picture(figsize=(11.5, 11.5 / 3 * (height + 84) / (width + 22)))
    for number, crop in enumerate(_crops(padding, size)):
        axes = bare(figure.add_axes((number / 3, 0, 1 / 3, 1)))
        axes.set(xlim=(-padding - 6, size[1] + padding + 16), ylim=(size[0] + padding + 16, -padding - 68))
        axes.set_aspect("equal")
        _draw(axes, crop, padding, size)
    return figure


def _crops(padding: int, size: tuple[int, int]) -> list[_Crop]:
    offsets = crop_offsets(padding)
    pool4, pool3, fused, finer, output = ([0, 0] for _ in range(5))
    for axis, length in enumerate(size):
        framed = length + 2 * padding - 2
        pool3[axis], pool4[axis] = -(-framed // 8), -(-framed // 16)
        grown = [_Side(length, padding, "fcn8s").cells]
        for kernel, stride in UPSAMPLING["fcn8s"]:
            grown.append(stride * (grown[-1] - 1) + kernel)
        fused[axis], finer[axis], output[axis] = grown[1:]
    begin = 1 - padding
    return [
        _Crop("scores of pool4", "upscore1", 16, begin, offsets["pool4"], _pair(pool4), _pair(fused)),
        _Crop("scores of pool3", "upscore2", 8, begin, offsets["pool3"], _pair(pool3), _pair(finer)),
        _Crop("output of upscore3", "the image", 1, -offsets["fcn8s"], offsets["fcn8s"], _pair(output), size),
    ]


def _pair(values: list[int]) -> tuple[int, int]:
    rows, columns = values
    return rows, columns


def _draw(axes: Axes, crop: _Crop, padding: int, size: tuple[int, int]) -> None:
    (rows, columns), (kept_rows, kept_columns), side, begin = crop.whole, crop.kept, crop.stride, crop.begin
    unit = "px" if side == 1 else f"cells of {side} px"
    axes.text(-padding, -padding - 52, crop.title, fontweight="bold", fontsize=13)
    axes.text(-padding, -padding - 32, f"{rows} x {columns} {unit}", fontsize=11.5, color="#52606D")
    axes.text(-padding, -padding - 13, f"kept: {kept_rows} x {kept_columns}, as large as {crop.partner}", fontsize=11.5, color=BLUE)
    _box(axes, -padding, -padding, size[0] + 2 * padding, size[1] + 2 * padding, fc="none", ec=GREY, ls=(0, (4, 3)))
    _box(axes, begin, begin, side * rows, side * columns, fc="#FBE5D6", ec=RED, lw=1.5)
    first = begin + side * crop.offset
    _box(axes, first, first, side * kept_rows, side * kept_columns, fc="#CFE5F3", ec="none")
    if side > 1:
        axes.vlines(begin + side * np.arange(1, columns), begin, begin + side * rows, color="white", linewidth=0.8)
        axes.hlines(begin + side * np.arange(1, rows), begin, begin + side * columns, color="white", linewidth=0.8)
    _box(axes, first, first, side * kept_rows, side * kept_columns, fc="none", ec=BLUE, lw=2.2, zorder=3)  # cells cut no frame
    _box(axes, 0, 0, *size, fc="none", ec="#1F2933", lw=1.2, zorder=3)
    axes.text(size[1] / 2, size[0] / 2, "image", ha="center", va="center", fontsize=11.5, bbox={"fc": PALE, "ec": "none", "pad": 2.5})
    middle = size[0] * 0.25
    arrow = {"arrowstyle": "<->", "color": RED, "lw": 1.6, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
    axes.annotate("", (begin, middle), (first, middle), arrowprops=arrow)
    box = {"fc": "white", "ec": "none", "pad": 1.5, "alpha": 0.85}
    axes.text((begin + first) / 2, middle - 14, str(crop.offset), color=RED, ha="center", fontsize=13, fontweight="bold", bbox=box)
