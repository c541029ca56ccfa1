"""A network used as it is: its prediction for one image, and the scores of what was counted over many.

The counts of all images are added up first and scored once: the mean of per-image IoUs is another, kinder
number. Counting and scoring themselves are the student's functions and come in as arguments.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit.datasets import dataset
from segkit.precision import best_device

__all__ = [
    "Counts",
    "Evaluation",
    "EvaluationError",
    "check_logits",
    "evaluating",
    "image_name",
    "image_scores",
    "move",
    "near_ties",
    "plain_counts",
    "predict",
    "scored",
]


class EvaluationError(ValueError):
    """The network or a metric returned something that cannot be scored."""


@dataclass
class Counts:
    """What was counted.

    Attributes:
        hists: int64 or float64 array (images, n, n): one confusion matrix per image, in the order of the dataset.
        losses: per image, its mean cross entropy per labelled pixel; NaN where nothing is labelled.
        ties: labelled pixels whose two best logits differ by no more than rounding may; None if they were not counted.
        as_tensor: whether the counting function returned tensors.
    """

    hists: np.ndarray
    losses: list[float]
    ties: int | None
    as_tensor: bool


@dataclass
class Evaluation:
    """Scores over a dataset.

    Attributes:
        hist: int64 or float64 array (n, n), pixel counts over all images; rows are the ground truth.
        pixel_accuracy: share of right pixels, 0..1.
        mean_accuracy: mean over the classes of the share of their pixels that was found.
        frequency_weighted_iou: IoU weighted with the pixel frequency of each class.
        mean_iou: mean IoU over the classes that occur ("macro": every class weighs the same).
        mean_iou_interval: 95 % bootstrap interval of ``mean_iou`` over images; None if not asked for.
        iou: IoU by class name, NaN where the class is absent.
        loss: mean over the images of their mean cross entropy per labelled pixel.
        images: number of images.
        intervals: 95 % bootstrap intervals over images of each of these scores, by its name; empty if not asked for.
        iou_intervals: the same for ``iou``, by class name.
        by_image: like ``hist``, one matrix per image (images, n, n), in the order of the dataset.
        ties: labelled pixels whose two best logits rounding may exchange; None if they were not counted.
        as_tensor: whether ``scores`` gets counts as tensors.
    """

    hist: np.ndarray
    pixel_accuracy: float
    mean_accuracy: float
    frequency_weighted_iou: float
    mean_iou: float
    mean_iou_interval: tuple[float, float] | None
    iou: dict[str, float]
    loss: float
    images: int
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    iou_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    by_image: np.ndarray | None = None
    ties: int | None = None
    as_tensor: bool = False

    @property
    def micro_iou(self) -> float:
        """Intersections of all classes over their unions, both added up first: every pixel weighs the same."""
        return _micro_iou(self.hist, np.array([*self.iou.values()]))

    def to_json(self) -> dict:
        """The content of ``metrics.json``: plain values, NaN as None."""
        interval = self.mean_iou_interval
        return {
            "pixel_accuracy": _plain(self.pixel_accuracy),
            "mean_accuracy": _plain(self.mean_accuracy),
            "frequency_weighted_iou": _plain(self.frequency_weighted_iou),
            "mean_iou": _plain(self.mean_iou),
            "mean_iou_interval": None if interval is None else [_plain(value) for value in interval],
            "iou": {name: _plain(value) for name, value in self.iou.items()},
            "macro_iou": _plain(self.mean_iou),
            "micro_iou": _plain(self.micro_iou),
            "intervals": {name: [_plain(value) for value in both] for name, both in self.intervals.items()},
            "iou_intervals": {name: [_plain(value) for value in both] for name, both in self.iou_intervals.items()},
            "loss": _plain(self.loss),
            "images": self.images,
            "ties": self.ties,
        }


def predict(model: nn.Module, image: Tensor) -> Tensor:
    """Label map of one image.

    Args:
        model: maps (1, 3, H, W) to logits (1, n_class, H, W); it is used where it is, in evaluation mode,
            and left in the mode in which it was.
        image: normalised FloatTensor (3, H, W) or (1, 3, H, W).

    Returns:
        LongTensor (H, W) of class indices, on the CPU.

    Raises:
        EvaluationError: the output has another shape than promised.
    """
    image = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    if image.ndim != 3:
        raise EvaluationError(f"Expected one image (3, H, W), but got {tuple(image.shape)}.")
    with evaluating(model, _device_of(model)) as device:
        logits = model(image[None].to(device))
    check_logits(logits, torch.empty(image.shape[1:]), "this image")
    return logits.float().argmax(1)[0].cpu()


def image_name(dataset: object, index: int) -> str:
    """Name of an image for messages: the dataset's own, else its number."""
    names = getattr(dataset, "names", None)
    return names[index] if names is not None and index < len(names) else f"image {index}"


# -- running the network -----------------------------------------------------------------------------


@contextmanager
def evaluating(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Evaluation mode without gradients on ``device``; module by module back to what it was."""
    home = _device_of(model)
    device = torch.device(device) if device is not None else best_device()
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        move(model, device=device)
        with torch.inference_mode():
            yield device
    finally:
        move(model, device=home)
        for module, mode in modes.items():
            module.training = mode


def move(model: nn.Module, **where: Any) -> None:
    """``model.to(**where)``, also within inference mode: weights that are copied there could never be trained again."""
    made_there = any(value.is_inference() for value in model.parameters())
    with torch.inference_mode(made_there):
        model.to(**where)


def _device_of(model: nn.Module) -> torch.device:
    return next((value.device for value in model.parameters()), torch.device("cpu"))


def check_logits(logits: object, label: Tensor, name: str, count: int = 1) -> None:
    """See that a network returned scores for every pixel.

    Args:
        logits: what it returned.
        label: label map of the images, (H, W).
        name: of the (first) image.
        count: number of images in the batch.

    Raises:
        EvaluationError: it did not.
    """
    size = tuple(label.shape)
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or len(found) != 4 or found[0] != count or found[2:] != size:
        hint = " (was argmax taken in forward? The network must return one score per class)"
        raise EvaluationError(
            f"{name}: expected network output ({count}, n_class, {size[0]}, {size[1]}), but got {found}"
            f"{hint if found == (count, *size) else ''}."
        )


def near_ties(logits: Tensor, tolerance: float) -> Tensor:
    """Pixels whose two best logits are so close that another order of additions may exchange them.

    Args:
        logits: (B, n_class, H, W).
        tolerance: share of the largest logit of the image, see :func:`tie_tolerance`.

    Returns:
        Bool tensor (B, H, W); all False where there is one class.
    """
    best, where = logits.max(1, keepdim=True)
    second = logits.scatter(1, where, -torch.inf).amax(1, keepdim=True)
    scale = logits.abs().amax((1, 2, 3), keepdim=True)
    return (best - second <= tolerance * scale)[:, 0]


# -- counting and scoring ----------------------------------------------------------------------------


def plain_counts(counts: object, n_class: int, name: str) -> np.ndarray:
    """The counts of one image as int64 (float64 where the function counts in floats): narrow types overflow.

    Raises:
        EvaluationError: they are no n_class x n_class numbers.
    """
    array = counts.detach().cpu().numpy() if isinstance(counts, Tensor) else np.asarray(counts)
    if array.shape != (n_class, n_class) or array.dtype.kind not in "iufb":
        raise EvaluationError(
            f"{name}: expected confusion_matrix to return counts ({n_class}, {n_class}), but got {array.shape} of {array.dtype}."
        )
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def _scorer(scores: Callable, as_tensor: bool, n_class: int) -> Callable[[np.ndarray], tuple]:
    """``scores`` over arrays, whatever it takes and returns."""

    def score(hist: np.ndarray) -> tuple[float, np.ndarray, float]:
        hist = hist.copy()  # a function that divides in place must not change our counts
        with np.errstate(divide="ignore", invalid="ignore"):
            result = scores(torch.from_numpy(hist) if as_tensor else hist)
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise EvaluationError(
                f"Expected scores to return (pixel_accuracy, iou, mean_iou), but got {type(result).__name__}"
                f"{f' of {len(result)}' if isinstance(result, tuple | list) else ''}."
            )
        iou = np.asarray(result[1], dtype=np.float64)
        if iou.shape != (n_class,):
            raise EvaluationError(f"Expected scores to return iou of shape ({n_class},), but got {iou.shape}.")
        return float(result[0]), iou, float(result[2])

    return score


def scored(counts: Counts, scores: Callable, class_names: Sequence[str] | None = None, bootstrap: int = 0, seed: int = 0) -> Evaluation:
    """Score what was counted over a dataset.

    Args:
        counts: of :func:`segkit.training.measuring.measure`.
        scores: see :func:`segkit.evaluation.evaluate`; so are the others.

    Raises:
        EvaluationError: ``scores`` returned something else than scores.
    """
    hists = counts.hists
    hist, score = hists.sum(0), _scorer(scores, counts.as_tensor, hists.shape[1])
    values, iou = _summary(hist, score)
    names = _names(class_names, len(iou))
    losses = [value for value in counts.losses if not math.isnan(value)] or [math.nan]  # NaN: nothing labelled there
    intervals, iou_intervals = _intervals(hists, score, names, bootstrap, seed) if bootstrap else ({}, {})
    return Evaluation(
        hist=hist,
        pixel_accuracy=values["pixel_accuracy"],
        mean_accuracy=values["mean_accuracy"],
        frequency_weighted_iou=values["frequency_weighted_iou"],
        mean_iou=values["mean_iou"],
        mean_iou_interval=intervals.get("mean_iou"),
        iou=dict(zip(names, iou.tolist(), strict=True)),
        loss=float(np.mean(losses)),
        images=len(hists),
        intervals=intervals,
        iou_intervals=iou_intervals,
        by_image=hists,
        ties=counts.ties,
        as_tensor=counts.as_tensor,
    )


def image_scores(result: Evaluation, scores: Callable) -> list[tuple[float, float]]:
    """Pixel accuracy and mean IoU of each image by itself: to find the ones that go wrong, not to be averaged.

    Args:
        result: of :func:`segkit.evaluation.evaluate`.
        scores: the same as there.

    Returns:
        One pair per image, in the order of the dataset; NaN where nothing is labelled.
    """
    assert result.by_image is not None, "expected the result of evaluate"
    score = _scorer(scores, result.as_tensor, result.by_image.shape[1])
    found = [score(hist) if hist.any() else (math.nan, None, math.nan) for hist in result.by_image]
    return [(accuracy, mean_iou) for accuracy, _, mean_iou in found]


def _summary(hist: np.ndarray, score: Callable) -> tuple[dict[str, float], np.ndarray]:
    """All scores of one matrix of counts, and the IoU of each class."""
    accuracy, iou, mean_iou = score(hist)
    labelled = hist.sum(1)  # pixels by true class
    seen = labelled > 0
    found = hist.diagonal()[seen] / labelled[seen]
    frequency = labelled / max(labelled.sum(), 1)
    values = {
        "pixel_accuracy": accuracy,
        "mean_accuracy": float(found.mean()) if seen.any() else math.nan,
        "frequency_weighted_iou": float((frequency[seen] * iou[seen]).sum()) if seen.any() else math.nan,
        "mean_iou": mean_iou,
        "micro_iou": _micro_iou(hist, iou),
    }
    return values, iou


def _micro_iou(hist: np.ndarray, iou: np.ndarray) -> float:
    """Over the classes that have an IoU: an output that is no class has none."""
    hit, counts = hist.diagonal(), ~np.isnan(iou)
    union = (hist.sum(0) + hist.sum(1) - hit)[counts].sum()  # a pixel taken for another class is in the unions of both
    return float(hit[counts].sum() / union) if union else math.nan


def _intervals(
    hists: np.ndarray, score: Callable, names: Sequence[str], bootstrap: int, seed: int
) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
    """Percentile bootstrap over images (Efron 1979): how far the scores move with other images drawn."""
    n = len(hists)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=bootstrap)  # (bootstrap, n)
    drawn = [_summary(np.tensordot(draw.astype(hists.dtype), hists, 1), score) for draw in draws]
    keys = list(drawn[0][0])
    table = np.array([[*values.values(), *iou] for values, iou in drawn])  # (bootstrap, scores + n_class)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a class that no image has: NaN
        low, high = np.nanpercentile(table, [2.5, 97.5], axis=0)
    pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    return dict(zip(keys, pairs[: len(keys)], strict=True)), dict(zip(names, pairs[len(keys) :], strict=True))


def _names(class_names: Sequence[str] | None, n_class: int) -> list[str]:
    if class_names is None:
        return dataset().names_for(n_class)
    if len(class_names) != n_class:
        raise EvaluationError(f"Expected {n_class} class names, but got {len(class_names)}.")
    return list(class_names)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
