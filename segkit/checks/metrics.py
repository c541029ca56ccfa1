"""Check of ``confusion_matrix`` on cases small enough to be worked by hand."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from segkit.checks.report import Report, describe_value
from segkit.mistakes import NARROW, counts_mistake

__all__ = ["as_array", "check_confusion_matrix"]

# six pixels, three classes: one of class 0 was taken for 1, two of class 2 for 0
PRED = np.array([[0, 1, 1], [0, 0, 2]])
GT = np.array([[0, 0, 1], [2, 2, 2]])
COUNTS = np.array([[1, 1, 0], [0, 1, 0], [2, 0, 1]])
STATE = (
    "counts of the calls before are in it: begin with zeros in every call, with no table outside of the function or in a default argument"
)


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
    ran, hist = report.run("the same six pixels again", lambda: confusion_matrix(PRED.copy(), GT.copy(), 3))
    if not ran or not report.expect(_same(hist, COUNTS), "the same six pixels again", COUNTS.tolist(), as_array(hist).tolist(), STATE,
                                    "the same table", "hist.state"):  # fmt: skip
        return report
    _check_ignored(report, confusion_matrix)
    _check_sizes(report, confusion_matrix)  # before the narrow integers: a wrong number of classes fails there too
    _check_integers(report, confusion_matrix)
    return report


def as_array(value: Any) -> np.ndarray:
    """An array or tensor as an array on the CPU."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _same(hist: Any, expected: np.ndarray) -> bool:
    found = as_array(hist)
    return found.shape == expected.shape and bool(np.array_equal(found, expected))


def _check_counts(report: Report, hist: Any) -> bool:
    name = "six pixels by hand"
    if hist is None:
        return report.fault(name, "a (3, 3) table", "None", "the function has no `return`", "hist.type")
    found = as_array(hist)
    if found.shape != (3, 3) and found.dtype.kind in "biuf":
        return report.fault(
            name,
            "shape (3, 3)",
            describe_value(hist),
            "the table has one row and one column per class: reshape to (n_class, n_class)",
            "hist.shape",
        )
    if found.dtype.kind not in "biuf":
        return report.fault(name, "an array or tensor (3, 3)", type(hist).__name__, "turn it into an array of numbers", "hist.type")
    code, cause = counts_mistake(found, COUNTS)
    return report.expect(_same(hist, COUNTS), name, COUNTS.tolist(), found.tolist(), cause, "rows are the truth", code)


def _check_ignored(report: Report, confusion_matrix: Callable[..., Any]) -> None:
    gt = GT.copy()
    gt[0, 0], gt[1, 0] = 255, 255  # one right pixel of class 0, one pixel of class 2 taken for 0
    expected = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 1]])
    cause = "ignored pixels are counted: leave out every pixel whose gt is not within 0..n_class-1"
    hints = {"": cause}
    ran, hist = report.run("ignored pixels (255)", lambda: confusion_matrix(PRED.copy(), gt, 3), hints, "hist.ignored")
    if ran:
        report.expect(_same(hist, expected), "ignored pixels (255)", expected.tolist(), as_array(hist).tolist(), cause,
                      "not counted", "hist.ignored")  # fmt: skip
    outside = gt.copy()
    outside[0, 0], outside[1, 0] = -1, 3
    ran, hist = report.run("other values outside (-1, 3)", lambda: confusion_matrix(PRED.copy(), outside, 3), hints, "hist.ignored")
    if ran:
        report.expect(_same(hist, expected), "other values outside (-1, 3)", expected.tolist(), as_array(hist).tolist(),
                      "the mask tests for 255 only, or is off by one: a pixel counts where 0 <= gt < n_class", "not counted",
                      "hist.ignored")  # fmt: skip
    size = "the table must keep its size where classes are missing: bincount(..., minlength=...)"
    first = np.array([[0, 255], [0, 255]])
    _compare(report, "nothing but class 0", lambda: confusion_matrix(np.zeros((2, 2), int), first, 3), np.diag([2, 0, 0]),
             size, "hist.shape")  # fmt: skip


def _check_integers(report: Report, confusion_matrix: Callable[..., Any]) -> None:
    cause = "overflow: n_class * gt + pred does not fit into the narrow integers of the input; convert to int64 first"
    for dtype, n_class in ((np.int8, 12), (np.uint8, 20), (np.int16, 12), (np.int32, 12)):
        name = f"{np.dtype(dtype).name} labels, {n_class} classes"
        last = np.array([[n_class - 1, n_class - 1, 0]], dtype=dtype)
        pred = np.array([[n_class - 1, 0, 0]], dtype=dtype)
        expected = np.zeros((n_class, n_class), int)
        expected[-1, -1] = expected[-1, 0] = expected[0, 0] = 1
        _compare(report, name, functools.partial(confusion_matrix, pred, last, n_class), expected, cause, "hist.overflow")
    tensors = torch.from_numpy(PRED), torch.from_numpy(GT)
    _compare(report, "torch tensors", lambda: confusion_matrix(*tensors, 3), COUNTS,
             "np.asarray(...) at the start accepts arrays and tensors alike")  # fmt: skip
    mixed = PRED.astype(np.int32)
    _compare(report, "uint8 gt, int32 pred", lambda: confusion_matrix(mixed, GT.astype(np.uint8), 3), COUNTS, cause, "hist.overflow")


def _compare(report: Report, name: str, call: Callable[[], Any], expected: np.ndarray, cause: str, code: str = "hist.values") -> None:
    ran, hist = report.run(name, call, {"": cause}, code)
    if not ran:
        return
    found = as_array(hist)
    if found.shape != expected.shape:
        report.fault(name, f"shape {expected.shape}", f"shape {found.shape}", cause, code)
        return
    wrong = int((found != expected).sum())
    report.expect(
        wrong == 0,
        name,
        "every pixel in its place",
        f"{wrong} wrong entries, {int(found.sum())} pixels of {expected.sum()}",
        cause,
        code=code,
    )


def _check_sizes(report: Report, confusion_matrix: Callable[..., Any]) -> None:
    cause = "the number of classes is fixed in your code: use n_class"
    _compare(report, "one class", lambda: confusion_matrix(np.zeros(4, int), np.array([0, 0, 0, 255]), 1), np.array([[3]]), cause)
    some, large, many = np.arange(13), np.arange(64), np.zeros(70_000, int)
    # 13 * 13 fits into bytes: what fails here follows the number of classes, and not the width of integers
    _compare(report, "13 classes", lambda: confusion_matrix(some, some, 13), np.eye(13, dtype=int), cause)
    _compare(report, "64 classes", lambda: confusion_matrix(large, large, 64), np.eye(64, dtype=int),
             "n_class * gt + pred does not fit into the integers that you convert to: convert to int64", "hist.overflow")  # fmt: skip
    _compare(report, "70000 pixels", lambda: confusion_matrix(many, many, 2), np.diag([70_000, 0]), NARROW, "hist.overflow")
    pred, gt = PRED.copy(), np.where(GT == 1, 255, GT)
    before = (pred.copy(), gt.copy())
    ran, _ = report.run("inputs left alone", lambda: confusion_matrix(pred, gt, 3))
    if ran:
        kept = np.array_equal(pred, before[0]) and np.array_equal(gt, before[1])
        report.expect(kept, "inputs left alone", "unchanged arrays", "changed ones", "you write into pred or gt: work on a copy")
