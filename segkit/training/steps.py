"""From a batch on the CPU to a step of the network, whole or in pieces, with losses that are read later."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.training.batches import Batch
from segkit.training.descent import Descent, Diverged
from segkit.training.loading import normalised, send
from segkit.training.loop import learn
from segkit.training.memory import MemoryPlan, advice, described, let_go, means_out_of_memory, reason
from segkit.training.sources import Pairs, label_shares
from segkit.transforms import IGNORE_INDEX

__all__ = ["Stepper", "label_mass", "median_weights", "segmentation_loss"]

HEAVIEST = 10.0
"""Largest weight of a class: without it, a class with a thousandth of the pixels would outweigh all others."""


class Stepper:
    """Learns from batches; keeps their losses on the device until ``read`` is called.

    Args:
        model: the network.
        descent: its optimizer.
        pairs: the training images, of which class weights are counted.
        n_class: number of classes.
        device: where the network is.
        say: prints a line.
        loss_of: see :func:`segmentation_loss`.
        mass_of: what the sum of the losses of a batch is divided by, see :func:`label_mass`.
    """

    def __init__(
        self,
        model: nn.Module,
        descent: Descent,
        pairs: Pairs,
        n_class: int,
        device: torch.device,
        say: Callable[[str], None],
        loss_of: Callable[..., Tensor] | None = None,
        mass_of: Callable[..., Tensor] | None = None,
    ) -> None:
        self.model, self.descent, self.device, self.say = model, descent, device, say
        self.loss_of, self.mass_of = loss_of or segmentation_loss, mass_of or label_mass
        self.memory = MemoryPlan()
        self.unread: list[tuple[int, list[str], Tensor, Tensor]] = []
        self.weight: Tensor | None = None
        if descent.config.class_weights == "median":
            self.weight = median_weights(label_shares(pairs, n_class)).to(device)

    def step(self, batch: Batch, number: int) -> None:
        """Learn from a batch; in halves, quarters, ... if it does not fit into memory.

        Args:
            batch: images and labels.
            number: of the batch in its epoch, for messages.

        Raises:
            Diverged: its loss or gradient is not finite (where they are looked at every step).
            MemoryError: not even one image fits; the text says what helps.
        """
        if batch.labelled == 0:
            return  # the mean over no pixel would be NaN
        while True:
            try:
                loss, norm = learn(self.model, self.descent, self._pieces(batch), self.loss_of)
                break
            except Diverged as error:
                raise error.at(number, batch.names) from None
            except Exception as error:
                if not means_out_of_memory(error):
                    raise
                self._make_room(batch, error)
        self.unread.append((number, batch.names, loss, norm))  # not the batch: any view of its images would keep all of them in memory

    def _pieces(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
        """Images, labels, weights of the classes, and what the sum of the losses is divided by; None for a batch that is whole."""
        at_once = self.memory.images_at_once(batch)
        whole = at_once >= len(batch.names)
        total = None if whole else self.mass_of(send(batch.labels, self.device).long(), self.weight)
        for begin in range(0, len(batch.names), at_once):
            piece = batch.part(begin, at_once)
            yield normalised(piece, self.device, self.descent.config.jitter), send(piece.labels, self.device).long(), self.weight, total

    def _make_room(self, batch: Batch, error: Exception) -> None:
        tried = described(batch, self.memory.images_at_once(batch))
        said, in_state = reason(error), not self.descent.in_backward
        self.descent.optimizer.zero_grad(set_to_none=True)
        let_go(error)  # first of all: a run that ends here is saved, which needs memory too
        if in_state:
            self.descent.forget_first_step()
        if in_state or not self.memory.shrink(batch):
            what = "the optimizer's two moments, as large as the weights each" if in_state else tried
            raise MemoryError(
                f"Out of memory on {self.device.type} with {what} ({said}). {advice(batch, self.device, self.descent.precision.half)}"
            )
        now = self.memory.images_at_once(batch)
        self.say(
            f"out of memory with {tried}: going on with {now} at a time, gradients added up "
            f"(batch_size={now}, --batch-size {now}, would be faster)"
        )

    def read(self) -> list[tuple[float, int]]:
        """Losses since the last reading, with the number of images of each; waits for the device, once.

        Raises:
            Diverged: one of them is not finite. The others can then be read.
        """
        if not self.unread:
            return []
        unread, self.unread = self.unread, []
        losses = torch.stack([loss for _, _, loss, _ in unread]).tolist()
        norms = torch.stack([norm for _, _, _, norm in unread]).tolist()
        overflow = self.descent.precision.needs_scaling and not self.descent.hopeless()  # now and then, and scales down
        good = [math.isfinite(loss) and (overflow or math.isfinite(norm)) for loss, norm in zip(losses, norms, strict=True)]
        if not all(good):
            self.unread = [one for one, fine in zip(unread, good, strict=True) if fine]
            bad = good.index(False)
            (number, names, _, _), loss, norm = unread[bad], losses[bad], norms[bad]
            text = f"{loss:.3f}, with a gradient of norm {norm}," if math.isfinite(loss) else str(loss)
            raise Diverged(text).at(number, names, taken=math.isfinite(norm))
        return [(loss, len(names)) for (_, names, _, _), loss in zip(unread, losses, strict=True)]


def segmentation_loss(logits: Tensor, labels: Tensor, weight: Tensor | None = None, total: Tensor | None = None) -> Tensor:
    """Cross entropy per labelled pixel.

    Args:
        logits: float32 (B, n_class, H, W).
        labels: int64 (B, H, W), 255 for unknown.
        weight: float (n_class,), weights of the classes.
        total: what the sum is divided by; None: by the weight of the labelled pixels, which gives their mean.
    """
    if total is None and not (torch.are_deterministic_algorithms_enabled() and logits.device.type == "cuda"):
        return F.cross_entropy(logits, labels, weight, ignore_index=IGNORE_INDEX)
    # sum the losses of the pixels here: on a GPU the built-in sum adds in another order every time
    losses = F.cross_entropy(logits, labels, weight, ignore_index=IGNORE_INDEX, reduction="none")
    return losses.sum() / (label_mass(labels, weight) if total is None else total)


def label_mass(labels: Tensor, weight: Tensor | None) -> Tensor:
    """Number of the labelled pixels, each counted with the weight of its class."""
    counted = labels != IGNORE_INDEX
    return counted.sum() if weight is None else (weight[torch.where(counted, labels, 0)] * counted).sum()


def median_weights(shares: "np.ndarray | Tensor | Sequence[float]") -> Tensor:
    """Median frequency balancing (Eigen & Fergus, ICCV 2015, section 6.3.2).

    Args:
        shares: float (n_class,), share of each class in the labelled pixels.

    Returns:
        FloatTensor (n_class,): median share / share, at most 10; 1 for a class that does not occur.
    """
    values = torch.as_tensor(shares, dtype=torch.float64)
    present = values > 0
    median = values[present].median() if present.any() else 1.0
    return torch.where(present, median / values.clamp(min=1e-12), 1.0).clamp(max=HEAVIEST).float()
