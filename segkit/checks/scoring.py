"""Check of ``scores`` on tables small enough to be worked by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np

from segkit.checks.metrics import as_array
from segkit.checks.report import Report, describe_value

__all__ = ["check_scores"]

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
    iou = as_array(iou).astype(float).reshape(-1)
    if as_array(accuracy).size != 1 or iou.shape != (3,) or as_array(mean).size != 1:
        report.fault(
            "three results",
            "a number, an array of 3, a number",
            ", ".join(map(describe_value, result)),
            "return (pixel_accuracy, iou, mean_iou), in this order",
        )
        return report
    accuracy, mean = float(as_array(accuracy)), float(as_array(mean))
    _near(report, "pixel accuracy", ACCURACY, accuracy, _accuracy_cause(accuracy), "7 of 10 pixels")
    _near(report, "IoU of class 0", IOU_0, iou[0], _iou_cause(iou), "3 / (4 + 5 - 3)")
    _near(report, "IoU of class 1", IOU_1, iou[1], _iou_cause(iou), "4 / (6 + 5 - 4)")
    report.expect(bool(np.isnan(iou[2])), "IoU of an absent class", "nan", f"{iou[2]:.4f}",
                  _absent_cause(iou[2]), "nan", "iou.absent")  # fmt: skip
    _near(report, "mean IoU", (IOU_0 + IOU_1) / 2, mean, _mean_cause(mean), "over the two classes that occur")
    _check_more_scores(report, scores)
    return report


def _near(report: Report, name: str, expected: float, got: float, cause: str, detail: str) -> None:
    report.expect(bool(abs(got - expected) < 1e-6), name, f"{expected:.4f}", f"{got:.4f}", cause, f"{got:.4f} = {detail}")


def _absent_cause(value: float) -> str:
    counted = f"the absent class is counted as {value:.4g}: it" if np.isfinite(value) else "the class"
    return f"{counted} is in neither truth nor prediction, 0 / 0 has no value, so it must be NaN and not count"


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
        mean = float(as_array(result[2]))
        report.expect(abs(mean - 0.4) < 1e-6, "a class only predicted", "mean IoU 0.4000 = (0.8 + 0) / 2", f"{mean:.4f}",
                      "NaN belongs to classes with an empty union; one that was only predicted has IoU 0 and counts")  # fmt: skip
    large = np.array([[3, 1], [2, 4]], dtype=np.int64) * 10**9
    ran, result = report.run("a whole test list", lambda: scores(large))
    if ran:
        report.expect(abs(float(as_array(result[0])) - 0.7) < 1e-6, "a whole test list", "0.7000", f"{float(as_array(result[0])):.4f}",
                      "the counts overflow: do not convert them to 32-bit integers")  # fmt: skip
    before = HIST.copy()
    hist = HIST.copy()
    report.run("counts left alone", lambda: scores(hist))
    report.expect(np.array_equal(hist, before), "counts left alone", "unchanged counts", "changed ones", "you write into hist")
