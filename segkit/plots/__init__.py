"""Pictures for notebooks and reports. Each function returns a matplotlib figure and shows nothing by itself."""

from segkit.plots.crops import skip_crops
from segkit.plots.geometry import alignment, crop_geometry
from segkit.plots.maps import gallery, legend, overlay
from segkit.plots.network import network
from segkit.plots.recorded import Recorded, recorded_page, recorded_runs
from segkit.plots.runs import compare_runs, mask_page, read_stages, score_table
from segkit.plots.scores import class_scores, confusion, curves
from segkit.plots.stages import label_maps, stages

__all__ = [
    "Recorded",
    "alignment",
    "class_scores",
    "compare_runs",
    "confusion",
    "crop_geometry",
    "curves",
    "gallery",
    "label_maps",
    "legend",
    "mask_page",
    "network",
    "overlay",
    "read_stages",
    "recorded_page",
    "recorded_runs",
    "score_table",
    "skip_crops",
    "stages",
]
