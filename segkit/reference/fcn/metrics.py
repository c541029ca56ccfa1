"""Metrics of semantic segmentation from one confusion matrix over the whole set.

References:
    Long, Shelhamer & Darrell, CVPR 2015, section 5 (pixel accuracy, mean accuracy, mean IU).
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

__all__ = ["confusion_matrix", "confusion_matrix_on_device", "scores"]


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


def confusion_matrix_on_device(pred: torch.Tensor, gt: torch.Tensor, n_class: int) -> torch.Tensor:
    """Count pixels where the tensors are, without making the program wait for a GPU.

    ``torch.bincount`` reads the largest value back to the CPU, and its atomic additions crowd on n x n cells. On a GPU a
    product of two matrices of zeros and ones counts instead; float32 is exact to 2^24, so blocks stay below that.

    Args:
        pred: Predicted classes ``0..n_class - 1``, integers of any shape.
        gt: Ground truth, same shape and device. Pixels outside ``0..n_class - 1`` do not count.
        n_class: Number of classes.

    Returns:
        Int64 tensor ``(n_class, n_class)`` on the same device, rows are ground truth.
    """
    pred, gt = pred.reshape(-1), gt.reshape(-1)
    if pred.device.type == "cpu":
        gt, pred = gt.long(), pred.long()
        cell = torch.where((gt >= 0) & (gt < n_class), gt * n_class + pred, n_class * n_class)
        return torch.bincount(cell, minlength=n_class * n_class + 1)[:-1].view(n_class, n_class)
    return _product_counts(pred, gt, n_class)


def _product_counts(pred: torch.Tensor, gt: torch.Tensor, n_class: int, block: int = 2**21) -> torch.Tensor:
    classes = torch.arange(n_class, device=gt.device)[:, None]
    counts = torch.zeros(n_class, n_class, dtype=torch.int64, device=gt.device)
    for begin in range(0, len(gt), block):
        part = slice(begin, begin + block)
        rows, columns = ((values[part][None] == classes).float() for values in (gt, pred))  # (n_class, pixels)
        with torch.autocast(gt.device.type, enabled=False):  # which would round the sums to 16 bits
            counts += (rows @ columns.T).long()  # zeros and ones are exact in TF32 too, whose sums are float32
    return counts


cast(Any, confusion_matrix).on_device = confusion_matrix_on_device  # segkit.training takes it where it is


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
