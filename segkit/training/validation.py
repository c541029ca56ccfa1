"""Scores on the validation images without making a GPU wait: counts and losses stay on the device until the end."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.evaluation import Evaluation, _check_logits, _counts, _evaluating, _evaluation, _scorer
from segkit.facades import IGNORE_INDEX
from segkit.precision import Precision
from segkit.progress import bar
from segkit.training.batches import Batch, collate
from segkit.training.loading import normalised, read_ahead
from segkit.training.sources import Pairs

__all__ = ["validate"]


class _Singles:
    """Every image as a batch of its own: padding would change the scores near its border."""

    def __init__(self, pairs: Pairs, pin: bool) -> None:
        self.pairs, self.pin = pairs, pin

    def __len__(self) -> int:
        return len(self.pairs.names)

    def __getitem__(self, index: int) -> Batch:
        return collate([self.pairs.load(index)], [self.pairs.names[index]], pin=self.pin)


def validate(
    model: nn.Module,
    pairs: Pairs,
    *,
    device: torch.device,
    precision: Precision,
    confusion_matrix: Callable,
    scores: Callable,
    workers: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Score a network over images of full size: the numbers of :func:`segkit.evaluation.evaluate`, sooner.

    Args:
        model: maps (1, 3, H, W) to logits (1, n_class, H, W); afterwards in the mode in which it was.
        pairs: the images.
        device: where the network is.
        precision: of the forward passes.
        confusion_matrix: ``(pred, gt, n_class) -> (n, n)`` counts. Where it has an attribute ``on_device``, that is called
            with tensors on the device and must not wait for them; else it gets LongTensors on the CPU, in a thread.
        scores: see :func:`segkit.evaluation.evaluate`.
        workers: threads that read images ahead.
        progress: show a bar.

    Returns:
        An :class:`~segkit.evaluation.Evaluation` without interval.

    Raises:
        EvaluationError: the network or a function returned something that cannot be scored.
    """
    counting = getattr(confusion_matrix, "on_device", None)
    singles = _Singles(pairs, pin=device.type == "cuda")
    found: list[Tensor | Future] = []
    losses: list[Tensor] = []
    with _evaluating(model, device), ThreadPoolExecutor(1) as counter:
        batches = read_ahead(singles, 0, workers if pairs.parallel else 0)
        for batch in bar(batches, total=len(singles), show=progress, desc="validating", unit="image", leave=False):
            label = batch.labels.to(device, non_blocking=True)
            with precision.autocast():
                logits = model(normalised(batch, device))
            _check_logits(logits, label[0], batch.names[0])
            logits = logits.float()
            losses.append(F.cross_entropy(logits, label.long(), ignore_index=IGNORE_INDEX))
            predicted = logits.argmax(1)
            n_class = logits.shape[1]
            if counting is not None:
                found.append(counting(predicted, label, n_class))
            else:
                arrived = _send(predicted)
                found.append(counter.submit(_count, confusion_matrix, arrived, batch, n_class))
        counts = [item.result() if isinstance(item, Future) else item for item in found]
        values = torch.stack(losses).tolist()
    as_tensor = counting is None and isinstance(counts[0], Tensor)
    hists = np.stack([_counts(item, n_class, name) for item, name in zip(counts, pairs.names, strict=True)])
    return _evaluation(hists, _scorer(scores, as_tensor, n_class), values, None, 0, 0)


def _send(predicted: Tensor) -> Callable[[], Tensor]:
    """Start a copy to the CPU; the returned function waits for it."""
    if predicted.device.type != "cuda":
        return predicted.cpu
    small = predicted.to(torch.uint8)
    target = torch.empty(small.shape, dtype=torch.uint8, pin_memory=True)
    target.copy_(small, non_blocking=True)
    there = torch.cuda.Event()
    there.record()

    def wait() -> Tensor:
        there.synchronize()
        return target

    return wait


def _count(confusion_matrix: Callable, arrived: Callable[[], Tensor], batch: Batch, n_class: int) -> object:
    return confusion_matrix(arrived()[0].long(), batch.labels[0].long(), n_class)
