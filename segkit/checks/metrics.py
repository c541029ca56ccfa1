"""Checks of ``confusion_matrix`` and ``scores`` on cases small enough to be worked by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from segkit.checks.report import Report, describe_value

__all__ = ["check_confusion_matrix", "check_scores"]

# six pixels, three classes: one of class 0 was taken for 1, two of class 2 for 0
PRED = np.array([[0, 1, 1], [0, 0, 2]])
GT = np.array([[0, 0, 1], [2, 2, 2]])
COUNTS = np.array([[1, 1, 0], [0, 1, 0], [2, 0, 1]])


def check_confusion_matrix(confusion_matrix: Callable[..., Any]) -> Report:
    """Check orientation, ignored pixels, narrow integers and other numbers of classes.

    Args:
        confusion_matrix: The student's function ``(pred, gt, n_class) -> (n, n) counts``.

    Returns:
        The printed report.
    """
    report = Report()
    ran, hist = report.run("six pixels by hand", lambda: confusion_matrix(PRED.copy(), GT.copy(), 3))
    if not ran or not _check_counts(report, hist):
        return report
    _check_ignored(report, confusion_matrix)
    _check_integers(report, confusion_matrix)
    _check_sizes(report, confusion_matrix)
    return report


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _same(hist: Any, expected: np.ndarray) -> bool:
    found = _array(hist)
    return found.shape == expected.shape and bool(np.array_equal(found, expected))


def _check_counts(report: Report, hist: Any) -> bool:
    name = "six pixels by hand"
    if hist is None:
        return report.fault(name, "a (3, 3) table", "None", "the function has no `return`")
    found = _array(hist)
    if found.shape != (3, 3):
        return report.fault(
            name, "shape (3, 3)", describe_value(hist), "the table has one row and one column per class: reshape to (n_class, n_class)"
        )
    cause = ""
    if np.array_equal(found, COUNTS.T):
        cause = "rows and columns exchanged: rows are the truth (gt), columns what you predicted"
    elif found.sum() and np.allclose(found.sum(), 1):
        cause = "these are shares: return counts, so that images can be added up"
    elif found.sum() and np.allclose(found[found.any(1)].sum(1), 1):
        cause = "the rows are divided by their sums: return counts, so that images can be added up"
    elif np.array_equal(np.diag(np.diag(found)), found):
        cause = "only the correct pixels are counted"
    return report.expect(_same(hist, COUNTS), name, COUNTS.tolist(), found.tolist(), cause, "rows are the truth")


def _check_ignored(report: Report, confusion_matrix: Callable[..., Any]) -> None:
    gt = GT.copy()
    gt[0, 0], gt[1, 0] = 255, 255  # one right pixel of class 0, one pixel of class 2 taken for 0
    expected = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 1]])
    cause = "ignored pixels are counted: leave out every pixel whose gt is not within 0..n_class-1"
    hints = {"": cause}
    ran, hist = report.run("ignored pixels (255)", lambda: confusion_matrix(PRED.copy(), gt, 3), hints)
    if ran:
        report.expect(_same(hist, expected), "ignored pixels (255)", expected.tolist(), _array(hist).tolist(), cause,
                      "not counted")  # fmt: skip
    below = np.where(gt == 255, -1, gt)
    ran, hist = report.run("other values outside (-1)", lambda: confusion_matrix(PRED.copy(), below, 3), hints)
    if ran:
        report.expect(_same(hist, expected), "other values outside (-1)", expected.tolist(), _array(hist).tolist(),
                      "the mask tests for 255 only: a pixel counts where 0 <= gt < n_class", "not counted")  # fmt: skip
    nothing = np.full((2, 2), 255)
    size = "the table must keep its size where classes are missing: bincount(..., minlength=...)"
    _compare(report, "nothing but 255", lambda: confusion_matrix(np.zeros((2, 2), int), nothing, 3), np.zeros((3, 3), int),
             size)  # fmt: skip


def _check_integers(report: Report, confusion_matrix: Callable[..., Any]) -> None:
    cause = "overflow: n_class * gt + pred does not fit into the narrow integers of the input; convert to int64 first"
    for dtype, n_class in ((np.int8, 12), (np.uint8, 20), (np.int16, 12), (np.int32, 12)):
        name = f"{np.dtype(dtype).name} labels, {n_class} classes"
        last = np.array([[n_class - 1, n_class - 1, 0]], dtype=dtype)
        pred = np.array([[n_class - 1, 0, 0]], dtype=dtype)
        expected = np.zeros((n_class, n_class), int)
        expected[-1, -1] = expected[-1, 0] = expected[0, 0] = 1
        _compare(report, name, lambda p=pred, g=last, n=n_class: confusion_matrix(p, g, n), expected, cause)
    pred, gt = torch.from_numpy(PRED), torch.from_numpy(GT)
    _compare(report, "torch tensors", lambda: confusion_matrix(pred, gt, 3), COUNTS,
             "np.asarray(...) at the start accepts arrays and tensors alike")  # fmt: skip
    mixed = PRED.astype(np.int32)
    _compare(report, "uint8 gt, int32 pred", lambda: confusion_matrix(mixed, GT.astype(np.uint8), 3), COUNTS, cause)


def _compare(report: Report, name: str, call: Callable[[], Any], expected: np.ndarray, cause: str) -> None:
    ran, hist = report.run(name, call, {"": cause})
    if not ran:
        return
    found = _array(hist)
    if found.shape != expected.shape:
        report.fault(name, f"shape {expected.shape}", f"shape {found.shape}", cause)
        return
    wrong = int((found != expected).sum())
    report.expect(
        wrong == 0, name, "every pixel in its place", f"{wrong} wrong entries, {int(found.sum())} pixels of {expected.sum()}", cause
    )


def _check_sizes(report: Report, confusion_matrix: Callable[..., Any]) -> None:
    cause = "the number of classes is fixed in your code: use n_class"
    _compare(report, "one class", lambda: confusion_matrix(np.zeros(4, int), np.array([0, 0, 0, 255]), 1), np.array([[3]]), cause)
    large = np.arange(64)
    _compare(report, "64 classes", lambda: confusion_matrix(large, large, 64), np.eye(64, dtype=int), cause)
    pred, gt = PRED.copy(), GT.copy()
    before = (pred.copy(), gt.copy())
    ran, _ = report.run("inputs left alone", lambda: confusion_matrix(pred, gt, 3))
    if ran:
        kept = np.array_equal(pred, before[0]) and np.array_equal(gt, before[1])
        report.expect(kept, "inputs left alone", "unchanged arrays", "changed ones", "you write into pred or gt: work on a copy")


# classes 0 and 1; class 2 is neither in the truth nor in the prediction
HIST = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
ACCURACY, IOU_0, IOU_1 = 7 / 10, 3 / 6, 4 / 7


def check_scores(scores: Callable[[Any], Any]) -> Report:
    """Check pixel accuracy, IoU per class, the rule for absent classes, and the mean.

    Args:
        scores: The student's function ``hist -> (pixel_accuracy, iou, mean_iou)``.

    Returns:
        The printed report.
    """
    report = Report()
    ran, result = report.run("ten pixels by hand", lambda: scores(HIST.copy()))
    if not ran:
        return report
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        report.fault("three results", "(pixel_accuracy, iou, mean_iou)", describe_value(result), "return all three, in this order")
        return report
    accuracy, iou, mean = result
    iou = _array(iou).astype(float).reshape(-1)
    if _array(accuracy).size != 1 or iou.shape != (3,) or _array(mean).size != 1:
        report.fault(
            "three results",
            "a number, an array of 3, a number",
            ", ".join(map(describe_value, result)),
            "return (pixel_accuracy, iou, mean_iou), in this order",
        )
        return report
    accuracy, mean = float(_array(accuracy)), float(_array(mean))
    _near(report, "pixel accuracy", ACCURACY, accuracy, _accuracy_cause(accuracy), "7 of 10 pixels")
    _near(report, "IoU of class 0", IOU_0, iou[0], _iou_cause(iou), "3 / (4 + 5 - 3)")
    _near(report, "IoU of class 1", IOU_1, iou[1], _iou_cause(iou), "4 / (6 + 5 - 4)")
    report.expect(bool(np.isnan(iou[2])), "IoU of an absent class", "nan", f"{iou[2]:.4f}",
                  "the class is in neither truth nor prediction: 0 / 0 has no value, so it must be NaN and not count", "nan")  # fmt: skip
    _near(report, "mean IoU", (IOU_0 + IOU_1) / 2, mean, _mean_cause(mean), "over the two classes that occur")
    _check_more_scores(report, scores)
    return report


def _near(report: Report, name: str, expected: float, got: float, cause: str, detail: str) -> None:
    report.expect(bool(abs(got - expected) < 1e-6), name, f"{expected:.4f}", f"{got:.4f}", cause, f"{got:.4f} = {detail}")


def _match(value: float, known: dict[str, float]) -> str:
    return next((text for text, number in known.items() if abs(value - number) < 1e-6), "")


def _accuracy_cause(value: float) -> str:
    return _match(value, {
        "this is the mean of the class accuracies: divide all correct pixels by all pixels": (3 / 4 + 4 / 6) / 2,
        "percent: return a share between 0 and 1": 70.0,
        "cut to a whole number: divide with / and not with //": 0.0,
    })  # fmt: skip


def _iou_cause(iou: np.ndarray) -> str:
    known = {
        "this is recall (diagonal over row sums): divide by truth + prediction - intersection": (3 / 4, 4 / 6),
        "this is precision (diagonal over column sums): divide by truth + prediction - intersection": (3 / 5, 4 / 5),
        "the intersection is counted twice in the union: subtract the diagonal": (3 / 9, 4 / 11),
        "this is the Dice score: IoU is intersection / union, without the factor 2": (6 / 9, 8 / 11),
        "cut to whole numbers: divide with / and not with //": (0.0, 0.0),
        "percent: return a share between 0 and 1": (50.0, 400 / 7),
    }
    return next((text for text, pair in known.items() if np.allclose(iou[:2], pair)), "")


def _mean_cause(value: float) -> str:
    if np.isnan(value):
        return "a plain mean over NaN is NaN: use np.nanmean"
    return _match(value, {
        "the absent class is counted as 0: average over the classes that occur": (IOU_0 + IOU_1) / 3,
        "this is micro averaging (all intersections over all unions): average the classes' IoUs": 7 / 13,
        "the classes are weighted by their frequency: mean IoU counts every class once": 0.4 * IOU_0 + 0.6 * IOU_1,
        "this is mean recall: it is built on diagonal over row sums": (3 / 4 + 4 / 6) / 2,
    })  # fmt: skip


def _check_more_scores(report: Report, scores: Callable[[Any], Any]) -> None:
    # class 1 was predicted once and is nowhere in the truth: its union is 1, so its IoU is 0 and it counts
    ran, result = report.run("a class only predicted", lambda: scores(np.array([[4, 1], [0, 0]])))
    if ran:
        mean = float(_array(result[2]))
        report.expect(abs(mean - 0.4) < 1e-6, "a class only predicted", "mean IoU 0.4000 = (0.8 + 0) / 2", f"{mean:.4f}",
                      "NaN belongs to classes with an empty union; one that was only predicted has IoU 0 and counts")  # fmt: skip
    large = np.array([[3, 1], [2, 4]], dtype=np.int64) * 10**9
    ran, result = report.run("a whole test list", lambda: scores(large))
    if ran:
        report.expect(abs(float(_array(result[0])) - 0.7) < 1e-6, "a whole test list", "0.7000", f"{float(_array(result[0])):.4f}",
                      "the counts overflow: do not convert them to 32-bit integers")  # fmt: skip
    before = HIST.copy()
    hist = HIST.copy()
    report.run("counts left alone", lambda: scores(hist))
    report.expect(np.array_equal(hist, before), "counts left alone", "unchanged counts", "changed ones", "you write into hist")
