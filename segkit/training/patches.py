"""Patches of photographs, and the task of telling which share of each of their cells belongs to which class."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segkit.training.sources import Pairs

__all__ = ["Answering", "Repeated", "SharesLoss", "cell_shares", "folded", "normed"]


class Repeated:
    """Every image several times, for several patches of it."""

    def __init__(self, pairs: Pairs, indices: Sequence[int], times: int) -> None:
        self.pairs, self.indices, self.parallel = pairs, list(indices) * times, pairs.parallel
        self.names = [pairs.names[index] for index in self.indices]
        self.sizes = None if pairs.sizes is None else [pairs.sizes[index] for index in self.indices]

    def load(self, index: int) -> tuple[Tensor, Tensor]:
        return self.pairs.load(self.indices[index])


class Answering(nn.Module):
    """A VGG that answers for the cells of a patch: from its last three pooled maps, and from its hidden layers.

    A score layer on each of the maps lets the convolutions below learn from their own cells, with hundreds of answers per patch:
    deep supervision (Lee et al., "Deeply-Supervised Nets", AISTATS 2015). The hidden layers slide over the last map as in an
    FCN-32s, and answer for the cell in the middle of what they see. A batch normalisation after each convolution (Ioffe & Szegedy,
    ICML 2015) makes a VGG learn at a rate at which a plain one stays at one answer for thousands of steps; :meth:`plain` folds it
    into the convolutions. An FCN's own score layers begin at zero, so those here are thrown away.

    Args:
        vgg: with ``features``, ``avgpool`` and ``classifier``, as torchvision's; its layers are used as they are.
        n_class: number of classes; of the classifier's outputs the first so many are used.

    Attributes:
        strides: sides of the cells in pixels, fine to coarse; of VGG-16 8, 16 and 32.
        window: cells of the last map that the hidden layers see at once, in height and width; of VGG-16 7.
    """

    def __init__(self, vgg: nn.Module, n_class: int) -> None:
        super().__init__()
        self.features = normed(cast("nn.Sequential", vgg.features))
        self.classifier, self.avgpool = vgg.get_submodule("classifier"), vgg.get_submodule("avgpool")
        self.name, self.n_class = type(vgg).__name__, n_class
        channels = 0
        widths: list[int] = []
        for layer in self.features:
            channels = getattr(layer, "out_channels", channels)
            if isinstance(layer, nn.MaxPool2d):
                widths.append(channels)
        self.strides = tuple(2 ** (number + 1) for number in range(len(widths)))[-3:]
        self.window = self.avgpool(torch.zeros(1, 1, 1, 1)).shape[2]
        scores = [nn.Conv2d(width, n_class, 1) for width in widths[-3:]]
        for value in (value for score in scores for value in score.parameters()):
            nn.init.zeros_(value)
        self.scores = nn.ModuleList(scores)

    def forward(self, x: Tensor) -> Tensor:
        """Map patches (B, 3, side, side) to logits (B, n_class, cells), in the order of :func:`cell_shares`."""
        pooled = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        answers = [score(of).flatten(2) for score, of in zip(self.scores, pooled[-3:], strict=True)]
        if x.shape[2] < self.window:
            x = self.avgpool(x)
        windows = F.unfold(x, self.window).transpose(1, 2)  # (B, places, C * window * window)
        told = self.classifier(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        return torch.cat([*answers, told[..., : self.n_class].transpose(1, 2)], 2)

    def plain(self) -> dict[str, Tensor]:
        """The weights of the VGG without batch normalisation that gives the same answers, on the CPU, by the names of the one given."""
        whole = nn.ModuleDict({"features": folded(self.features), "classifier": self.classifier})
        return {name: value.detach().cpu().contiguous() for name, value in whole.state_dict().items()}


def normed(layers: nn.Sequential) -> nn.Sequential:
    """The same layers, with a batch normalisation after each convolution that a ReLU follows."""
    found: list[nn.Module] = []
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        found.append(layer)
        if isinstance(layer, nn.Conv2d) and isinstance(after, nn.ReLU):
            found.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*found)


def folded(layers: nn.Sequential) -> nn.Sequential:
    """The layers without their batch normalisations, each multiplied into the convolution before it as it stands in evaluation."""
    found: list[nn.Module] = []
    for layer in layers.eval():
        if isinstance(layer, nn.BatchNorm2d):
            found[-1] = fuse_conv_bn_eval(cast("nn.Conv2d", found[-1]), layer)
        else:
            found.append(layer)
    return nn.Sequential(*found)


def cell_shares(labels: Tensor, n_class: int, strides: Sequence[int], window: int = 1) -> list[Tensor]:
    """Share of each class in the labelled pixels of the cells of each patch.

    Args:
        labels: integers (B, side, side), 255 for unknown.
        n_class: number of classes.
        strides: sides of the cells in pixels; a rest at the right and below belongs to no cell.
        window: cells of the last size, in height and width, that are seen for one answer.

    Returns:
        For each stride a FloatTensor (B, n_class, cells), row by row; at the end once more those cells of the last stride that
        are in the middle of a window. Columns sum to 1, or to 0 where nothing is labelled.
    """
    member = torch.stack([labels == index for index in range(n_class)], 1).float()  # (B, n_class, side, side)
    counts = [F.avg_pool2d(member, stride) for stride in strides]
    cells = counts[-1].shape[2]
    places = max(cells - window + 1, 1)
    middle = slice((cells - places) // 2, (cells - places) // 2 + places)
    counts.append(counts[-1][:, :, middle, middle])
    return [each / each.sum(1, keepdim=True).clamp(min=1e-9) for each in (count.flatten(2) for count in counts)]


class SharesLoss:
    """The loss of the answers: what :class:`segkit.training.steps.Stepper` asks for.

    Args:
        n_class: number of classes.
        strides: see :func:`cell_shares`.
        window: see :func:`cell_shares`.
    """

    def __init__(self, n_class: int, strides: Sequence[int], window: int = 1) -> None:
        self.n_class, self.strides, self.window = n_class, tuple(strides), window

    def loss(self, logits: Tensor, labels: Tensor, _weight: Tensor | None = None, total: Tensor | None = None) -> Tensor:
        """Cross entropy between shares and softmax: the mean over the labelled cells of a size, summed over the sizes.

        Args:
            logits: float32 (B, n_class, cells), of :class:`Answering`.
            labels: integers (B, side, side).
            total: numbers of labelled cells that the sums are divided by, of :meth:`mass`; None: those of this batch.
        """
        wanted = self.shares(labels)
        told = F.log_softmax(logits, 1).split([each.shape[2] for each in wanted], 2)
        sums = torch.stack([-(share * log).sum() for share, log in zip(wanted, told, strict=True)])
        return (sums / (self._labelled(wanted) if total is None else total)).sum()

    def mass(self, labels: Tensor, _weight: Tensor | None = None) -> Tensor:
        """Numbers of labelled cells of each size, at least 1; the last counts those in the middle: float (sizes,)."""
        return self._labelled(self.shares(labels))

    def shares(self, labels: Tensor) -> list[Tensor]:
        """What the answers are compared with, see :func:`cell_shares`."""
        return cell_shares(labels, self.n_class, self.strides, self.window)

    @staticmethod
    def _labelled(shares: Sequence[Tensor]) -> Tensor:
        return torch.stack([each.sum() for each in shares]).clamp(min=1)
