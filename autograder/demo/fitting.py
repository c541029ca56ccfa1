"""Fits the demo's checkpoints on the embedded sample in about a minute, without ImageNet weights and without a GPU.

The trunk keeps its random He weights: its features are computed once, for FCN-32s and FCN-8s alike, and only the score and
upsampling layers are trained on them. The saved files are plain state dicts, such as a student hands in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.checkpoints import save_checkpoint
from segkit.facades import IGNORE_INDEX, FacadeDataset, find_root
from segkit.progress import bar
from segkit.reference import FCN8s, FCN32s, read_label
from segkit.reference.fcn.networks import VGGTrunk
from segkit.upsampling import CropGeometry, bilinear_weight

__all__ = [
    "Checkpoints", "Head", "Picture", "compute_features", "feature_scale", "fit_checkpoints", "folded", "train",
    "training_pictures",
]  # fmt: skip

SEED = 20
PICTURES = 12  # of the sample's 24 training pictures, the smallest: enough for random features to be told apart
# epochs and largest learning rate; on the sample's test list they gave mean IoU 0.13 (low), 0.60 and 0.77
EPOCHS_LOW, RATE_LOW = 1, 3e-4
EPOCHS_32S, RATE_32S = 5, 5e-3
EPOCHS_8S, RATE_8S = 5, 3e-3
SKIPS = {"score": "fc7", "score_pool_4": "pool4", "score_pool_3": "pool3"}
"""Score layer -> the feature map it reads."""


@dataclass(frozen=True)
class Checkpoints:
    """The files that the class hands in.

    Attributes:
        fcn32s: FCN-32s above the gate.
        fcn32s_low: FCN-32s under the gate: hardly trained.
        fcn8s: FCN-8s above the gate.
    """

    fcn32s: Path
    fcn32s_low: Path
    fcn8s: Path


@dataclass(frozen=True)
class Picture:
    """Frozen features of a picture: ``pool3`` (1, 256, ~H/8, ~W/8), ``pool4`` (1, 512, ~H/16, ~W/16) and ``fc7``
    (1, 4096, ~H/32, ~W/32), all float32, with its label (1, H, W), int64."""

    features: Mapping[str, Tensor]
    label: Tensor


class Head(nn.Module):
    """The trained part of an FCN, on features of unit spread.

    It takes over the score and upsampling layers of a network, and runs them on features in place of a picture.

    Args:
        network: Its layers are trained in place.
        scale: Spread of each feature map's channels, shape (1, C, 1, 1) by name. Random features differ a
            hundredfold between channels; dividing by it is what lets one learning rate fit all of them.
    """

    def __init__(self, network: nn.Module, scale: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.scale, self.geometry = scale, CropGeometry(cast("CropGeometry", network.geometry).padding)
        trained = [name for name, _ in network.named_children() if name.startswith(("score", "upscore", "transpose"))]
        self.layers = nn.ModuleDict({name: getattr(network, name) for name in trained})

    def forward(self, picture: Picture) -> Tensor:
        """Logits (1, n_class, H, W)."""
        layers, geometry = self.layers, self.geometry
        scores = {n: layers[n](picture.features[m] / self.scale[m]) for n, m in SKIPS.items() if n in layers}
        size = picture.label.shape[1:]
        if "transpose_conv" in layers:
            return _cut(layers["transpose_conv"](scores["score"]), geometry.fcn32s, size)
        fused = layers["upscore1"](scores["score"])  # (1, n_class, ~H/16, ~W/16)
        fused = fused + _cut(scores["score_pool_4"], geometry.pool4, fused.shape[2:])
        fused = layers["upscore2"](fused)  # (1, n_class, ~H/8, ~W/8)
        fused = fused + _cut(scores["score_pool_3"], geometry.pool3, fused.shape[2:])
        return _cut(layers["upscore3"](fused), geometry.fcn8s, size)


def _cut(x: Tensor, offset: int, size: Sequence[int]) -> Tensor:
    return x[:, :, offset : offset + size[0], offset : offset + size[1]]


def folded(head: Head) -> dict[str, Tensor]:
    """The layers of a head as they stand in a network, which sees features as they are.

    Returns:
        State dict entries ``<layer>.weight`` and ``<layer>.bias``, copies.
    """
    state = {name: value.detach().clone() for name, value in head.layers.state_dict().items()}
    for layer, feature in SKIPS.items():
        if layer in head.layers:
            state[f"{layer}.weight"] /= head.scale[feature]
    return state


def compute_features(trunk: VGGTrunk, image: Tensor, label: Tensor) -> Picture:
    """Run the frozen trunk on a picture (3, H, W) with its label (H, W)."""
    maps: dict[str, Tensor] = {}
    hooks = [
        getattr(trunk, layer).register_forward_hook(lambda module, inputs, output, name=name: maps.update({name: output}))
        for name, layer in {"pool3": "pool3", "pool4": "pool4", "fc7": "drop7"}.items()
    ]
    try:
        with torch.no_grad():
            trunk.trunk(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    return Picture(maps, label[None])


def feature_scale(pictures: list[Picture]) -> dict[str, Tensor]:
    """Root mean square of each channel over the pictures, (1, C, 1, 1) by name; at least a tenth of their mean."""
    scale = {}
    for name in SKIPS.values():
        square = torch.stack([p.features[name].square().mean(dim=(0, 2, 3)) for p in pictures]).mean(0).sqrt()
        scale[name] = square.clamp(min=float(square.mean()) / 10)[None, :, None, None]
    return scale


def train(head: Head, pictures: list[Picture], epochs: int, rate: float, progress: Callable[[], None]) -> None:
    """Train a head with Adam; one picture a step, as in the course recipe.

    Args:
        head: Trained in place.
        pictures: What it is trained on.
        epochs: Passes over the pictures.
        rate: Largest learning rate; it rises from a fraction of that, and falls to nearly nothing.
        progress: Called after each epoch.
    """
    optimizer = torch.optim.Adam(head.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(pictures))
    order = torch.Generator().manual_seed(SEED)
    for _ in range(epochs):
        for index in torch.randperm(len(pictures), generator=order).tolist():
            picture = pictures[index]
            loss = functional.cross_entropy(head(picture), picture.label, ignore_index=IGNORE_INDEX)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress()


def training_pictures(count: int = PICTURES) -> list[tuple[Tensor, Tensor]]:
    """The smallest training pictures of the sample, every other one mirrored: the gates mirror pictures too."""
    facades = FacadeDataset(find_root("sample"), "sample", "train", read_label=read_label)
    pairs = sorted((facades[index] for index in range(len(facades))), key=lambda pair: pair[1].numel())[:count]
    return [(i.flip(-1), t.flip(-1)) if n % 2 else (i, t) for n, (i, t) in enumerate(pairs)]


def fit_checkpoints(folder: Path, show: bool = True) -> Checkpoints:
    """Fit the demo's three checkpoints and write them in half precision, 257 MiB each.

    Args:
        folder: Receives the files.
        show: Whether progress bars are shown.

    Returns:
        The files written.
    """
    files = Checkpoints(*(folder / f"{name}.safetensors" for name in ("fcn32s", "fcn32s_low", "fcn8s")))
    torch.manual_seed(SEED)
    network = FCN32s().eval()  # eval: features without dropout
    pairs = training_pictures()
    pictures = [compute_features(network, *pair) for pair in bar(pairs, show=show, desc="  features", unit="picture")]
    trunk = {name: value for name, value in network.state_dict().items() if name.startswith(("conv", "fc"))}
    epochs = bar(total=EPOCHS_LOW + EPOCHS_32S + EPOCHS_8S, show=show, desc="  fitting", unit="epoch")

    head = Head(network, feature_scale(pictures))
    train(head, pictures, EPOCHS_LOW, RATE_LOW, epochs.update)
    save_checkpoint(files.fcn32s_low, trunk | folded(head), torch.float16)
    train(head, pictures, EPOCHS_32S, RATE_32S, epochs.update)
    save_checkpoint(files.fcn32s, trunk | folded(head), torch.float16)

    with torch.device("meta"):
        skeleton = FCN8s()  # only its head is trained: the trunk is the one above
    head = Head(_fresh_head(skeleton), head.scale)
    train(head, pictures, EPOCHS_8S, RATE_8S, epochs.update)
    save_checkpoint(files.fcn8s, trunk | folded(head), torch.float16)
    epochs.close()
    return files


def _fresh_head(network: nn.Module) -> nn.Module:
    """Give the head of a network on the meta device real weights, as its class would: zero scores, bilinear upsampling."""
    for name, layer in network.named_children():
        if name.startswith(("score", "upscore", "transpose")):
            layer.to_empty(device="cpu")
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
            if isinstance(layer, nn.ConvTranspose2d):
                layer.weight.data.copy_(bilinear_weight(layer.in_channels, layer.kernel_size[0]))
    return network
