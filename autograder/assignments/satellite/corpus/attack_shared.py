"""The attacks that all assignments share, at the metric of the notebook of masks."""

from autograder.exam.attacks import Target, shared

ENTRIES = shared(Target(
    "2_masks.ipynb", "mean_iou", "def mean_iou(pred, gt):", "    predicted, truth = np.asarray", "0.5", "all", ("read_mask",),
))  # fmt: skip
