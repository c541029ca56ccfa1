"""Runs that were recorded on the real pictures and come with the kit: for machines on which such a training would take days."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from segkit.datasets import DataError, DatasetSpec, dataset
from segkit.plots.maps import MapLike
from segkit.plots.runs import read_stages
from segkit.plots.stages import label_maps

__all__ = ["Recorded", "recorded_page", "recorded_runs"]


@dataclass(frozen=True)
class Recorded:
    """What was recorded: of pictures that no network learned from, label maps alone.

    Attributes:
        spec: the data set.
        about: what was trained, on what, and for how long.
        runs: title of a network -> folder with the ``history.json`` and ``stages.npz`` of its training, for the functions of
            :mod:`segkit.plots`.
        scores: title -> scores on the test pictures, as in ``metrics.json``: ``mean_iou``, ``mean_iou_interval``,
            ``pixel_accuracy``, ``iou`` by class (None where a class does not occur).
        labels: name of a picture -> its true label map, uint8 (H, W), 255 for unknown.
    """

    spec: DatasetSpec
    about: str
    runs: Mapping[str, Path]
    scores: Mapping[str, Mapping[str, Any]]
    labels: Mapping[str, np.ndarray]

    @property
    def iou(self) -> dict[str, dict[str, float]]:
        """Title -> class -> IoU on the test pictures, NaN where a class does not occur."""
        return {
            title: {name: np.nan if value is None else value for name, value in found["iou"].items()}
            for title, found in self.scores.items()
        }  # fmt: skip

    def summary(self) -> str:
        """What was trained, and how well each network did on the test pictures, in lines of a notebook's width."""
        lines = [textwrap.fill(self.about, 88), ""]
        for title, found in self.scores.items():
            low, high = found["mean_iou_interval"]
            lines.append(f"{title:<20}  mean IoU {found['mean_iou']:.3f}  (95 % interval {low:.3f} to {high:.3f})")
        return "\n".join(lines)


def recorded_runs(spec: DatasetSpec | None = None, folder: str | Path | None = None) -> Recorded:
    """Read the recorded runs of a data set.

    Args:
        spec: the data set; None: that of the assignment.
        folder: where they lie; None: ``data/<data set>/recorded/`` of the kit.

    Raises:
        DataError: there are none, or they cannot be read; the text says what to do.
    """
    spec = spec or dataset()
    folder = Path(folder or spec.folder / "recorded")
    try:
        content = json.loads((folder / "recorded.json").read_text(encoding="utf-8"))
        runs = {title: folder / item["folder"] for title, item in content["runs"].items()}
        with np.load(folder / "labels.npz", allow_pickle=False) as file:
            labels = {name: file[name] for name in file}
        return Recorded(spec, content["about"], runs, {title: item["test"] for title, item in content["runs"].items()}, labels)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is missing: this kit has no recorded runs of the {spec.pictures}. Unpack it again.") from error
    except Exception as error:  # a damaged zip raises whatever it likes
        raise DataError(f"{folder}: the recorded runs cannot be read ({error}). Unpack the kit again.") from error


def recorded_page(recorded: Recorded, names: Sequence[str] = (), images: Mapping[str, MapLike] | None = None) -> Figure:
    """What the networks answered after their last epoch: a row for each picture, a column for each network, the truth before them.

    Args:
        recorded: see :func:`recorded_runs`.
        names: of pictures, in the order of the rows; all that were recorded, if none.
        images: name -> photograph, for a column before the others; None: not shown.
    """
    names = list(names) or list(recorded.labels)
    columns: dict[str, list[np.ndarray]] = {"truth": [recorded.labels[name] for name in names]}
    for title, run in recorded.runs.items():
        saved = read_stages(run)
        columns[title] = [saved[max(saved)][name] for name in names]
    return label_maps(columns, names, recorded.spec, None if images is None else [images[name] for name in names])
