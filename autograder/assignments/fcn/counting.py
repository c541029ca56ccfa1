"""Judge ``confusion_matrix`` with an independent count."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from autograder.assignments.fcn.hints import likely, reraise_if_lost
from autograder.judge.checking import Grading
from segkit.mistakes import counts_mistake, wrapped_counts
from segkit.reference import confusion_matrix
from segkit.subject import StudentError

__all__ = ["judge_confusion_matrix"]

Alike = Callable[[NDArray], NDArray]


class Asked(Protocol):
    """Who is asked for counts."""

    def call(self, name: str, *args: Any) -> Any: ...


def _case(rng: np.random.Generator, n_class: int, shape: tuple[int, int], ignored: bool) -> tuple[NDArray, NDArray]:
    """Prediction and ground truth that agree in about half of the pixels, unevenly over the classes."""
    weights = rng.dirichlet(np.ones(n_class))
    gt = rng.choice(n_class, shape, p=weights)
    pred = np.where(rng.random(shape) < 0.5, gt, rng.integers(0, n_class, shape))
    if ignored:
        gt = np.where(rng.random(shape) < 0.2, 255, gt)
    return pred, gt


class _Since:
    """A student whose table goes on adding, asked for what each call added alone."""

    def __init__(self, student: Asked, tables: dict[int, NDArray]) -> None:
        self.student, self.tables = student, tables

    def call(self, name: str, *args: Any) -> Any:
        found, n_class = self.student.call(name, *args), args[-1]
        before, self.tables[n_class] = self.tables.get(n_class, np.zeros(1)), np.asarray(found)
        return found - before if np.shape(found) == np.shape(before) else found


def _counts(student: Asked, pred: NDArray, gt: NDArray, n_class: int) -> NDArray:
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


def _differing(found: NDArray, expected: NDArray) -> str:
    """The counts that differ, in words."""
    places = np.argwhere(found != expected)
    row, column = map(int, places[0])
    return (f"{len(places)} of {expected.size} counts differ; pixels of class {row} predicted as {column}: expected "
            f"{expected[row, column]:g}, got {found[row, column]:g}")  # fmt: skip


def judge_confusion_matrix(student: Asked, grading: Grading) -> None:
    """Counts and orientation, ignored pixels, integer dtypes and numbers of classes."""
    rng = grading.own_rng("confusion_matrix")
    shape = (int(rng.integers(31, 60)), int(rng.integers(31, 60)))
    pred, gt = _case(rng, 5, shape, ignored=False)
    expected = confusion_matrix(pred, gt, 5)
    found = _counts(student, pred, gt, 5)
    alike = _alike(found, expected)
    if not np.array_equal(found, expected):
        cause, why = counts_mistake(found, expected)
        text = f"confusion_matrix: {_differing(found, expected)}.{likely(why)}"
        grading.lose("counts", cause=cause, message=text, measured={"differ": int((found != expected).sum())})
    elif np.array_equal(again := _counts(student, pred, gt, 5), found):
        _judge_missing_classes(student, grading, pred, gt)
    else:
        text = ("confusion_matrix: the second of two equal calls gives other counts: those of the first are in them. Likely cause: a table "
                "outside of the function, or in a default argument, that is added to. Begin with zeros in every call.")  # fmt: skip
        grading.lose("counts", cause="hist.state", message=text)
        student = _Since(student, {5: again})
    _judge_ignored(student, grading, rng, shape, alike)
    _judge_dtypes(student, grading, rng, alike)


def _alike(found: NDArray, expected: NDArray) -> Alike:
    """How counts come back: what was charged as wrong with them is no second mistake in other cases."""
    if np.array_equal(found, expected.T):
        return np.transpose
    narrow = [np.array_equal(found, wrapped) for wrapped in wrapped_counts(expected)]
    if True in narrow and not np.array_equal(found, expected):
        return lambda counts: list(wrapped_counts(counts))[narrow.index(True)]
    return np.asarray


def _judge_missing_classes(student: Asked, grading: Grading, pred: NDArray, gt: NDArray) -> None:
    """A picture in which the last classes do not occur: the table keeps its size."""
    pred, gt = np.minimum(pred, 1), np.minimum(gt, 1)
    try:
        right = np.array_equal(_counts(student, pred, gt, 5), confusion_matrix(pred, gt, 5))
        reason = ""
    except StudentError as error:
        reraise_if_lost(error)
        right, reason = False, f"\n{error}"
    if not right:
        text = ("confusion_matrix: wrong where the last classes do not occur in a picture; expected (n_class, n_class) with rows of "
                f"zeros for them. Likely cause: a missing minlength.{reason}")  # fmt: skip
        grading.lose("counts", cause="hist.shape", message=text, share=0.5)


def _judge_ignored(student: Asked, grading: Grading, rng, shape, alike: Alike) -> None:
    pred, gt = _case(rng, 5, shape, ignored=True)
    gt.reshape(-1)[rng.permutation(gt.size)[:6]] = [-1, 5, 6, 200, 254, -100]  # whatever is no class does not count
    expected = alike(confusion_matrix(pred, gt, 5))
    try:
        found = _counts(student, pred, gt, 5)
    except StudentError as error:
        reraise_if_lost(error)
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


def _follows_n_class(student: Asked, rng, alike: Alike) -> bool:
    """Whether a few more classes than before are counted right: then many fail because the code's own integers are narrow."""
    pred, gt = _case(rng, 7, (23, 29), ignored=False)
    pred.reshape(-1)[:7] = gt.reshape(-1)[:7] = rng.permutation(7)
    return not _wrong(student, pred, gt, 7, alike(confusion_matrix(pred, gt, 7)))


def _judge_dtypes(student: Asked, grading: Grading, rng, alike: Alike) -> None:
    """Narrow integers overflow in n * gt + pred: int8 from 12 classes on, uint8 from 17; one class is the smallest case."""
    if any(fault.cause == "hist.values" for fault in grading.faults):
        grading.lose("dtypes", cause="hist.values", message="")
        return
    for dtype, n_class in ((np.int8, 12), (np.uint8, 21), (np.int32, 64), (np.int16, 1), (np.int64, 64)):
        pred, gt = _case(rng, n_class, (23, 29), ignored=False)
        pred.reshape(-1)[:n_class] = gt.reshape(-1)[:n_class] = rng.permutation(n_class)  # a forgotten minlength was judged above
        pred, gt = pred.astype(dtype), gt.astype(dtype)
        expected = alike(confusion_matrix(pred, gt, n_class))
        wrong = _wrong(student, pred, gt, n_class, expected)
        if not wrong:
            continue
        name = np.dtype(dtype).name
        cause, why = "hist.overflow", "n_class * gt + pred overflows; convert to int64 first."
        narrow = dtype is np.int64 or bool(_wrong(student, pred.astype(np.int64), gt.astype(np.int64), n_class, expected))
        if narrow and not _follows_n_class(student, rng, alike):
            cause, why = "hist.values", "it depends on the number of classes: use n_class, no number of your own."
        text = f"confusion_matrix for {name} inputs and n_class={n_class}: {wrong}. Likely cause: {why}"
        grading.lose("dtypes", cause=cause, message=text, measured={"dtype": name, "n_class": n_class})
        return


def _wrong(student: Asked, pred: NDArray, gt: NDArray, n_class: int, expected: NDArray) -> str:
    """What is wrong about one case, in words; empty where it is right."""
    try:
        found = _counts(student, pred, gt, n_class)
    except StudentError as error:
        reraise_if_lost(error)
        return f"it fails.\n{error}\n"
    return "" if np.array_equal(found, expected) else _differing(found, expected)
