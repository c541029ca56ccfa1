"""Numbers as pictures: training curves and confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from segkit.datasets import dataset
from segkit.history import EpochRecord, History
from segkit.plots.style import BLUE, GREEN, GREY, INK, ORANGE, RED, Picture, colours_of_networks, styled

__all__ = ["class_scores", "confusion", "curves"]


@styled
def curves(history: History | dict[str, Any], class_names: Sequence[str] | None = None) -> Figure:
    """Losses, scores, and the IoU of each class in the best epoch.

    Args:
        history: of :func:`segkit.training.fit`, or the content of ``history.json``.
        class_names: for the bars; those of the assignment's data set by default.

    Returns:
        A figure of three panels; the best epoch by validation mean IoU is marked.
    """
    history = History.from_json(history) if isinstance(history, dict) else history
    figure = Picture(figsize=(11.5, 3.5), layout="constrained")
    loss, score, classes = figure.subplots(1, 3, width_ratios=(1, 1, 0.85))
    records = history.epochs
    best = history.best or records[-1]
    _loss_panel(loss, records)
    _score_panel(score, records, best)
    for axes in (loss, score):
        axes.axvline(best.epoch, color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        axes.set_xlabel("epoch (0: untrained)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.set_xlim(-0.02 * max(len(records), 2), max(records[-1].epoch, 1) * 1.02)
        axes.grid(axis="y")
    _class_panel(classes, best, class_names or dataset().names_for(len(best.iou)))
    return figure


def _loss_panel(axes: Axes, records: list[EpochRecord]) -> None:
    trained = [(record.epoch, record.train_loss) for record in records if record.train_loss is not None]
    mark = "o" if len(records) < 12 else None
    style: dict[str, Any] = {"marker": mark, "markersize": 4}
    axes.plot([epoch for epoch, _ in trained], [loss for _, loss in trained], color=BLUE, label="training", **style)
    axes.plot([r.epoch for r in records], [r.val_loss for r in records], color=ORANGE, label="validation", **style)
    n_class = len(records[0].iou)
    axes.axhline(math.log(n_class), color=GREY, linewidth=1)
    axes.text(
        0.99, math.log(n_class), f"ln {n_class} = {math.log(n_class):.3f}, guessing", va="bottom", ha="right",
        fontsize=8, color=GREY, transform=axes.get_yaxis_transform(),
        bbox={"fc": "white", "ec": "none", "pad": 0.5}, zorder=1,
    )  # fmt: skip
    axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], 1.12 * math.log(n_class)))
    axes.set_title("cross entropy")
    axes.legend(loc="lower left", fontsize=8.5)


def _score_panel(axes: Axes, records: list[EpochRecord], best: EpochRecord) -> None:
    epochs = [record.epoch for record in records]
    mark: dict[str, Any] = {"marker": "o" if len(records) < 12 else None, "markersize": 4}
    axes.plot(epochs, [r.pixel_accuracy for r in records], color=GREEN, label="pixel accuracy", **mark)
    axes.plot(epochs, [r.mean_iou for r in records], color=RED, label="mean IoU", **mark)
    axes.plot([best.epoch], [best.mean_iou], "o", markersize=9, mfc="white", mec=RED, mew=2)
    left, low = best.epoch > 0.6 * max(epochs), best.mean_iou < 0.15
    axes.annotate(
        f"{best.mean_iou:.3f}, epoch {best.epoch}", (best.epoch, best.mean_iou), xytext=(-8 if left else 8, 9 if low else -26),
        textcoords="offset points", ha="right" if left else "left", fontsize=8.5, color=RED, fontweight="bold",
    )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_title("validation scores")
    axes.legend(loc="upper left", fontsize=8.5, ncols=2, columnspacing=1)


def _class_panel(axes: Axes, best: EpochRecord, names: Sequence[str]) -> None:
    values = np.nan_to_num(np.array(best.iou, dtype=float))
    places = np.arange(len(values))
    axes.barh(places, values, color=BLUE, height=0.72)
    for place, value in enumerate(best.iou):
        text = "absent" if math.isnan(value) else f"{value:.2f}"
        begin = (0 if math.isnan(value) else value) + 0.015
        axes.text(begin, place, text, va="center", fontsize=7.5, color=INK, bbox={"fc": "white", "ec": "none", "pad": 0.3})
    axes.axvline(best.mean_iou, color=RED, linewidth=1.5)  # behind the numbers
    axes.set(yticks=places, yticklabels=names, xlim=(0, 1.05), ylim=(len(values) - 0.4, -0.6))
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.set_title(f"IoU by class, epoch {best.epoch}")
    axes.set_xlabel("red line: mean")


@styled
def class_scores(iou: Mapping[str, Mapping[str, float]]) -> Figure:
    """IoU by class of several networks, side by side.

    Args:
        iou: title of a network -> class -> IoU; NaN where a class does not occur. All have the same classes.

    Raises:
        ValueError: there is no network.
    """
    if not iou:
        raise ValueError("Expected the IoU of at least one network, but got none.")
    names, width = list(next(iter(iou.values()))), 0.8 / len(iou)
    figure = Picture(figsize=(10, 3.5), layout="constrained")
    axes = figure.subplots()
    for place, ((title, found), colour) in enumerate(zip(iou.items(), colours_of_networks(iou), strict=True)):
        axes.bar(np.arange(len(names)) + width * place, [np.nan_to_num(found[name]) for name in names], width, label=title, color=colour)
    axes.set_xticks(np.arange(len(names)) + 0.4 - width / 2, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(ylabel="IoU on the test pictures", ylim=(0, 1))
    axes.grid(axis="y")
    axes.legend(loc="upper right", ncols=2, fontsize=8.5)
    return figure


@styled
def confusion(hist: np.ndarray | Tensor, class_names: Sequence[str] | None = None) -> Figure:
    """Confusion matrix, each row as shares of the true class.

    Args:
        hist: counts (n, n), rows are the ground truth.
        class_names: those of the assignment's data set by default.

    Returns:
        A heat map; the diagonal holds the share of each class that was found, in percent.
    """
    hist = np.asarray(hist.detach().cpu() if isinstance(hist, Tensor) else hist, dtype=float)
    if hist.ndim != 2 or hist.shape[0] != hist.shape[1]:
        raise ValueError(f"Expected counts (n, n), but got {hist.shape}.")
    n = len(hist)
    names = class_names or dataset().names_for(n)
    pixels = hist.sum(1)
    shares = 100 * hist / np.maximum(pixels, 1)[:, None]
    side = max(3.6, 0.52 * n)
    figure = Picture(figsize=(side + 2.3, side + 1.0), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(n, n):
        value = shares[row, column]
        if value >= 0.5:
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=8.5,
                color="white" if value > 55 else INK, fontweight="bold" if row == column else "normal",
            )  # fmt: skip
    total = max(pixels.sum(), 1)
    rows = [f"{name}  ({100 * count / total:.1f} %)" for name, count in zip(names, pixels, strict=True)]
    axes.set(xticks=range(n), yticks=range(n), yticklabels=rows, xlabel="predicted")
    axes.set_ylabel("true class (share of all pixels)")
    axes.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.set_title("Of the pixels of a class, % predicted as ...")
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=24, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("% of the row")
    return figure
