"""Scores of a network over a whole dataset, and its prediction for one image.

The counts of all images are added up first and scored once: the mean of per-image IoUs is another, kinder
number. Counting and scoring themselves are the student's functions and come in as arguments.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.facades import CLASSES, IGNORE_INDEX
from segkit.precision import best_device
from segkit.progress import bar

__all__ = ["Evaluation", "EvaluationError", "best_device", "evaluate", "predict"]


class EvaluationError(ValueError):
    """The network or a metric returned something that cannot be scored."""


@dataclass
class Evaluation:
    """Scores over a dataset.

    Attributes:
        hist: int64 or float64 array (n, n), pixel counts over all images; rows are the ground truth.
        pixel_accuracy: share of right pixels, 0..1.
        mean_accuracy: mean over the classes of the share of their pixels that was found.
        frequency_weighted_iou: IoU weighted with the pixel frequency of each class.
        mean_iou: mean IoU over the classes that occur.
        mean_iou_interval: 95 % bootstrap interval of ``mean_iou`` over images; None if not asked for.
        iou: IoU by class name, NaN where the class is absent.
        loss: mean over the images of their mean cross entropy per labelled pixel.
        images: number of images.
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
        }


def evaluate(
    model: nn.Module,
    dataset: Sequence,
    *,
    confusion_matrix: Callable,
    scores: Callable,
    device: torch.device | str | None = None,
    progress: bool = True,
    class_names: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    autocast: bool = False,
) -> Evaluation:
    """Score a network over a dataset, one full-size image at a time.

    Runs in evaluation mode without gradients; afterwards the network is back in the mode and on the device
    in which it was.

    Args:
        model: maps (1, 3, H, W) to logits (1, n_class, H, W).
        dataset: items ``(image (3, H, W), label (H, W))``; ``.names`` is used in messages if it is there.
        confusion_matrix: ``(pred, gt, n_class) -> (n, n)`` counts; gets two LongTensors (H, W) on the CPU.
        scores: ``(hist) -> (pixel_accuracy, iou, mean_iou)``; gets what ``confusion_matrix`` returns,
            summed, as an array or a tensor accordingly.
        device: where to compute; None takes the GPU if there is one.
        progress: show a bar on stdout.
        class_names: names for ``Evaluation.iou``; the facades' own for 12 classes by default.
        bootstrap: number of resamplings of the images for the interval, 0 for none.
        seed: of the resampling.
        autocast: compute in bfloat16 where that is safe (GPU).

    Returns:
        An :class:`Evaluation`.

    Raises:
        EvaluationError: no images, or outputs of another shape than promised; the image is named.
    """
    if len(dataset) == 0:
        raise EvaluationError("The dataset is empty: there is nothing to evaluate.")
    hists, losses, as_tensor = [], [], False
    with _evaluating(model, device) as device:
        for index in bar(range(len(dataset)), show=progress, desc="evaluating", unit="image", leave=False):
            image, label = dataset[index]
            logits = _logits(model, image.to(device), autocast)  # (1, n_class, H, W)
            name = image_name(dataset, index)
            _check_logits(logits, label, name)
            losses.append(F.cross_entropy(logits, label[None].to(device), ignore_index=IGNORE_INDEX).item())
            counts = confusion_matrix(logits.argmax(1)[0].cpu(), label.cpu(), logits.shape[1])
            as_tensor = isinstance(counts, Tensor)
            hists.append(_counts(counts, logits.shape[1], name))
    score = _scorer(scores, as_tensor, hists[0].shape[0])
    return _evaluation(np.stack(hists), score, losses, class_names, bootstrap, seed)


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
    with _evaluating(model, _device_of(model)) as device:
        logits = _logits(model, image.to(device), autocast=False)
    _check_logits(logits, torch.empty(image.shape[1:]), "this image")
    return logits.argmax(1)[0].cpu()


def image_name(dataset: object, index: int) -> str:
    """Name of an image for messages: the dataset's own, else its number."""
    names = getattr(dataset, "names", None)
    return names[index] if names is not None and index < len(names) else f"image {index}"


# -- running the network -----------------------------------------------------------------------------


@contextmanager
def _evaluating(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Evaluation mode without gradients on ``device``; module by module back to what it was."""
    home = _device_of(model)
    device = torch.device(device) if device is not None else best_device()
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        model.to(device)
        with torch.inference_mode():
            yield device
    finally:
        model.to(home)
        for module, mode in modes.items():
            module.training = mode


def _device_of(model: nn.Module) -> torch.device:
    return next((value.device for value in model.parameters()), torch.device("cpu"))


def _logits(model: nn.Module, image: Tensor, autocast: bool) -> Tensor:
    with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=autocast):
        out = model(image[None])
    return out.float() if isinstance(out, Tensor) else out


def _check_logits(logits: object, label: Tensor, name: str) -> None:
    size = tuple(label.shape)
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or len(found) != 4 or found[0] != 1 or found[2:] != size:
        hint = " (was argmax taken in forward? The network must return one score per class)"
        raise EvaluationError(
            f"{name}: expected network output (1, n_class, {size[0]}, {size[1]}), but got {found}"
            f"{hint if found == (1, *size) else ''}."
        )


# -- counting and scoring ----------------------------------------------------------------------------


def _counts(counts: object, n_class: int, name: str) -> np.ndarray:
    """The counts of one image as int64 (float64 where the function counts in floats): narrow types overflow."""
    array = counts.detach().cpu().numpy() if isinstance(counts, Tensor) else np.asarray(counts)
    if array.shape != (n_class, n_class) or array.dtype.kind not in "iufb":
        raise EvaluationError(
            f"{name}: expected confusion_matrix to return counts ({n_class}, {n_class}), but got "
            f"{array.shape} of {array.dtype}."
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


def _evaluation(
    hists: np.ndarray,
    score: Callable,
    losses: list[float],
    class_names: Sequence[str] | None,
    bootstrap: int,
    seed: int,
) -> Evaluation:
    hist = hists.sum(0)
    accuracy, iou, mean_iou = score(hist)
    labelled = hist.sum(1)  # pixels by true class
    seen = labelled > 0
    found = hist.diagonal()[seen] / labelled[seen]
    frequency = labelled / max(labelled.sum(), 1)
    losses = [value for value in losses if not math.isnan(value)] or [math.nan]  # NaN: nothing labelled there
    return Evaluation(
        hist=hist,
        pixel_accuracy=accuracy,
        mean_accuracy=float(found.mean()) if seen.any() else math.nan,
        frequency_weighted_iou=float((frequency[seen] * iou[seen]).sum()) if seen.any() else math.nan,
        mean_iou=mean_iou,
        mean_iou_interval=_interval(hists, score, bootstrap, seed) if bootstrap else None,
        iou=dict(zip(_names(class_names, len(iou)), iou.tolist(), strict=True)),
        loss=float(np.mean(losses)),
        images=len(hists),
    )


def _interval(hists: np.ndarray, score: Callable, bootstrap: int, seed: int) -> tuple[float, float]:
    """Percentile bootstrap over images (Efron 1979): how far the mean IoU moves with other images drawn."""
    n = len(hists)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=bootstrap)  # (bootstrap, n)
    means = [score(np.tensordot(draw.astype(hists.dtype), hists, 1))[2] for draw in draws]
    low, high = np.nanpercentile(means, [2.5, 97.5])
    return float(low), float(high)


def _names(class_names: Sequence[str] | None, n_class: int) -> list[str]:
    if class_names is None:
        class_names = CLASSES if n_class == len(CLASSES) else [f"class {index}" for index in range(n_class)]
    if len(class_names) != n_class:
        raise EvaluationError(f"Expected {n_class} class names, but got {len(class_names)}.")
    return list(class_names)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
