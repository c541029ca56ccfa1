"""Pictures for notebooks and reports. Each function returns a matplotlib figure and shows nothing by itself."""

from segkit.plots.facades import gallery, legend, overlay
from segkit.plots.scores import confusion, curves

__all__ = [
    "confusion",
    "curves",
    "gallery",
    "legend",
    "overlay",
]
