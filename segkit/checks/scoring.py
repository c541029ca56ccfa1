"""Check of ``scores`` on tables small enough to be worked by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segkit.checks.metrics import as_array
from segkit.checks.report import Report, describe_value
from segkit.mistakes import accuracy_mistake, iou_mistake, mean_mistake

__all__ = ["check_scores"]

# classes 0 and 1; class 2 is neither in the truth nor in the prediction
HIST = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
ACCURACY, IOU_0, IOU_1 = 7 / 10, 3 / 6, 4 / 7
MEAN = (IOU_0 + IOU_1) / 2


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
        report.fault("three results", "(pixel_accuracy, iou, mean_iou)", describe_value(result), "return all three, in this order",
                     "scores.type")  # fmt: skip
        return report
    accuracy, iou, mean = result
    try:
        iou = as_array(iou).astype(float).reshape(-1)
    except (TypeError, ValueError):
        iou = np.zeros(0)
    if as_array(accuracy).size != 1 or iou.shape != (3,) or as_array(mean).size != 1:
        report.fault("three results", "a number, an array of 3, a number", ", ".join(map(describe_value, result)),
                     _results_cause(result), "scores.type")  # fmt: skip
        return report
    accuracy, mean = float(as_array(accuracy)), float(as_array(mean))
    _near(report, "pixel accuracy", ACCURACY, accuracy, accuracy_mistake(accuracy, HIST, MEAN), "7 of 10 pixels")
    found = iou_mistake(iou[:2], HIST[:2, :2])
    _near(report, "IoU of class 0", IOU_0, iou[0], found, "3 / (4 + 5 - 3)")
    _near(report, "IoU of class 1", IOU_1, iou[1], found, "4 / (6 + 5 - 4)")
    report.expect(bool(np.isnan(iou[2])), "IoU of an absent class", "nan", f"{iou[2]:.4f}",
                  _absent_cause(iou[2]), "nan", "iou.absent")  # fmt: skip
    _near(report, "mean IoU", MEAN, mean, mean_mistake(mean, HIST, np.array([IOU_0, IOU_1, np.nan])), "over the two classes that occur")
    _check_more_scores(report, scores)
    return report


def _near(report: Report, name: str, expected: float, got: float, mistake: tuple[str, str], detail: str) -> None:
    code, cause = mistake
    report.expect(bool(abs(got - expected) < 1e-6), name, f"{expected:.4f}", f"{got:.4f}", cause, f"{got:.4f} = {detail}", code)


def _results_cause(result: Sequence[Any]) -> str:
    if any(isinstance(value, dict) for value in result):
        return "iou is an array with one IoU per class, no dictionary"
    sizes = [as_array(value).size for value in result]
    if sizes == [1, 2, 1]:
        return "iou has one entry for every class, whether it occurs or not: NaN for an absent one, and none is left out"
    if sorted(sizes) == [1, 1, 3]:
        return "return (pixel_accuracy, iou, mean_iou), in this order"
    return "pixel_accuracy and mean_iou are one number each, iou is an array with one IoU per class"


def _absent_cause(value: float) -> str:
    counted = f"the absent class is counted as {value:.4g}: it" if np.isfinite(value) else "the class"
    return f"{counted} is in neither truth nor prediction, 0 / 0 has no value, so it must be NaN and not count"


def _check_more_scores(report: Report, scores: Callable[[Any], Any]) -> None:
    # class 1 was predicted once and is nowhere in the truth: its union is 1, so its IoU is 0 and it counts
    hist, wanted = np.array([[3, 1, 0], [0, 0, 0], [1, 0, 2]]), np.array([3 / 5, 0, 2 / 3])
    ran, result = report.run("a class only predicted", lambda: scores(hist.copy()))
    if ran:
        name, only = "a class only predicted", float(as_array(result[1])[1])
        report.expect(abs(only) < 1e-6, name, "IoU 0", f"{only:.4f}",
                      "NaN belongs to classes with an empty union; one that was only predicted has IoU 0 and counts",
                      code="iou.absent")  # fmt: skip
        mean = float(as_array(result[2]))
        _near(report, name, 19 / 45, mean, mean_mistake(mean, hist, wanted), "(3/5 + 0 + 2/3) / 3")
    large = np.array([[3, 1], [2, 4]], dtype=np.int64) * 10**9
    ran, result = report.run("a whole test list", lambda: scores(large))
    if ran:
        report.expect(abs(float(as_array(result[0])) - 0.7) < 1e-6, "a whole test list", "0.7000", f"{float(as_array(result[0])):.4f}",
                      "the counts overflow: do not convert them to 32-bit integers")  # fmt: skip
    before = HIST.copy()
    hist = HIST.copy()
    report.run("counts left alone", lambda: scores(hist))
    report.expect(np.array_equal(hist, before), "counts left alone", "unchanged counts", "changed ones", "you write into hist")
