"""Recorded runs of several networks: what they saw at some epochs, and how well they did, beside figures that others published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segkit.datasets import DatasetSpec
from segkit.history import History
from segkit.plots.maps import MapLike
from segkit.plots.stages import label_maps
from segkit.plots.style import GREY, Picture, colours_of_networks, styled

__all__ = ["compare_runs", "mask_page", "read_stages", "score_table"]

Run = History | str | Path
Published = Mapping[str, Mapping[int | str, float]]

NONE = "-"  # in a table, where a run has no such epoch


def read_stages(run: str | Path) -> dict[int, dict[str, np.ndarray]]:
    """Label maps that ``segkit train --stages`` saved.

    Args:
        run: Folder of the run.

    Returns:
        Epoch -> name of a picture -> label map, uint8 (H, W), both in order.

    Raises:
        ValueError: There are none, or they cannot be read; the text names the file.
    """
    path, found = Path(run) / "stages.npz", dict[int, dict[str, np.ndarray]]()
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in sorted(file, key=lambda key: int(key.partition("/")[0])):
                epoch, _, name = key.partition("/")
                found.setdefault(int(epoch), {})[name] = file[key]
    except Exception as error:  # a damaged zip raises whatever it likes
        raise ValueError(
            f"{path}: no label maps can be read from it ({error}). `segkit train --stages ... --pictures ...` writes it."
        ) from error
    return found


def mask_page(
    run: str | Path, pictures: Sequence[str] = (), epochs: Sequence[int] = (), spec: DatasetSpec | None = None,
    images: Mapping[str, MapLike] | None = None,
) -> Figure:  # fmt: skip
    """What a network saw: a row for each picture, a column for each epoch, in the colours of the data set.

    Args:
        run: Folder of the run, see :func:`read_stages`.
        pictures: Names, in the order of the rows; all that were saved, if none.
        epochs: Columns; all that were saved, if none.
        spec: The data set; None: that of the assignment.
        images: Name -> photograph, for a column before the others; None: not shown.

    Raises:
        ValueError: A picture or epoch was not saved; the text names those that were.
    """
    saved = read_stages(run)
    shown = list(epochs) or list(saved)
    names = list(pictures) or list(next(iter(saved.values()), {}))
    for what, wanted, there in (("epochs", shown, list(saved)), ("pictures", names, list(next(iter(saved.values()), {})))):
        if absent := [str(one) for one in wanted if one not in there]:
            raise ValueError(f"{run} has no label maps of {what} {', '.join(absent)}. There are {', '.join(map(str, there))}.")
    columns = {f"epoch {epoch}": [saved[epoch][name] for name in names] for epoch in shown}
    return label_maps(columns, names, spec, None if images is None else [images[name] for name in names])


def score_table(runs: Mapping[str, Run], epochs: Sequence[int] = (1, 5, 10, 15, 20), published: Published | None = None) -> str:
    """Mean IoU on the validation pictures after some epochs, and the best.

    Args:
        runs: Name of a network -> its history, or the folder of its run.
        epochs: The columns.
        published: Name -> epoch, or "final" -> mean IoU elsewhere; each has a row of its own below.

    Returns:
        A table in Markdown that is also readable as it stands.

    Raises:
        ValueError: A run has no history.
    """
    rows = [["mean IoU", *(f"epoch {epoch}" for epoch in epochs), "best"]]
    for name, run in runs.items():
        history = _history(run)
        scores = {record.epoch: record.mean_iou for record in history.epochs}
        best = f"{history.best.mean_iou:.3f} (epoch {history.best_epoch})" if history.best else NONE
        rows.append([name, *(_number(scores.get(epoch), 3) for epoch in epochs), best])
    for name, known in (published or {}).items():
        rows.append([f"{name}, published", *(_number(known.get(epoch), 2) for epoch in epochs), _number(known.get("final"), 3)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])


@styled
def compare_runs(runs: Mapping[str, Run], published: Published | None = None) -> Figure:
    """Mean IoU on the validation pictures over the epochs of several runs, what others published in grey.

    Args:
        runs: See :func:`score_table`.
        published: See :func:`score_table`.

    Raises:
        ValueError: A run has no history.
    """
    figure = Picture(figsize=(7.6, 4.0), layout="constrained")
    axes = figure.subplots()
    for (name, known), dashes in zip((published or {}).items(), ((0, (4, 2)), (0, (1, 1)), (0, (4, 1, 1, 1))), strict=False):
        points = [(epoch, score) for epoch, score in known.items() if isinstance(epoch, int)]
        style: dict[str, Any] = {"color": GREY, "linewidth": 1.3, "linestyle": dashes, "marker": "o", "markersize": 3}
        if points:
            axes.plot(*zip(*points, strict=True), label=f"{name}, published", **style)
    for (name, run), colour in zip(runs.items(), colours_of_networks(runs), strict=True):
        trained = [record for record in _history(run).epochs if record.epoch]
        mark = "o" if len(trained) < 12 else None
        axes.plot([r.epoch for r in trained], [r.mean_iou for r in trained], color=colour, marker=mark, markersize=4, label=name)
    axes.set(xlabel="epoch", ylim=(0, 1 if axes.get_ylim()[1] > 0.4 else 0.5), title="mean IoU on the validation pictures")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, steps=[1, 5, 10]))  # the epochs of tables: 5, 10, 15, 20
    axes.grid(axis="y")
    axes.legend(loc="upper left", ncols=2, fontsize=8.5)
    return figure


def _history(run: Run) -> History:
    return run if isinstance(run, History) else History.load(Path(run) / "history.json")


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
