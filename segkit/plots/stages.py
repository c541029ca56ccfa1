"""What a network saw at several times of its training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from segkit.plots.facades import MapLike, _grid, _names_below
from segkit.plots.style import label_picture, photograph, styled

__all__ = ["stages"]


@styled
def stages(
    images: Sequence[MapLike],
    labels: Sequence[MapLike],
    predictions: Mapping[int, Sequence[MapLike]],
    titles: Sequence[str] | None = None,
) -> Figure:
    """Rows of photograph, label, and the prediction after each of some epochs, side by side.

    Args:
        images: see :func:`segkit.plots.style.photograph`.
        labels: label maps (H, W), 255 for unknown.
        predictions: epoch -> label maps (H, W), one per image.
        titles: one line of text per row, or None.

    Returns:
        A figure with the classes that occur named below.

    Raises:
        ValueError: as many labels or predictions as images were expected.
    """
    columns = {"photograph": [photograph(image) for image in images], "label": [label_picture(item) for item in labels]}
    for epoch in sorted(predictions):
        columns[f"epoch {epoch}"] = [label_picture(item) for item in predictions[epoch]]
    lengths = {title: len(pictures) for title, pictures in columns.items()}
    if len(set(lengths.values())) != 1 or not images:
        raise ValueError(f"Expected as many labels and predictions as images, but got {lengths}.")
    figure = _grid(columns, titles)
    occurring = [np.unique(np.asarray(item)) for maps in (labels, *predictions.values()) for item in maps]
    _names_below(figure, set(np.concatenate(occurring).tolist()))
    return figure
