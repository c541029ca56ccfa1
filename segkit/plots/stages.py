"""What networks saw, side by side: one at several times of its training, or several."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from segkit.datasets import DatasetSpec
from segkit.plots.maps import MapLike, _grid, _names_below
from segkit.plots.style import label_picture, photograph, styled

__all__ = ["label_maps", "stages"]


@styled
def stages(
    images: Sequence[MapLike],
    labels: Sequence[MapLike],
    predictions: Mapping[int, Sequence[MapLike]],
    titles: Sequence[str] | None = None,
    spec: DatasetSpec | None = None,
) -> Figure:
    """Rows of photograph, label, and the prediction after each of some epochs, side by side.

    Args:
        images: see :func:`segkit.plots.style.photograph`.
        labels: label maps (H, W), 255 for unknown.
        predictions: epoch -> label maps (H, W), one per image.
        titles: one line of text per row, or None.
        spec: the data set; None: that of the assignment.

    Returns:
        A figure with the classes that occur named below.

    Raises:
        ValueError: as many labels or predictions as images were expected.
    """
    columns = {"photograph": [photograph(image) for image in images], "label": [label_picture(item, spec) for item in labels]}
    for epoch in sorted(predictions):
        columns[f"epoch {epoch}"] = [label_picture(item, spec) for item in predictions[epoch]]
    lengths = {title: len(pictures) for title, pictures in columns.items()}
    if len(set(lengths.values())) != 1 or not images:
        raise ValueError(f"Expected as many labels and predictions as images, but got {lengths}.")
    figure = _grid(columns, titles)
    _names_below(figure, [item for maps in (labels, *predictions.values()) for item in maps], spec)
    return figure


@styled
def label_maps(
    columns: Mapping[str, Sequence[MapLike]],
    titles: Sequence[str] | None = None,
    spec: DatasetSpec | None = None,
    images: Sequence[MapLike] | None = None,
) -> Figure:
    """Rows of label maps of one picture each, after the photograph if there is one.

    Args:
        columns: title -> label maps (H, W), 255 for unknown, one per row.
        titles: one line of text per row, or None.
        spec: the data set; None: that of the assignment.
        images: one per row, see :func:`segkit.plots.style.photograph`; None: not shown.

    Returns:
        A figure with the classes that occur named below.

    Raises:
        ValueError: the columns are empty or not equally long.
    """
    lengths = {title: len(maps) for title, maps in columns.items()} | ({} if images is None else {"photograph": len(images)})
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        raise ValueError(f"Expected equally many label maps in each column, but got {lengths}.")
    drawn = {} if images is None else {"photograph": [photograph(image) for image in images]}
    drawn |= {title: [label_picture(item, spec) for item in maps] for title, maps in columns.items()}
    figure = _grid(drawn, titles, width=min(2.7, 11.5 / len(drawn)))
    _names_below(figure, [item for maps in columns.values() for item in maps], spec)
    return figure
