"""Damaged submissions: the forms that all assignments share, of the notebook of masks."""

from autograder.exam.forms import shared

ENTRIES = shared("2_masks.ipynb", "read_mask", "mean_iou")
