"""Training: the recipe of the course, a fast one, and a run that survives being killed."""

from segkit.training.heads import compute_features, fit_head
from segkit.training.recipes import RECIPES, TrainConfig
from segkit.training.resuming import TrainingError
from segkit.training.segmentation import fit

__all__ = ["RECIPES", "TrainConfig", "TrainingError", "compute_features", "fit", "fit_head"]
