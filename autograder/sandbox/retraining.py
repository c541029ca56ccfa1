"""Training a student's network anew, within the worker: the kit's recipe, the kit's pictures, and a clock."""

import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segkit.datasets import PairDataset, dataset
from segkit.training import RECIPES, fit

__all__ = ["retrain"]

AGAIN = 5.0  # seconds between further signals, for student code that caught and ignored the first one


class _TimeIsUp(BaseException):
    """Not an Exception, so that most code does not catch it."""


def read_label(path: Path) -> torch.Tensor:
    """Training labels as the judge wrote them, 255 for unknown."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture)).long()


def confusion_matrix(pred: torch.Tensor, gt: torch.Tensor, n_class: int) -> torch.Tensor:
    """Confusion counts, (n_class, n_class), rows are the truth; on the device of the inputs."""
    keep = (gt >= 0) & (gt < n_class)
    cells = torch.where(keep, gt.long() * n_class + pred, n_class * n_class)
    return torch.bincount(cells.flatten(), minlength=n_class * n_class + 1)[:-1].view(n_class, n_class)


def scores(hist: torch.Tensor) -> tuple[float, np.ndarray, float]:
    """Pixel accuracy, IoU by class, mean IoU."""
    counts = np.asarray(hist, dtype=np.float64)
    hit = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - hit
    iou = np.where(union > 0, hit / np.maximum(union, 1), np.nan)
    return float(hit.sum() / max(counts.sum(), 1)), iou, float(np.nanmean(iou)) if (union > 0).any() else float("nan")


class _Best:
    """The best epoch so far, kept in memory."""

    def __init__(self) -> None:
        self.epochs, self.epoch, self.mean_iou = 0, 0, float("nan")
        self.weights: dict[str, torch.Tensor] | None = None

    def __call__(self, done: Any) -> None:
        self.epochs = done.epoch
        best = done.history.best
        if done.epoch > 0 and best is not None and best.epoch == done.epoch:
            self.epoch, self.mean_iou = done.epoch, best.mean_iou
            self.weights = {name: value.detach().to("cpu", copy=True) for name, value in done.model.state_dict().items()}


def retrain(
    model: torch.nn.Module, root: Path, train: Sequence[str], held_out: Sequence[str], recipe: str, epochs: int, seconds: float,
    device: str, out: Path,
) -> dict[str, Any]:  # fmt: skip
    """Train a network within a time limit; afterwards it has the weights of its best epoch, judged by the held-out pictures.

    If no epoch was completed, it keeps its current weights, and ``best_epoch`` is 0.

    Args:
        model: The network.
        root: Folder with pictures and training labels.
        train: Names of the pictures to learn from.
        held_out: Names of the pictures by which the best epoch is chosen.
        recipe: Of ``segkit.training.RECIPES``.
        epochs: How many, at most.
        seconds: How long, at most.
        device: Where to train.
        out: Folder for what the training writes.

    Returns:
        ``epochs`` (finished), ``best_epoch``, ``mean_iou`` (held out), ``seconds``, ``in_time`` (whether all epochs were done).

    Raises:
        TrainingError: It cannot be trained: not finite, no memory, outputs of another size.
    """
    learn, choose = (PairDataset(dataset(), root, names=names, read_label=read_label) for names in (train, held_out))
    best, in_time, started = _Best(), True, time.monotonic()
    config = replace(RECIPES[recipe], epochs=epochs)

    def ring(*_: object) -> None:
        raise _TimeIsUp

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        torch.manual_seed(config.seed)
        fit(model, learn, choose, config=config, out=out, confusion_matrix=confusion_matrix, scores=scores, progress=False,
            device=device, resume_every=float("inf"), after_epoch=best)  # fmt: skip
    except _TimeIsUp:
        in_time = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if best.weights is not None:
        model.load_state_dict(best.weights)
    return {"epochs": best.epochs, "best_epoch": best.epoch, "mean_iou": best.mean_iou if best.epoch else None,
            "seconds": round(time.monotonic() - started, 1), "in_time": in_time}  # fmt: skip
