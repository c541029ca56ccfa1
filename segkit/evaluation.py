"""Scores of a network over a whole dataset, and its prediction for one image: what a notebook imports.

The counts of all images are added up first and scored once: the mean of per-image IoUs is another, kinder
number. Counting and scoring themselves are the student's functions and come in as arguments.
"""

from segkit.inference import Evaluation, EvaluationError, image_scores, predict
from segkit.precision import best_device
from segkit.training.measuring import evaluate

__all__ = ["Evaluation", "EvaluationError", "best_device", "evaluate", "image_scores", "predict"]
