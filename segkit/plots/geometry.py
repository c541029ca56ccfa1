"""Where pixels go: the picture of the crop geometry, and that of a measured alignment."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from segkit.plots.style import BLUE, GREEN, GREY, INK, PALE, RED, Picture, bare, styled
from segkit.upsampling import CropGeometry, crop_offsets

__all__ = ["alignment", "crop_geometry"]

# kernel and stride of the transposed convolutions, in order
UPSAMPLING = {"fcn32s": [(64, 32)], "fcn16s": [(4, 2), (32, 16)], "fcn8s": [(4, 2), (4, 2), (16, 8)]}


@dataclass(frozen=True)
class _Side:
    """One side of the picture, height or width, in pixels of the input image."""

    length: int
    padding: int
    network: str

    @property
    def cells(self) -> int:
        """Cells of the score map along this side."""
        cells = self.length + 2 * self.padding - 2  # conv1_1 takes one pixel off each side of the frame
        for _ in range(5):
            cells = -(-cells // 2)
        return cells - 6  # fc6, 7 x 7 without padding

    @property
    def output(self) -> int:
        """Length of the uncropped output."""
        length = self.cells
        for kernel, stride in UPSAMPLING[self.network]:
            length = stride * (length - 1) + kernel
        return length


@styled
def crop_geometry(padding: int = 100, size: tuple[int, int] = (224, 288), network: str = "fcn32s") -> Figure:
    """What the padding of ``conv1_1`` and the crop at the end do, drawn to scale.

    Left the input: the image in its frame of zeros, and a dot where each score cell looks. Right the output: the
    scores upsampled, and the window that is cut out. Both panels are in pixels of the image, so that what
    lies at the same place belongs together.

    Args:
        padding: of ``conv1_1`` in pixels, at least 97.
        size: (H, W) of the image.
        network: ``fcn32s``, ``fcn16s`` or ``fcn8s``.

    Returns:
        A figure of two panels.

    Raises:
        ValueError: unknown network, or a padding for which the geometry does not hold.
    """
    if network not in UPSAMPLING:
        raise ValueError(f"Expected a network of {', '.join(UPSAMPLING)}, but got {network!r}.")
    offset = crop_offsets(padding)[network]
    rows, columns = (_Side(length, padding, network) for length in size)
    figure = Picture(figsize=(11.5, 11.5 / 2 * (size[0] + 2 * padding + 90) / (size[1] + 2 * padding + 40)))
    boxes = ((0.0, 0, 0.495, 1), (0.505, 0, 0.495, 1))
    before, after = (bare(figure.add_axes(box)) for box in boxes)
    for axes in (before, after):
        axes.set(xlim=(-padding - 20, size[1] + padding + 20), ylim=(size[0] + padding + 30, -padding - 60))
        axes.set_aspect("equal")
    _draw_input(before, rows, columns)
    _draw_output(after, rows, columns, offset)
    return figure


def _box(axes: Axes, top: float, left: float, height: float, width: float, **style: Any) -> None:
    axes.add_patch(Rectangle((left, top), width, height, **style))


def _title(axes: Axes, padding: int, title: str, text: str) -> None:
    axes.text(-padding, -padding - 40, title, fontweight="bold", fontsize=11)
    axes.text(-padding, -padding - 20, text, fontsize=9, color="#52606D")


def _name(axes: Axes, text: str) -> None:
    """Name of the blue box, over the dots in its corner."""
    box = {"fc": "#CFE5F3", "ec": "none", "pad": 4.5}
    axes.text(8, 14, text, color=BLUE, fontweight="bold", va="center", bbox=box, zorder=5)


def _score_dots(axes: Axes, rows: _Side, columns: _Side, **style: Any) -> None:
    centre = CropGeometry(rows.padding).score_centre
    x, y = np.meshgrid([centre(i) for i in range(columns.cells)], [centre(i) for i in range(rows.cells)])
    axes.plot(x.ravel(), y.ravel(), "o", **style)


def _draw_input(axes: Axes, rows: _Side, columns: _Side) -> None:
    height, width, padding = rows.length, columns.length, rows.padding
    _title(
        axes, padding, "Input: the image in its frame",
        f"{height} x {width} px, with padding {padding}: {height + 2 * padding} x {width + 2 * padding}",
    )  # fmt: skip
    _box(axes, -padding, -padding, height + 2 * padding, width + 2 * padding, fc="#F5F7FA", ec=GREY, ls=(0, (4, 3)))
    _box(axes, 0, 0, height, width, fc="#CFE5F3", ec=BLUE, lw=2)
    _name(axes, "image")
    axes.text(-padding + 8, -padding + 16, "zeros", color=GREY, va="center")
    _score_dots(axes, rows, columns, color=INK, markersize=3.5)
    centre = CropGeometry(padding).score_centre
    last = centre(rows.cells - 1)
    sign = "+" if centre(0) >= 0 else "-"
    axes.annotate(
        f"{rows.cells} x {columns.cells} score cells: cell i looks at pixel 32 i {sign} {abs(centre(0))}",
        (centre(0), last), xytext=(-padding + 8, height + padding - 22), fontsize=9,
        arrowprops={"arrowstyle": "-", "color": GREY, "lw": 1, "shrinkB": 4},
    )  # fmt: skip
    _arrow(axes, (-padding, height * 0.62), (0, height * 0.62), f"{padding}")


def _draw_output(axes: Axes, rows: _Side, columns: _Side, offset: int) -> None:
    height, width, padding = rows.length, columns.length, rows.padding
    steps = ", ".join(f"x{stride}" for _, stride in UPSAMPLING[rows.network])
    _title(
        axes, padding, f"Output of {rows.network.upper().replace('S', 's')}: upsampled {steps}, cropped",
        f"uncropped {rows.output} x {columns.output}, cut out from {offset}: [{offset}:{offset}+H, {offset}:{offset}+W]",
    )  # fmt: skip
    _box(axes, -padding, -padding, height + 2 * padding, width + 2 * padding, fc="none", ec=PALE, ls=(0, (4, 3)))
    _box(axes, -offset, -offset, rows.output, columns.output, fc="#FBE5D6", ec=RED, lw=2)
    _box(axes, 0, 0, height, width, fc="#CFE5F3", ec=BLUE, lw=2)
    _score_dots(axes, rows, columns, color=INK, markersize=3.5)
    _name(axes, "crop")
    right, below = columns.output - offset - width, rows.output - offset - height
    axes.text(
        width / 2, rows.output - offset + 18, f"thrown away: {offset} px left and above, {right} right, {below} below",
        color=RED, ha="center", va="center", fontsize=9,
    )  # fmt: skip
    _arrow(axes, (-offset, height * 0.62), (0, height * 0.62), f"{offset}")
    _arrow(axes, (width * 0.4, -offset), (width * 0.4, 0), f"{offset}")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    """A double arrow with its length in pixels beside it; short ones carry the number outside."""
    style = {"arrowstyle": "<->", "color": RED, "lw": 1.3, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", start, end, arrowprops=style)
    across = start[1] == end[1]
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if across and abs(end[0] - start[0]) < 40:  # no room for the number between the points
        axes.text(start[0] - 5, y, text, color=RED, ha="right", va="center", fontweight="bold")
    elif across:
        axes.text(x, y - 6, text, color=RED, ha="center", va="bottom", fontweight="bold")
    else:
        axes.text(start[0] + 6, y, text, color=RED, ha="left", va="center", fontweight="bold")


# -- measured alignment ----------------------------------------------------------------------------


@styled
def alignment(found: Any) -> Figure:
    """A ramp after a network: its value at each pixel, and how far that is from the right place.

    Args:
        found: :class:`segkit.checks.Alignment`, with ``ramp`` (2, H, W), ``outputs`` and ``gains`` by path and
            ``shifts`` (dy, dx) by path.

    Returns:
        A figure with one line per path: contours of the ramp before and after, and the error along rows
        and columns. A right crop gives contours that coincide and an error of zero.
    """
    paths = list(found.outputs)
    figure = Picture(figsize=(11.5, 3.3 * len(paths)), layout="constrained")
    panels = figure.subplots(len(paths), 3, squeeze=False, width_ratios=(1.15, 1, 1))
    ramp = _array(found.ramp)
    for line, path in zip(panels, paths, strict=True):
        output = _array(found.outputs[path]) / (found.gains[path] or 1.0)
        size = (min(ramp.shape[1], output.shape[1]), min(ramp.shape[2], output.shape[2]))
        own, seen = (item[:, : size[0], : size[1]] for item in (ramp, output))
        _draw_contours(line[0], own, seen, path)
        shift = found.shifts[path]
        _draw_error(line[1], own[0], seen[0], 0, None if shift is None else shift[0])
        _draw_error(line[2], own[1], seen[1], 1, None if shift is None else shift[1])
    return figure


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=float)


def _draw_contours(axes: Axes, own: np.ndarray, seen: np.ndarray, path: str) -> None:
    """Contours of rows and columns before and after, over the middle half: near the border the frame's zeros reach in."""
    names = {"score": "score to output", "score_pool_4": "pool4 to output", "score_pool_3": "pool3 to output"}
    bare(axes)
    height, width = own.shape[1:]
    axes.imshow(own.mean(0), cmap="Greys", vmin=-3.2, vmax=3.2)
    for k in range(2):
        levels = np.linspace(-0.5, 0.5, 6)
        axes.contour(own[k], levels, colors=BLUE, linewidths=4.5, alpha=0.4, linestyles="solid")
        axes.contour(seen[k], levels, colors=RED, linewidths=1.5, linestyles="solid")
    axes.set(xlim=(width / 4, 3 * width / 4), ylim=(3 * height / 4, height / 4))
    axes.set_title(names.get(path, path))
    axes.text(
        0.5, -0.03, "blue: the ramp that went in, red: what came out", transform=axes.transAxes, ha="center",
        va="top", fontsize=8.5, color="#52606D",
    )  # fmt: skip


def _draw_error(axes: Axes, own: np.ndarray, seen: np.ndarray, axis: int, shift: float | None) -> None:
    """Error of position along the middle line, in pixels: how much too low, or too far right, the output lies."""
    middle = own.shape[1 - axis] // 2
    line = (slice(None), middle) if axis == 0 else (middle, slice(None))
    error = (own[line] - seen[line]) / (own[line][1] - own[line][0])  # a step of the ramp is one pixel
    colour = GREEN if shift is not None and abs(shift) < 0.25 else RED
    axes.axhline(0, color=BLUE, linewidth=4.5, alpha=0.35)
    place = np.arange(len(error))
    axes.plot(place, error, color="#CBD2D9", linewidth=1.5)
    if shift is not None:
        steady = np.abs(error - shift) < 0.3  # elsewhere the frame's zeros reach in
        axes.plot(place, np.where(steady, error, np.nan), color=colour, linewidth=2.4)
    reach = 1.4 * max(4.0, abs(shift or 0.0))
    name, unit, sense = ("dy", "row", "+: too low") if axis == 0 else ("dx", "column", "+: too far right")
    verdict = "nothing arrived" if shift is None else f"{name} = {round(shift, 1) + 0.0:+.1f} px"
    axes.set(ylim=(-reach, reach), xlim=(0, len(error)), xlabel=f"{unit} of the output", ylabel=f"pixels off ({sense})")
    axes.set_title(f"{unit}s: {verdict}", color=colour)
    axes.grid(axis="y")
