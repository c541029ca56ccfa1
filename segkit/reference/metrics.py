"""Metrics of semantic segmentation from one confusion matrix over the whole set.

References:
    Long, Shelhamer & Darrell, CVPR 2015, section 5 (pixel accuracy, mean accuracy, mean IU).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["confusion_matrix", "scores"]


def confusion_matrix(pred: ArrayLike, gt: ArrayLike, n_class: int) -> NDArray[np.int64]:
    """Count pixels by ground-truth class and predicted class.

    Args:
        pred: Predicted classes, any shape and integer dtype, values ``0..n_class - 1``.
        gt: Ground truth, same shape. Pixels outside ``0..n_class - 1`` (255, negative) do not count.
        n_class: Number of classes, at least 1.

    Returns:
        Int64 array of shape ``(n_class, n_class)``; entry ``[i, j]`` counts the pixels of class ``i`` predicted as ``j``.
    """
    # widen before multiplying: in int8 the index i * n_class + j overflows from 12 classes on
    pred, gt = np.asarray(pred).ravel().astype(np.int64), np.asarray(gt).ravel().astype(np.int64)
    counted = (gt >= 0) & (gt < n_class)
    index = gt[counted] * n_class + pred[counted]
    return np.bincount(index, minlength=n_class * n_class).reshape(n_class, n_class)


def scores(hist: ArrayLike) -> tuple[float, NDArray[np.float64], float]:
    """Return pixel accuracy, per-class intersection over union, and its mean.

    Args:
        hist: Confusion matrix ``(n, n)``, rows are ground truth.

    Returns:
        Pixel accuracy; ``iou`` as float64 ``(n,)``, NaN for a class absent from both prediction and ground truth; and the
        mean of ``iou`` over the other classes (NaN if there is none). All in 0..1.
    """
    hist = np.asarray(hist, dtype=np.float64)
    hit = np.diag(hist)
    union = hist.sum(axis=0) + hist.sum(axis=1) - hit
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(union > 0, hit / union, np.nan)
        accuracy = hit.sum() / hist.sum()
    present = iou[~np.isnan(iou)]
    return float(accuracy), iou, float(present.mean()) if present.size else float("nan")
