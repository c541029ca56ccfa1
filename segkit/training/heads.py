"""Train only the score and upsampling layers of an FCN, over features that its trunk computes once.

Nearly all of a training step of an FCN goes into the trunk, so that a laptop has no time for it. Here the trunk runs once per
picture, and what the score layers read is kept. Then ``forward`` runs on that, with the trunk's layers passed over: some
hundred steps take seconds, and they train the network's own layers, crops included. The trunk keeps the weights it has,
VGG-16's or random ones. Random ones tell little of what a picture shows, but enough for pictures that are drawn.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.progress import bar
from segkit.training.resuming import TrainingError
from segkit.training.sources import Items
from segkit.transforms import IGNORE_INDEX

__all__ = ["Features", "compute_features", "fit_head", "head_layers"]

HEAD = ("score", "upscore", "transpose")
"""How the names of the layers begin that are trained; those of ``score`` read the trunk."""


@dataclass(frozen=True)
class Features:
    """What the trunk of a network says about one picture.

    Attributes:
        maps: name of a score layer -> the map that it reads, float32 (1, C, h, w).
        label: int64 (1, H, W), of the picture's size.
    """

    maps: Mapping[str, Tensor]
    label: Tensor


def head_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network that ``fit_head`` trains, by their full names.

    Raises:
        TrainingError: it has no score layer.
    """
    layers = {path: layer for path, layer in network.named_modules() if path.rpartition(".")[2].startswith(HEAD) and _has_weight(layer)}
    if not any(map(_reads_trunk, layers)):
        raise TrainingError(
            f"Expected score layers in {type(network).__name__}, but found none whose name begins with 'score'. Give the layers "
            "the names of the table in the notebook; check_layers names those that differ."
        )
    return layers


def _has_weight(layer: nn.Module) -> bool:
    """Whether a layer has a weight of its own."""
    return isinstance(getattr(layer, "weight", None), Tensor)


def _reads_trunk(path: str) -> bool:
    """Whether the layer of this name reads a map of the trunk."""
    return path.rpartition(".")[2].startswith("score")


def compute_features(network: nn.Module, pairs: Items[tuple[Tensor, Tensor]], *, progress: bool = True) -> list[Features]:
    """Run a network once on each picture, and keep what its score layers read.

    Args:
        network: maps (1, 3, H, W) to logits (1, n_class, H, W); it is used in evaluation mode, so without dropout.
        pairs: items ``(image (3, H, W), label (H, W))``.
        progress: whether a bar is shown.

    Returns:
        One entry per picture, where the network is; about 8 MiB for 300 x 300 pixels and three score layers.

    Raises:
        TrainingError: the network has no score layer, or its ``forward`` leaves one out.
    """
    readers = {path: layer for path, layer in head_layers(network).items() if _reads_trunk(path)}
    maps: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, path=path: maps.update({path: inputs[0]})) for path, layer in readers.items()
    ]
    training, found = network.training, []
    device = next(network.parameters()).device
    try:
        network.eval()
        with torch.no_grad():
            for index in bar(range(len(pairs)), show=progress, desc="features", unit="picture"):
                image, label = pairs[index]
                maps.clear()
                network(image[None].to(device))
                if left_out := sorted(readers.keys() - maps.keys()):
                    raise TrainingError(f"{type(network).__name__}: forward does not use {', '.join(left_out)}. check_values says more.")
                found.append(Features(dict(maps), label[None].to(device)))
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
    return found


def fit_head(
    network: nn.Module,
    pictures: Sequence[Features],
    *,
    epochs: int = 5,
    rate: float = 5e-3,
    silent: Collection[str] = (),
    seed: int = 20,
    progress: bool = True,
) -> list[float]:
    """Train the score and upsampling layers of a network with Adam, one picture a step; the trunk stays as it is.

    Args:
        network: trained in place.
        pictures: of ``compute_features``, made by this network or by another with the same trunk and more score layers.
        epochs: passes over the pictures.
        rate: largest learning rate; it rises to that from a fraction, and falls to nearly nothing.
        silent: layers that are left as they are: a zero score layer says nothing, as if its path were not there.
        seed: of the order of the pictures; nothing else is drawn.
        progress: whether a bar with the loss is shown.

    Returns:
        The loss of each step: mean cross entropy per labelled pixel.

    Raises:
        TrainingError: no picture, no score layer, or a score layer that the pictures have no map for.
    """
    layers = head_layers(network)
    missing = [path for path in layers if _reads_trunk(path) and (not pictures or path not in pictures[0].maps)]
    if missing:
        raise TrainingError(
            f"Expected features for {', '.join(missing)}, but found {sorted(pictures[0].maps) if pictures else 'no picture'}. "
            "Compute them with this network."
        )
    weights = [weight for path, layer in layers.items() if path not in silent for weight in layer.parameters()]
    optimizer = torch.optim.Adam(weights, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(pictures))
    order, losses = torch.Generator().manual_seed(seed), []
    steps = [index for _ in range(epochs) for index in torch.randperm(len(pictures), generator=order).tolist()]
    spread = feature_spread(pictures, {path for path, layer in layers.items() if getattr(layer, "bias", None) is None})
    with _over_features(network, spread) as logits:
        for index in (shown := bar(steps, show=progress, desc="fitting", unit="step")):
            loss = functional.cross_entropy(logits(pictures[index]), pictures[index].label, ignore_index=IGNORE_INDEX)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            shown.set_postfix(loss=f"{losses[-1]:.3f}")
    return losses


def feature_spread(pictures: Sequence[Features], without_bias: Collection[str] = ()) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of each channel over the pictures, each (1, C, 1, 1), by score layer.

    Channels of a random trunk differ a hundredfold, and what all places have in common outweighs what tells them apart. Less the
    mean and divided by the deviation, one learning rate fits all of them. A deviation is at least a tenth of the channels' mean; for
    layers without bias, which cannot make up for a mean, the mean is 0.
    """
    spread = {}
    for path in pictures[0].maps:
        mean = torch.stack([picture.maps[path].mean(dim=(0, 2, 3)) for picture in pictures]).mean(0) * (path not in without_bias)
        square = torch.stack([picture.maps[path].square().mean(dim=(0, 2, 3)) for picture in pictures]).mean(0)
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        deviation = deviation.clamp(min=float(deviation.mean()) / 10)
        spread[path] = (mean[None, :, None, None], deviation[None, :, None, None])
    return spread


@contextmanager
def _over_features(network: nn.Module, spread: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[Callable[[Features], Tensor]]:
    """A forward pass from features of mean 0 and deviation 1, with all layers before the score layers passed over.

    While it lasts the score layers hold weights and bias for these; in the end they fit the features as they are.
    """
    layers, current = head_layers(network), {}
    readers = {path: layer for path, layer in layers.items() if _reads_trunk(path)}
    passed = [module for path, module in network.named_modules() if path not in layers and not list(module.children())]

    def logits(picture: Features) -> Tensor:
        current.update({path: (picture.maps[path] - spread[path][0]) / spread[path][1] for path in readers})
        found: Tensor = network(torch.zeros(1, 3, *picture.label.shape[1:], device=picture.label.device))
        return found

    hooks = [layer.register_forward_pre_hook(lambda _, inputs, path=path: (current[path],)) for path, layer in readers.items()]
    for path, layer in readers.items():
        _move(layer, *spread[path])
    for module in passed:
        vars(module)["forward"] = _pass_on
    try:
        yield logits
    finally:
        for module in passed:
            del vars(module)["forward"]
        for hook in hooks:
            hook.remove()
        for path, layer in readers.items():
            mean, deviation = spread[path]
            _move(layer, -mean / deviation, 1 / deviation)


def _pass_on(x: Tensor, *_: Any) -> Tensor:
    return x


@torch.no_grad()
def _move(layer: nn.Module, mean: Tensor, deviation: Tensor) -> None:
    """Let a 1x1 convolution say of ``(x - mean) / deviation`` what it said of ``x``, both (1, C, 1, 1)."""
    weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    if bias is not None:
        bias.add_((weight * mean).sum(dim=(1, 2, 3)))
    weight.mul_(deviation)
