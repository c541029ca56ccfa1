"""Judge ``scores`` with independent ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autograder.assignments.fcn.hints import likely, reraise_if_lost
from autograder.judge.checking import Grading
from autograder.judge.student import Student
from segkit.mistakes import accuracy_mistake, iou_mistake, mean_mistake
from segkit.reference import scores
from segkit.subject import StudentError

__all__ = ["judge_scores"]


def _three(found: Any) -> tuple[float, NDArray, float]:
    if not isinstance(found, list) or len(found) != 3:
        kind = f"{len(found)} results" if isinstance(found, list) else type(found).__name__
        missing = " Does it end without `return`?" if found is None else ""
        raise StudentError(f"scores: expected (pixel_accuracy, iou, mean_iou), but got {kind}.{missing}", "scores.type")
    accuracy, iou, mean = (np.asarray(value, dtype=np.float64) if _numeric(value) else None for value in found)
    if accuracy is None or iou is None or mean is None or accuracy.size != 1 or mean.size != 1:
        text = "scores: expected (pixel_accuracy, iou, mean_iou): a number, an (n,) array and a number; something else came back."
        raise StudentError(text, "scores.type")
    return float(accuracy.reshape(())), iou, float(mean.reshape(()))


def _numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value)
    return isinstance(value, (int, float)) or (isinstance(value, np.ndarray) and value.dtype.kind in "iuf")


def _hist(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """A confusion matrix with some truth and many confusions, asymmetric, counts far beyond 16 bits.

    One IoU over all classes together differs in it from the mean of the classes' IoUs: it must not pass for that by luck.
    """
    while True:
        hist = rng.integers(0, 40_000, (n, n))
        hist[np.arange(n), np.arange(n)] += rng.integers(50_000, 200_000, n)
        hist = (hist * rng.integers(1, 9, (n, 1))).astype(np.int64)
        together = np.trace(hist) / (2 * hist.sum() - np.trace(hist))
        if abs(together / scores(hist)[2] - 1) >= 0.01:
            return hist


def _close(a: Any, b: Any, slack: float = 0.0) -> bool:
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-6 + slack, equal_nan=True))


def _unit(found: NDArray, right: NDArray) -> float:
    """To how much IoUs were rounded, 0 for none: the mean of rounded ones is no second mistake."""
    if found.shape != right.shape or _close(found, right):
        return 0.0
    return next((10.0**-digits for digits in (1, 2, 3, 4) if np.allclose(found, np.round(right, digits), equal_nan=True)), 0.0)


def _constant(iou: NDArray) -> bool:
    """Whether all classes that have an IoU have the same."""
    there = iou[np.isfinite(iou)]
    return bool(there.size == 0 or np.ptp(there) < 1e-6)


def judge_scores(student: Student, grading: Grading) -> None:
    """Pixel accuracy, IoU per class, NaN for absent classes, and the mean over the others."""
    rng = grading.own_rng("scores")
    n = int(rng.integers(5, 9))
    hist = _hist(rng, n)
    accuracy, iou, mean = scores(hist)
    found_accuracy, found_iou, found_mean = _three(student.call("scores", hist))
    if not _close(found_accuracy, accuracy):
        cause, why = accuracy_mistake(found_accuracy, hist, mean)
        text = f"scores: pixel accuracy: expected the share of right pixels, {accuracy:.4f} here; got {found_accuracy:.4f}.{likely(why)}"
        grading.lose("accuracy", cause=cause, message=text)
    iou_right = found_iou.shape == iou.shape and _close(found_iou, iou)
    if not iou_right:
        cause, why = _why_iou(hist, found_iou)
        text = f"scores: IoU per class: expected intersection over union.{why}"
        grading.lose("iou", cause=cause, message=text)
    unit = _unit(found_iou, iou)
    if not _close(found_mean, mean, unit):
        own = float(np.mean(found_iou)) if found_iou.size else float("nan")
        constant = not np.isfinite(found_iou).all() or _constant(found_iou)
        if iou_right or constant or not _close(found_mean, own):  # the mean of a wrong IoU is not a second mistake
            cause, why = mean_mistake(found_mean, hist, iou)
            text = f"scores: mean IoU: expected the mean over the classes, {mean:.4f} here; got {found_mean:.4f}.{likely(why)}"
            told = _close(found_mean, accuracy) and _close(found_accuracy, mean)  # exchanged
            told |= bool(found_iou.size) and not np.isfinite(found_iou).any()  # nothing to average
            grading.lose("mean", cause=cause, message="" if told else text)
    _judge_absent(student, grading, hist, None if iou_right else found_iou, unit)


def _why_iou(hist: NDArray, found: NDArray) -> tuple[str, str]:
    hit, truth, predicted = np.diag(hist), hist.sum(1), hist.sum(0)
    cause, words = iou_mistake(found, hist)
    if words:
        return cause, f" What came back is {words}."
    if found.shape != hit.shape:
        return "iou.values", f" Expected shape {hit.shape}, but got {found.shape}."
    worst = int(np.nanargmax(np.abs(found - hit / (truth + predicted - hit)))) if np.isfinite(found).any() else 0
    expected = hit[worst] / (truth[worst] + predicted[worst] - hit[worst])
    return "iou.values", f" Class {worst}: expected {expected:.4f}, got {found[worst]:.4f}."


def _judge_absent(student: Student, grading: Grading, hist: NDArray, wrong_iou: NDArray | None, unit: float) -> None:
    """A class that occurs neither in the truth nor in the prediction; and one that was only predicted.

    An IoU that was wrong before, and that other counts do not change, shows nothing about classes and means.
    """
    iou_right = wrong_iou is None
    hist = hist.copy()
    hist[2, :], hist[:, 2] = 0, 0
    hist[1, :] = 0  # only ever predicted: its IoU is 0, not NaN
    hist[3, :], hist[:, 3], hist[3, 3] = 0, 0, 1  # one pixel, rightly predicted
    _, iou, _ = scores(hist)
    try:
        _, found_iou, found_mean = _three(student.call("scores", hist))
    except StudentError as error:
        reraise_if_lost(error)
        text = f"scores fails when a class is absent from ground truth and prediction; its IoU must be NaN.\n{error}"
        grading.lose("absent", cause="iou.absent", message=text)
        return
    if found_iou.shape != iou.shape:
        text = (f"scores: expected {len(iou)} IoUs for {len(iou)} classes, NaN for one absent from both, but got "
                f"{found_iou.shape}. Leave no class out.")  # fmt: skip
        grading.lose("absent", cause="iou.absent", message=text if iou_right else "")
        return
    others = np.arange(len(iou)) != 2
    unmoved = wrong_iou is not None and wrong_iou.shape == iou.shape and _close(wrong_iou[others], found_iou[others])
    if not iou_right and (unmoved or _constant(found_iou)):
        text = "scores: the IoU is the same for other counts or for all classes: compute it from hist."
        grading.lose("absent", cause="iou.values", message=text)
        grading.lose("mean", cause="iou.values", message="")
        return
    if not np.isnan(found_iou[2]) or (iou_right and not _close(found_iou, iou)):
        text = f"scores: a class absent from both must have IoU NaN; it got {found_iou[2]:.4g}. Nothing was right or wrong about it."
        if np.isnan(found_iou[2]):
            text = f"scores: a class that was only predicted has IoU 0; it got {found_iou[1]:.4g}."
            if _close(found_iou[1], 0):
                text = f"scores: a class of one single pixel, rightly predicted, has IoU 1; it got {found_iou[3]:.4g}."
        grading.lose("absent", cause="iou.absent", message=text)
    rest = found_iou[others]
    own = float(np.nanmean(rest)) if np.isfinite(rest).any() else float("nan")
    if not _close(found_mean, own, unit) and not any(fault.part == "mean" for fault in grading.faults):
        cause = "iou.absent_mean"
        if grading.faults and grading.faults[-1].part == "absent":
            return  # the same mistake, seen from its other side
        why = mean_mistake(found_mean, hist, found_iou)[1] or "Use nanmean."
        text = (f"scores: the mean must leave out absent classes: expected {own:.4f} from your own IoUs, got {found_mean:.4f}."
                f"{likely(why)}")  # fmt: skip
        grading.lose("mean", cause=cause, message=text)
