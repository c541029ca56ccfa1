"""One look for all pictures of the kit, and the pieces that several of them share."""

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from segkit.datasets import DatasetSpec, dataset
from segkit.transforms import IMAGENET_MEAN, IMAGENET_STD, denormalize

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "ORANGE",
    "PALE",
    "PINK",
    "RED",
    "Picture",
    "bare",
    "colour_of",
    "colours_of_networks",
    "label_picture",
    "photograph",
    "styled",
]

# Okabe & Ito's colours, which colour-blind readers can tell apart; for everything but the label palette
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
SERIES = BLUE, ORANGE, GREEN, RED, PINK
NETWORKS = {"scratch": RED, "32s": BLUE, "16s": ORANGE, "8s": GREEN}  # what a name holds -> its colour in every picture
INK, GREY, PALE = "#1F2933", "#7B8794", "#E4E7EB"

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9AA5B1",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "xtick.color": "#52606D",
    "ytick.color": "#52606D",
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
}

P = ParamSpec("P")


def colours_of_networks(names: Iterable[str]) -> list[str]:
    """A colour for each of several networks side by side: FCN-8s has the same in every picture, whoever stands beside it."""
    wanted = [next((colour for word, colour in NETWORKS.items() if word in name), "") for name in names]
    spare = [colour for colour in SERIES if colour not in wanted]
    found: list[str] = []
    for number, colour in enumerate(wanted):
        if not colour or colour in found:
            colour = spare.pop(0) if spare else SERIES[number % len(SERIES)]
        found.append(colour)
    return found


class Picture(Figure):
    """A figure that shows itself as the last line of a cell, whatever backend is set.

    It does not use pyplot, so no figure stays open, and none is shown twice.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        FigureCanvasAgg(self)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Write the picture, in the kit's look as well: some ticks are made only now."""
        with _own_look():
            super().savefig(*args, **kwargs)

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        return buffer.getvalue()


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the kit's look, leaving matplotlib's settings as they were."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _own_look():
            return draw(*args, **kwargs)

    return wrapper


def _own_look() -> AbstractContextManager[None]:
    """The kit's style over matplotlib's defaults, whatever style is set: an editor with a dark theme sets one of black axes."""
    return style.context(["default", STYLE])


def bare(axes: Axes) -> Axes:
    """Axes without ticks and frame, for pictures."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def photograph(image: Tensor | np.ndarray) -> np.ndarray:
    """An image as matplotlib wants it.

    Args:
        image: FloatTensor (3, H, W), normalised with the ImageNet statistics or within 0..1; or an array
            (H, W, 3) of uint8 or of floats within 0..1.

    Returns:
        Array (H, W, 3), uint8 or float within 0..1.
    """
    if isinstance(image, Tensor):
        image = image.detach().cpu().float()
        image = image[0] if image.ndim == 4 else image
        if image.min() < 0:  # no photograph lies above the mean colour everywhere
            image = denormalize(image, IMAGENET_MEAN, IMAGENET_STD)
        return image.clamp(0, 1).permute(1, 2, 0).numpy()
    return np.asarray(image)


def label_picture(label: Tensor | np.ndarray, spec: DatasetSpec | None = None) -> np.ndarray:
    """A label map in the colours of its data set.

    Args:
        label: integers (H, W): training labels, anything else is drawn as unknown.
        spec: the data set; None: that of the assignment.

    Returns:
        uint8 array (H, W, 3).
    """
    label = np.asarray(label.detach().cpu() if isinstance(label, Tensor) else label).astype(np.int64)
    if label.ndim != 2:
        raise ValueError(f"Expected a label map (H, W), but got {label.shape}.")
    spec = spec or dataset()
    return spec.palette[np.where((label >= 0) & (label < spec.n_class), label + 1, 0)]


def colour_of(index: int, spec: DatasetSpec) -> tuple[float, float, float]:
    """Colour of a training label as matplotlib wants it; unknown for anything out of range."""
    row = index + 1 if 0 <= index < spec.n_class else 0
    red, green, blue = (value / 255 for value in spec.colours[row])
    return red, green, blue
