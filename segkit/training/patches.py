"""Patches of photographs, and the task of telling which share of each, and of its cells, belongs to which class."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.training.sources import Pairs

__all__ = ["Answering", "Repeated", "SharesLoss", "cell_shares", "jittered"]


class Repeated:
    """Every image several times, for several patches of it."""

    def __init__(self, pairs: Pairs, indices: Sequence[int], times: int) -> None:
        self.pairs, self.indices, self.parallel = pairs, list(indices) * times, pairs.parallel
        self.names = [pairs.names[index] for index in self.indices]
        self.sizes = None if pairs.sizes is None else [pairs.sizes[index] for index in self.indices]

    def load(self, index: int) -> tuple[Tensor, Tensor]:
        return self.pairs.load(self.indices[index])


class Answering(nn.Module):
    """A VGG that answers for a whole patch, and for the cells of its last three pooled maps.

    A score layer on each of the maps lets the convolutions below learn from their own cells, with a hundred answers per patch
    instead of one: deep supervision (Lee et al., "Deeply-Supervised Nets", AISTATS 2015). Otherwise a VGG without batch
    normalisation gives the same answer for every patch during the first thousands of steps. The maps are those that an
    FCN-8s scores; its own score layers begin at zero, so the layers here are thrown away.

    Args:
        vgg: with ``features``, ``avgpool`` and ``classifier``, as torchvision's; used as it is.
        n_class: number of classes; of the classifier's outputs the first so many are used.
        jitter: how far colours are changed while it learns, see :func:`jittered`; 0 for not at all.

    Attributes:
        strides: sides of the cells in pixels, fine to coarse; of VGG-16 8, 16 and 32.
    """

    def __init__(self, vgg: nn.Module, n_class: int, jitter: float = 0.0) -> None:
        super().__init__()
        self.vgg, self.n_class, self.jitter = vgg, n_class, jitter
        channels = 0
        widths: list[int] = []
        for layer in _layers(vgg):
            channels = getattr(layer, "out_channels", channels)
            if isinstance(layer, nn.MaxPool2d):
                widths.append(channels)
        self.strides = tuple(2 ** (number + 1) for number in range(len(widths)))[-3:]
        scores = [nn.Conv2d(width, n_class, 1) for width in widths[-3:]]
        for value in (value for score in scores for value in score.parameters()):
            nn.init.zeros_(value)
        self.scores = nn.ModuleList(scores)

    def forward(self, x: Tensor) -> Tensor:
        """Map patches (B, 3, side, side) to logits (B, n_class, cells), in the order of :func:`cell_shares`."""
        if self.training and self.jitter:
            x = jittered(x, self.jitter)
        pooled = []
        for layer in _layers(self.vgg):
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        answers = [score(of).flatten(2) for score, of in zip(self.scores, pooled[-3:], strict=True)]
        pool, classifier = self.vgg.get_submodule("avgpool"), self.vgg.get_submodule("classifier")
        whole = classifier(pool(x).flatten(1))[:, : self.n_class, None]
        return torch.cat([*answers, whole], 2)


def jittered(x: Tensor, strength: float) -> Tensor:
    """Change contrast, brightness, tint and saturation of each picture: a wall stays a wall in another light and another paint.

    Args:
        x: normalised pictures (B, 3, H, W).
        strength: deviation of the logarithm of the contrast, and of the brightness in deviations of a channel; a third of it is the
            tint (each channel on its own), and up to that share of the colour is taken away.
    """

    def drawn(channels: int) -> Tensor:
        return torch.randn(len(x), channels, 1, 1, device=x.device, dtype=x.dtype) * strength

    x = x * (drawn(1) + drawn(3) / 3).exp() + drawn(1) + drawn(3) / 3
    return torch.lerp(x, x.mean(1, keepdim=True), torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) * strength)


def _layers(vgg: nn.Module) -> list[nn.Module]:
    return list(cast("Iterable[nn.Module]", vgg.features))


def cell_shares(labels: Tensor, n_class: int, strides: Sequence[int]) -> list[Tensor]:
    """Share of each class in the labelled pixels of the cells of each patch, and of the patch itself.

    Args:
        labels: integers (B, side, side), 255 for unknown.
        n_class: number of classes.
        strides: sides of the cells in pixels; a rest at the right and below belongs to no cell.

    Returns:
        For each stride a FloatTensor (B, n_class, cells), row by row; at the end (B, n_class, 1). Columns sum to 1, or to 0
        where nothing is labelled.
    """
    member = torch.stack([labels == index for index in range(n_class)], 1).float()  # (B, n_class, side, side)
    counts = [F.avg_pool2d(member, stride).flatten(2) for stride in strides] + [member.mean((2, 3))[:, :, None]]
    return [each / each.sum(1, keepdim=True).clamp(min=1e-9) for each in counts]


class SharesLoss:
    """The loss of the answers: what :class:`segkit.training.steps.Stepper` asks for.

    Args:
        n_class: number of classes.
        strides: see :func:`cell_shares`.
    """

    def __init__(self, n_class: int, strides: Sequence[int]) -> None:
        self.n_class, self.strides = n_class, tuple(strides)

    def loss(self, logits: Tensor, labels: Tensor, _weight: Tensor | None = None, total: Tensor | None = None) -> Tensor:
        """Cross entropy between shares and softmax: the mean over the labelled cells of a size, summed over the sizes.

        Args:
            logits: float32 (B, n_class, cells), of :class:`Answering`.
            labels: integers (B, side, side).
            total: numbers of labelled cells that the sums are divided by, of :meth:`mass`; None: those of this batch.
        """
        wanted = cell_shares(labels, self.n_class, self.strides)
        told = F.log_softmax(logits, 1).split([each.shape[2] for each in wanted], 2)
        sums = torch.stack([-(share * log).sum() for share, log in zip(wanted, told, strict=True)])
        return (sums / (self._labelled(wanted) if total is None else total)).sum()

    def mass(self, labels: Tensor, _weight: Tensor | None = None) -> Tensor:
        """Numbers of labelled cells of each size, at least 1; the last counts the patches: float (sizes,)."""
        return self._labelled(cell_shares(labels, self.n_class, self.strides))

    @staticmethod
    def _labelled(shares: Sequence[Tensor]) -> Tensor:
        return torch.stack([each.sum() for each in shares]).clamp(min=1)
