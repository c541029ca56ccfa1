"""Run a network over full-size pictures and count its pixels: as exact as a plain loop, and faster.

On a GPU the program never waits for it: threads decode pictures ahead and send them as bytes, counts stay on the GPU (or
label maps come back as bytes, and a thread counts), and results are read back once, at the end. On a CPU the network gets
exactly what a plain loop would give it, so the counts are equal to the integer.

Only pictures of equal size share a batch. Padding would change the scores: the paper adds 100 zeros around a picture, and the
biases turn them into features that fc6, which sees 404 pixels, mixes into scores far inside (a test shows it).
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit.inference import (
    Counts,
    Evaluation,
    EvaluationError,
    check_logits,
    evaluating,
    near_ties,
    plain_counts,
    scored,
)
from segkit.precision import Precision, best_device, choose_precision, lay_out, tie_tolerance
from segkit.progress import bar
from segkit.training.batches import Batch, collate, label_fault
from segkit.training.loading import normalised, read_ahead, send
from segkit.training.memory import MemoryPlan, let_go, means_out_of_memory, reason
from segkit.training.sources import Items, Pairs, read_pairs
from segkit.training.steps import segmentation_loss
from segkit.transforms import IGNORE_INDEX

__all__ = ["PIXELS_AT_ONCE", "batches_of_one_size", "evaluate", "measure"]

WAITING = 8
"""Label maps that may wait for the counting thread; more would fill the memory when counting is slow."""


PIXELS_AT_ONCE = 2**22
"""Most pixels of a batch on a GPU: five facades of usual size keep it busy, more would only take memory."""


def evaluate(
    model: nn.Module,
    dataset: Items[tuple[Tensor, Tensor]],
    *,
    confusion_matrix: Callable[..., Any],
    scores: Callable[..., Any],
    device: torch.device | str | None = None,
    progress: bool = True,
    class_names: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    autocast: bool = False,
    precision: str = "float32",
    threads: int | None = None,
    ties: bool = False,
) -> Evaluation:
    """Score a network over a dataset of full-size images.

    Runs in evaluation mode without gradients; afterwards the network is back in the mode and on the device
    in which it was. On a CPU the counts are those of a plain loop, to the integer. On a GPU images of equal size go
    through the network together, and pixels whose two best logits tie within rounding may be counted otherwise; ``ties``
    tells how many those are.

    Args:
        model: maps (B, 3, H, W) to logits (B, n_class, H, W); B is 1 on a CPU.
        dataset: items ``(image (3, H, W), label (H, W))``; ``.names`` is used in messages if it is there.
        confusion_matrix: ``(pred, gt, n_class) -> (n, n)`` counts; gets two LongTensors (H, W) on the CPU. Where it has an
            attribute ``on_device``, that function is called on a GPU, with tensors over there.
        scores: ``(hist) -> (pixel_accuracy, iou, mean_iou)``; gets what ``confusion_matrix`` returns,
            summed, as an array or a tensor accordingly.
        device: where to compute; None takes the GPU if there is one.
        progress: show a bar on stdout.
        class_names: names for ``Evaluation.iou``; by default those of ``dataset.spec``, or of the assignment's data set.
        bootstrap: number of resamplings of the images for the interval, 0 for none.
        seed: of the resampling.
        autocast: the same as ``precision="bfloat16"``.
        precision: number format of the convolutions, see :func:`segkit.precision.choose_precision`.
        threads: that decode images ahead; None for as many as are of use.
        ties: count the pixels whose class rounding decides, too.

    Returns:
        An :class:`Evaluation`.

    Raises:
        EvaluationError: no images; outputs of another shape than promised, a label out of range, or no memory: the image
            is named.
        ValueError: a precision that the device lacks.
    """
    if len(dataset) == 0:
        raise EvaluationError("The dataset is empty: there is nothing to evaluate.")
    device = torch.device(device) if device is not None else best_device()
    counts = measure(
        model, read_pairs(dataset), device=device, precision=choose_precision(device, "bfloat16" if autocast else precision),
        confusion_matrix=confusion_matrix, threads=threads, ties=ties, progress=progress,
    )  # fmt: skip
    if class_names is None and (spec := getattr(dataset, "spec", None)) is not None:
        class_names = spec.names_for(counts.hists.shape[1])
    return scored(counts, scores, class_names, bootstrap, seed)


def batches_of_one_size(sizes: Sequence[tuple[int, int]] | None, count: int, most_pixels: int) -> list[list[int]]:
    """Put images of equal size together.

    Args:
        sizes: (H, W) of each image, or None where they are not known.
        count: number of images.
        most_pixels: of a batch; an image that is larger comes alone, and 0 leaves each alone.

    Returns:
        Numbers of the images of each batch: the plain order where each comes alone, else the largest sizes first, so that
        memory that does not suffice is noticed at once.
    """
    if sizes is None or most_pixels == 0:
        return [[index] for index in range(count)]
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (height, width) in enumerate(sizes):
        groups.setdefault((height, width), []).append(index)
    plan = []
    for (height, width), group in sorted(groups.items(), key=lambda item: -item[0][0] * item[0][1]):
        together = max(1, most_pixels // (height * width))
        plan += [group[begin : begin + together] for begin in range(0, len(group), together)]
    return plan


def measure(
    model: nn.Module,
    pairs: Pairs,
    *,
    device: torch.device,
    precision: Precision,
    confusion_matrix: Callable[..., Any],
    threads: int | None = None,
    most_pixels: int | None = None,
    ties: bool = False,
    progress: bool = True,
    desc: str = "evaluating",
) -> Counts:
    """Run a network over images and count.

    Args:
        model: maps (B, 3, H, W) to logits (B, n_class, H, W); afterwards in the mode and on the device in which it was.
        pairs: the images.
        device: where to compute.
        precision: of the forward passes.
        confusion_matrix: ``(pred, gt, n_class) -> (n, n)`` counts; gets LongTensors (H, W) on the CPU, its own, in a
            thread. Where it has an attribute ``on_device``, that is called on a GPU, with tensors (H, W) there, outside
            autocast, and must not wait for them.
        threads: that read images ahead; 0 reads them when they are needed, None takes as many as are of use.
        most_pixels: see :func:`batches_of_one_size`; None takes 0 but on a CUDA GPU.
        ties: also count the pixels whose class rounding decides.
        progress: show a bar.
        desc: its text.

    Raises:
        EvaluationError: the network or the function returned something that cannot be scored, a label is out of range, or
            there is no memory for one image; the image is named.
    """
    gpu = device.type == "cuda"
    if most_pixels is None:
        most_pixels = PIXELS_AT_ONCE if gpu else 0
    if threads is None:
        threads = 8 if gpu else 1
    plan = batches_of_one_size(pairs.sizes, len(pairs.names), most_pixels)
    batches = _Batches(pairs, plan, pin=gpu)
    with (
        evaluating(model, device),
        _laid_out(model, precision),
        precision.autocast(),  # around all passes: weights are rounded once
        _Counter(confusion_matrix, device) as counter,
        bar(total=len(pairs.names), show=progress, desc=desc, unit="image", leave=False) as shown,
    ):
        seeing = _Seeing(model, device, counter, tie_tolerance(precision) if ties else None)
        for indices, batch in zip(plan, read_ahead(batches, 0, threads if pairs.parallel else 0), strict=True):
            seeing.look(batch, indices)
            shown.update(len(indices))
        hists = counter.finish(len(pairs.names))
        losses = torch.stack(seeing.losses).tolist()
        found = int(torch.stack(seeing.ties).sum()) if ties else None
    order = [index for indices in plan for index in indices]
    return Counts(hists, [loss for _, loss in sorted(zip(order, losses, strict=True))], found, counter.as_tensor)


@dataclass
class _Batches:
    """The batches of a plan as a list."""

    pairs: Pairs
    plan: list[list[int]]
    pin: bool

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, k: int) -> Batch:
        indices = self.plan[k]
        return collate([self.pairs.load(i) for i in indices], [self.pairs.names[i] for i in indices], pin=self.pin)


Begun = list[Tensor] | Callable[[], Tensor]
"""What :meth:`_Counter.begin` leaves to be counted: counts on the device, or label maps that are on their way."""


@dataclass
class _Seeing:
    """The network at work, batch by batch."""

    model: nn.Module
    device: torch.device
    counter: "_Counter"
    tolerance: float | None
    memory: MemoryPlan = field(default_factory=MemoryPlan)
    losses: list[Tensor] = field(default_factory=list)
    ties: list[Tensor] = field(default_factory=list)

    def look(self, batch: Batch, indices: list[int]) -> None:
        """Predict and count a batch; in smaller pieces if the memory does not suffice."""
        first = 0
        while first < len(indices):
            together = self.memory.images_at_once(batch)
            piece = batch.part(first, together)
            try:
                losses, ties, begun = self._see(piece)
            except (RuntimeError, MemoryError) as error:
                if not means_out_of_memory(error):
                    raise
                said = reason(error)
                let_go(error)
                if not self.memory.shrink(batch):
                    raise EvaluationError(_no_memory(batch, first, self.device, said)) from error
                continue
            self.losses += losses
            self.ties += ties
            self.counter.add(begun, piece, indices[first : first + together])
            first += together

    def _see(self, batch: Batch) -> tuple[list[Tensor], list[Tensor], Begun]:
        """Losses, number of ties, and counts: all that takes memory on the device.

        It changes no state here, since a piece that does not fit is tried again.
        """
        logits = self._logits(batch)
        with torch.autocast(self.device.type, enabled=False):  # which would round counts that are products
            n_class = logits.shape[1]
            for label, name in zip(batch.labels, batch.names, strict=True):
                if wrong := label_fault(label, n_class):
                    raise EvaluationError(f"{name}: {wrong}. Has the network an output for every class of the labels?")
            labels = send(batch.labels, self.device)
            losses = [segmentation_loss(logits[k : k + 1], labels[k : k + 1].long()) for k in range(len(labels))]
            ties = []
            if self.tolerance is not None:
                ties = [(near_ties(logits, self.tolerance) & (labels != IGNORE_INDEX)).sum()]
            # like argmax, the first of equal logits; argmax takes four times as long on a CPU
            return losses, ties, self.counter.begin(logits.max(1).indices, labels, n_class)

    def _logits(self, batch: Batch) -> Tensor:
        images = normalised(batch, self.device)
        if not torch.is_autocast_enabled(self.device.type):
            images = images.contiguous()  # a plain loop's layout: another one is added up in another order
        logits: Tensor = self.model(images)
        check_logits(logits, batch.labels[0], batch.names[0], len(batch.names))
        return logits.float()


class _Counter:
    """Counts label maps, on their device or in a thread, so that the network need not wait.

    Args:
        confusion_matrix: see :func:`measure`.
        device: where label maps come from.
    """

    def __init__(self, confusion_matrix: Callable[..., Any], device: torch.device) -> None:
        self.function = confusion_matrix
        # on a CPU a thread counts beside the network, and torch would wake all cores for it
        self.on_device = getattr(confusion_matrix, "on_device", None) if device.type != "cpu" else None
        self.as_tensor = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="segkit-count")
        self._waiting: deque[tuple[int, str, int, Future[Any]]] = deque()
        self._there: list[tuple[int, str, Tensor]] = []
        self._counts: dict[int, np.ndarray] = {}

    def begin(self, predicted: Tensor, labels: Tensor, n_class: int) -> Begun:
        """Count two tensors (B, H, W) on the device, or send the first to the CPU: what takes memory on the device."""
        self.n_class = n_class
        if self.on_device is None:
            return _send(predicted, n_class)
        return [self.on_device(pred, gt, n_class) for pred, gt in zip(predicted, labels, strict=True)]

    def add(self, begun: Begun, batch: Batch, indices: list[int]) -> None:
        """Count the images of the batch that :meth:`begin` was called for last."""
        if isinstance(begun, list):
            self._there += zip(indices, batch.names, begun, strict=True)
            return
        for place, (index, name) in enumerate(zip(indices, batch.names, strict=True)):
            task = self._thread.submit(_count, self.function, begun, batch.labels, place, self.n_class)
            self._waiting.append((index, name, self.n_class, task))
        while self._waiting and (self._waiting[0][3].done() or len(self._waiting) > WAITING):
            self._take()  # a function with a wrong result is noticed now, not after the last image

    def _take(self) -> None:
        index, name, n_class, task = self._waiting.popleft()
        counts = task.result()
        self.as_tensor = isinstance(counts, Tensor)
        self._counts[index] = plain_counts(counts, n_class, name)

    def finish(self, images: int) -> np.ndarray:
        """All counts, (images, n, n), in the order of the images."""
        while self._waiting:
            self._take()
        if self._there:
            there = torch.stack([counts for _, _, counts in self._there]).cpu()  # the one transfer
            for (index, name, _), counts in zip(self._there, there, strict=True):
                self._counts[index] = plain_counts(counts, len(counts), name)
        return np.stack([self._counts[index] for index in range(images)])

    def __enter__(self) -> "_Counter":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _count(function: Callable[..., Any], arrived: Callable[[], Tensor], labels: Tensor, place: int, n_class: int) -> object:
    # copies: the function may write into them, but tensors made in inference mode refuse that, and others use the labels too.
    # NumPy copies in this thread; torch would wake all cores
    pred, gt = (torch.from_numpy(maps[place].numpy().astype(np.int64)) for maps in (arrived(), labels))
    return function(pred, gt, n_class)


def _send(predicted: Tensor, n_class: int) -> Callable[[], Tensor]:
    """Start a copy to the CPU, in as few bytes as the classes need; the returned function waits for it."""
    if predicted.device.type != "cuda":
        return predicted.cpu
    small = predicted.to(torch.uint8 if n_class <= 256 else torch.int32)
    target = torch.empty(small.shape, dtype=small.dtype, pin_memory=True)
    target.copy_(small, non_blocking=True)
    there = torch.cuda.Event()
    there.record(torch.cuda.current_stream(predicted.device))  # the current device may be another one

    def wait() -> Tensor:
        there.synchronize()
        return target

    return wait


@contextlib.contextmanager
def _laid_out(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Weights in the layout that this format is fast with, and back; float32 takes them as they lie."""
    moved = precision.half and lay_out(model, precision.layout)
    try:
        yield
    finally:
        if moved:
            lay_out(model, torch.contiguous_format)


def _no_memory(batch: Batch, place: int, device: torch.device, reason: str) -> str:
    height, width = batch.images.shape[2:]
    ways = ["end other programs that use this memory"]
    if device.type == "cuda":
        ways += ["compute in 16 bits (--precision bfloat16, or float16)", "compute on the CPU (--device cpu)"]
    return (
        f"Out of memory on {device} with one image of {height} x {width} ({batch.names[place]}): {reason}. "
        f"Ways to go on: {'; '.join(ways)}."
    )
