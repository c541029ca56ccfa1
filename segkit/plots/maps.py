"""Photographs and their label maps: legend of the colours, galleries, overlays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch
from torch import Tensor

from segkit.datasets import DatasetSpec, dataset
from segkit.plots.style import GREY, Picture, bare, colour_of, label_picture, photograph, styled
from segkit.transforms import IGNORE_INDEX

__all__ = ["gallery", "legend", "overlay"]

MapLike = Tensor | np.ndarray

EDGE: dict[str, Any] = {"ec": GREY, "linewidth": 0.6}  # a white class is seen on white paper
WRONG, RIGHT = (213, 94, 0), (228, 231, 235)


@styled
def legend(spec: DatasetSpec | None = None) -> Figure:
    """The colours of a data set: colour, training label and name of each class.

    Args:
        spec: the data set; None: that of the assignment.

    Returns:
        A figure; the number in a swatch is the training label, what the file holds is written beside it.
    """
    spec = spec or dataset()
    apart = () if spec.ignore_index < spec.n_class else (spec.ignore_index,)
    places = (*range(spec.n_class), *apart)
    lines = -(-len(places) // 7)
    figure = Picture(figsize=(11.6, 0.875 * lines))
    axes = bare(figure.add_axes((0, 0, 1, 1)))
    axes.set(xlim=(0, 7), ylim=(lines, 0))
    for place, index in enumerate(places):
        x, y = place % 7, place // 7
        colour, known = colour_of(index, spec), place < spec.n_class
        axes.add_patch(FancyBboxPatch((x + 0.06, y + 0.2), 0.34, 0.56, boxstyle="round,pad=0,rounding_size=0.05", fc=colour, **EDGE))
        dark = sum(w * c for w, c in zip((0.3, 0.59, 0.11), colour, strict=True)) < 0.5
        axes.text(
            x + 0.23, y + 0.5, str(index), ha="center", va="center", color="white" if dark else "black",
            fontsize=11, fontweight="bold",
        )  # fmt: skip
        name = spec.classes[index] if known else "unknown"
        axes.text(x + 0.455, y + 0.42, name, va="center", fontsize=10)
        id_text = f"{spec.stored_as} {spec.stored[index + 1]} in the file" if known else f"{spec.stored_as} {spec.stored[0]}, ignored"
        id_text = id_text if len(id_text) < 20 else id_text.removeprefix(spec.stored_as).removesuffix(" in the file").strip()
        axes.text(x + 0.455, y + 0.66, id_text, va="center", fontsize=7.8 if len(id_text) < 18 else 7, color="#52606D")
    return figure


@styled
def gallery(
    images: Sequence[MapLike],
    labels: Sequence[MapLike] | None = None,
    predictions: Sequence[MapLike] | None = None,
    titles: Sequence[str] | None = None,
    spec: DatasetSpec | None = None,
) -> Figure:
    """Rows of photograph, label, prediction, and where the two disagree.

    Args:
        images: see :func:`segkit.plots.style.photograph`.
        labels: label maps (H, W) with 255 for unknown, or None.
        predictions: label maps (H, W), or None.
        titles: one line of text per row (a name, a score), or None.
        spec: the data set; None: that of the assignment.

    Returns:
        A figure with the classes that occur named below.

    Raises:
        ValueError: lists of different lengths, or no image.
    """
    columns = {"photograph": [photograph(image) for image in images]}
    for title, maps in (("label", labels), ("prediction", predictions)):
        if maps is not None:
            columns[title] = [label_picture(item, spec) for item in maps]
    if labels is not None and predictions is not None:
        columns["wrong pixels"] = [_errors(*pair) for pair in zip(labels, predictions, strict=True)]
    lengths = {title: len(pictures) for title, pictures in columns.items()}
    if len(set(lengths.values())) != 1 or not images:
        raise ValueError(f"Expected as many labels and predictions as images, but got {lengths}.")
    figure = _grid(columns, titles)
    maps = [*(labels or []), *(predictions or [])]
    if maps:
        _names_below(figure, maps, spec)
    return figure


def _grid(columns: dict[str, list[np.ndarray]], titles: Sequence[str] | None, width: float = 2.7) -> Figure:
    shapes = [picture.shape[:2] for picture in next(iter(columns.values()))]
    heights = [min(max(0.97 * width * h / w, 1.2), 1.5 * width) for h, w in shapes]
    extra = 0.24 if titles is not None else 0.0
    # space for column titles and for the legend in inches, so that pictures fill the rest whatever their number
    top, bottom, gap = 0.3 + extra, 0.55, 0.08 + extra
    total = sum(heights) + gap * (len(heights) - 1) + top + bottom
    figure = Picture(figsize=(width * len(columns), total))
    y = total - top
    for row, height in enumerate(heights):
        y -= height
        for column, (title, pictures) in enumerate(columns.items()):
            box = (column / len(columns) + 0.004, y / total, 1 / len(columns) - 0.008, height / total)
            axes = bare(figure.add_axes(box))
            axes.imshow(pictures[row], interpolation="antialiased" if title == "photograph" else "nearest")
            if row == 0:
                axes.text(
                    0.5, 1 + (extra + 0.07) / height, title, transform=axes.transAxes, ha="center", va="bottom",
                    fontweight="bold",
                )  # fmt: skip
            if column == 0 and titles is not None:
                axes.text(0.01, 1 + 0.05 / height, titles[row], transform=axes.transAxes, va="bottom", fontsize=9)
        y -= gap
    return figure


def _errors(label: MapLike, prediction: MapLike) -> np.ndarray:
    label, prediction = (np.asarray(item) for item in (label, prediction))
    if label.shape != prediction.shape:
        raise ValueError(f"Expected label and prediction of one size, but got {label.shape}, {prediction.shape}.")
    picture = np.where((label == prediction)[..., None], np.asarray(RIGHT, np.uint8), np.asarray(WRONG, np.uint8))
    picture[label == IGNORE_INDEX] = 0
    return picture


def _names_below(figure: Figure, maps: Sequence[MapLike], spec: DatasetSpec | None) -> None:
    """Name the classes that occur in some label maps, each beside its colour."""
    spec = spec or dataset()
    classes = set(np.concatenate([np.unique(np.asarray(item)) for item in maps]).tolist())
    known = sorted(index for index in classes if 0 <= index < spec.n_class)
    handles = [Patch(fc=colour_of(index, spec), label=f"{index} {spec.classes[index]}", **EDGE) for index in known]
    if len(known) < len(classes):
        handles.append(Patch(fc=colour_of(-1, spec), label="unknown"))
    per_line = max(3, int(figure.get_figwidth() / 1.2))
    lines = -(-len(handles) // per_line)
    per_line = -(-len(handles) // lines)  # lines of about equal length
    # matplotlib fills column by column; readers go line by line
    handles = [handles[i] for column in range(per_line) for i in range(column, len(handles), per_line)]
    figure.legend(
        handles=handles, loc="lower center", ncols=per_line, fontsize=8, handlelength=1.1, handleheight=1.1,
        columnspacing=1.0, handletextpad=0.4, borderaxespad=0.1,
    )  # fmt: skip


@styled
def overlay(image: MapLike, label: MapLike, alpha: float = 0.5, spec: DatasetSpec | None = None) -> Figure:
    """A photograph with its label map laid over it: shows at once whether the two fit.

    Args:
        image: see :func:`segkit.plots.style.photograph`.
        label: label map (H, W); unknown pixels show the plain photograph.
        alpha: weight of the label colours, 0..1.
        spec: the data set; None: that of the assignment.

    Returns:
        A figure with photograph, overlay and legend.

    Raises:
        ValueError: photograph and label of different sizes.
    """
    picture = photograph(image)
    picture = picture / 255 if picture.dtype == np.uint8 else picture
    label = np.asarray(label)
    if picture.shape[:2] != label.shape:
        raise ValueError(f"Expected image and label of one size, but got {picture.shape[:2]}, {label.shape}.")
    spec = spec or dataset()
    weight = alpha * ((label >= 0) & (label < spec.n_class))[..., None]
    mixed = (1 - weight) * picture + weight * label_picture(label, spec) / 255
    figure = _grid({"photograph": [picture], "with label": [_outlined(mixed, label)]}, None, width=4.4)
    _names_below(figure, [label], spec)
    return figure


def _outlined(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    """White lines of one pixel between the classes: they show misplaced labels better than colours do."""
    edge = np.zeros(label.shape, dtype=bool)
    edge[:-1] |= label[:-1] != label[1:]
    edge[:, :-1] |= label[:, :-1] != label[:, 1:]
    return np.where(edge[..., None], 0.35 * picture + 0.65, picture)
