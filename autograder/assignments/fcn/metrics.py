"""Judge ``confusion_matrix`` and ``scores`` with an independent count."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autograder.judge.checking import Grading
from autograder.judge.student import Student
from segkit.mistakes import accuracy_mistake, counts_mistake, iou_mistake, mean_mistake
from segkit.reference import confusion_matrix, scores
from segkit.subject import StudentError

__all__ = ["judge_confusion_matrix", "judge_scores"]


# ---------------------------------------------------------------------------------------------------- confusion matrix
def _case(rng: np.random.Generator, n_class: int, shape: tuple[int, int], ignored: bool) -> tuple[NDArray, NDArray]:
    """Prediction and ground truth that agree in about half of the pixels, unevenly over the classes."""
    weights = rng.dirichlet(np.ones(n_class))
    gt = rng.choice(n_class, shape, p=weights)
    pred = np.where(rng.random(shape) < 0.5, gt, rng.integers(0, n_class, shape))
    if ignored:
        gt = np.where(rng.random(shape) < 0.2, 255, gt)
    return pred, gt


def _counts(student: Student, pred: NDArray, gt: NDArray, n_class: int) -> NDArray:
    found = student.call("confusion_matrix", pred, gt, n_class)
    if isinstance(found, list):
        try:
            found = np.array(found)
        except ValueError:  # rows of unequal length, or several results in one tuple
            found = {"type": f"{len(found)} results of unequal shapes"}
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        kind = found.get("type") if isinstance(found, dict) else type(found).__name__
        missing = " Does it end without `return`?" if found is None else ""
        raise StudentError(f"confusion_matrix: expected an (n, n) array or tensor of counts, but got {kind}.{missing}", "hist.type")
    if found.shape != (n_class, n_class):
        text = (f"confusion_matrix: expected shape {(n_class, n_class)} for n_class={n_class}, but got {found.shape}. The argument n_class "
                "decides, not the classes that occur.")  # fmt: skip
        raise StudentError(text, "hist.shape")
    return found.astype(np.float64)


def _likely(words: str) -> str:
    return f" Likely cause: {words}" if words else ""


def _differing(found: NDArray, expected: NDArray) -> str:
    """The counts that differ, in words."""
    places = np.argwhere(found != expected)
    row, column = map(int, places[0])
    return (f"{len(places)} of {expected.size} counts differ; pixels of class {row} predicted as {column}: expected "
            f"{expected[row, column]:g}, got {found[row, column]:g}")  # fmt: skip


def judge_confusion_matrix(student: Student, grading: Grading) -> None:
    """Counts and orientation, ignored pixels, integer dtypes and numbers of classes."""
    rng = grading.own_rng("confusion_matrix")
    shape = (int(rng.integers(31, 60)), int(rng.integers(31, 60)))
    pred, gt = _case(rng, 5, shape, ignored=False)
    expected = confusion_matrix(pred, gt, 5)
    found = _counts(student, pred, gt, 5)
    transposed = np.array_equal(found, expected.T)
    if not np.array_equal(found, expected):
        cause, why = counts_mistake(found, expected)
        text = f"confusion_matrix: {_differing(found, expected)}.{_likely(why)}"
        grading.lose("counts", cause=cause, message=text, measured={"differ": int((found != expected).sum())})
    else:
        _judge_missing_classes(student, grading, pred, gt)
    _judge_ignored(student, grading, rng, shape, transposed)
    _judge_dtypes(student, grading, rng, transposed)


def _reraise_if_lost(error: StudentError) -> None:
    """Let a worker that died, hung or talked nonsense decide the whole check: that is no matter of one case."""
    if error.cause in ("code.died", "code.timeout", "code.garbage", "code.exit", "code.memory"):
        raise error


def _judge_missing_classes(student: Student, grading: Grading, pred: NDArray, gt: NDArray) -> None:
    """A picture in which the last classes do not occur: the table keeps its size."""
    pred, gt = np.minimum(pred, 1), np.minimum(gt, 1)
    try:
        right = np.array_equal(_counts(student, pred, gt, 5), confusion_matrix(pred, gt, 5))
        reason = ""
    except StudentError as error:
        _reraise_if_lost(error)
        right, reason = False, f"\n{error}"
    if not right:
        text = ("confusion_matrix: wrong where the last classes do not occur in a picture; expected (n_class, n_class) with rows of "
                f"zeros for them. Likely cause: a missing minlength.{reason}")  # fmt: skip
        grading.lose("counts", cause="hist.shape", message=text, share=0.5)


def _judge_ignored(student: Student, grading: Grading, rng, shape, transposed: bool) -> None:
    pred, gt = _case(rng, 5, shape, ignored=True)
    gt.reshape(-1)[rng.permutation(gt.size)[:6]] = [-1, 5, 6, 200, 254, -100]  # whatever is no class does not count
    expected = confusion_matrix(pred, gt, 5)
    expected = expected.T if transposed else expected
    try:
        found = _counts(student, pred, gt, 5)
    except StudentError as error:
        _reraise_if_lost(error)
        text = ("confusion_matrix fails where the ground truth holds ignored pixels (255 and others outside 0..n-1). Leave these out "
                f"before counting.\n{error}")  # fmt: skip
        grading.lose("ignored", cause="hist.ignored", message=text)
        return
    if not np.array_equal(found, expected) and not any(fault.cause == "hist.values" for fault in grading.faults):
        extra = int(np.nan_to_num(found.sum() - expected.sum()))
        text = f"confusion_matrix with ignored pixels: {_differing(found, expected)}."
        if extra > 0:
            text += f" {extra} ignored pixels were counted. Likely cause: no mask for ground truth outside 0..n-1."
        grading.lose("ignored", cause="hist.ignored", message=text, measured={"extra": extra})
    elif not np.array_equal(found, expected):
        grading.lose("ignored", cause="hist.ignored", message="")


def _follows_n_class(student: Student, rng, transposed: bool) -> bool:
    """Whether a few more classes than before are counted right: then many fail because the code's own integers are narrow."""
    pred, gt = _case(rng, 7, (23, 29), ignored=False)
    pred.reshape(-1)[:7] = gt.reshape(-1)[:7] = rng.permutation(7)
    expected = confusion_matrix(pred, gt, 7)
    return not _wrong(student, pred, gt, 7, expected.T if transposed else expected)


def _judge_dtypes(student: Student, grading: Grading, rng, transposed: bool) -> None:
    """Narrow integers overflow in n * gt + pred: int8 from 12 classes on, uint8 from 17; one class is the smallest case."""
    if any(fault.cause == "hist.values" for fault in grading.faults):
        grading.lose("dtypes", cause="hist.values", message="")
        return
    for dtype, n_class in ((np.int8, 12), (np.uint8, 21), (np.int32, 64), (np.int16, 1), (np.int64, 64)):
        pred, gt = _case(rng, n_class, (23, 29), ignored=False)
        pred.reshape(-1)[:n_class] = gt.reshape(-1)[:n_class] = rng.permutation(n_class)  # a forgotten minlength was judged above
        pred, gt = pred.astype(dtype), gt.astype(dtype)
        expected = confusion_matrix(pred, gt, n_class)
        expected = expected.T if transposed else expected
        wrong = _wrong(student, pred, gt, n_class, expected)
        if not wrong:
            continue
        name = np.dtype(dtype).name
        cause, why = "hist.overflow", "n_class * gt + pred overflows; convert to int64 first."
        narrow = dtype is np.int64 or bool(_wrong(student, pred.astype(np.int64), gt.astype(np.int64), n_class, expected))
        if narrow and not _follows_n_class(student, rng, transposed):
            cause, why = "hist.values", "it depends on the number of classes: use n_class, no number of your own."
        text = f"confusion_matrix for {name} inputs and n_class={n_class}: {wrong}. Likely cause: {why}"
        grading.lose("dtypes", cause=cause, message=text, measured={"dtype": name, "n_class": n_class})
        return


def _wrong(student: Student, pred: NDArray, gt: NDArray, n_class: int, expected: NDArray) -> str:
    """What is wrong about one case, in words; empty where it is right."""
    try:
        found = _counts(student, pred, gt, n_class)
    except StudentError as error:
        _reraise_if_lost(error)
        return f"it fails.\n{error}\n"
    return "" if np.array_equal(found, expected) else _differing(found, expected)


# -------------------------------------------------------------------------------------------------------------- scores
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


def _close(a: Any, b: Any) -> bool:
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True))


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
        text = f"scores: pixel accuracy: expected the share of right pixels, {accuracy:.4f} here; got {found_accuracy:.4f}.{_likely(why)}"
        grading.lose("accuracy", cause=cause, message=text)
    iou_right = found_iou.shape == iou.shape and _close(found_iou, iou)
    if not iou_right:
        cause, why = _why_iou(hist, found_iou)
        text = f"scores: IoU per class: expected intersection over union.{why}"
        grading.lose("iou", cause=cause, message=text)
    if not _close(found_mean, mean):
        own = float(np.mean(found_iou)) if found_iou.size else float("nan")
        constant = not np.isfinite(found_iou).all() or _constant(found_iou)
        if iou_right or constant or not _close(found_mean, own):  # the mean of a wrong IoU is not a second mistake
            cause, why = mean_mistake(found_mean, hist, iou)
            text = f"scores: mean IoU: expected the mean over the classes, {mean:.4f} here; got {found_mean:.4f}.{_likely(why)}"
            exchanged = _close(found_mean, accuracy) and _close(found_accuracy, mean)  # told already
            grading.lose("mean", cause=cause, message="" if exchanged else text)
    _judge_absent(student, grading, hist, None if iou_right else found_iou)


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


def _judge_absent(student: Student, grading: Grading, hist: NDArray, wrong_iou: NDArray | None) -> None:
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
        _reraise_if_lost(error)
        text = f"scores fails when a class is absent from ground truth and prediction; its IoU must be NaN.\n{error}"
        grading.lose("absent", cause="iou.absent", message=text)
        return
    if found_iou.shape != iou.shape:
        grading.lose("absent", cause="iou.absent", message="")
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
    if not _close(found_mean, own) and not any(fault.part == "mean" for fault in grading.faults):
        cause = "iou.absent_mean"
        if grading.faults and grading.faults[-1].part == "absent":
            return  # the same mistake, seen from its other side
        why = mean_mistake(found_mean, hist, found_iou)[1] or "Use nanmean."
        text = (f"scores: the mean must leave out absent classes: expected {own:.4f} from your own IoUs, got {found_mean:.4f}."
                f"{_likely(why)}")  # fmt: skip
        grading.lose("mean", cause=cause, message=text)
