"""Fits the demo's checkpoints on the embedded sample in under two minutes, without ImageNet weights and without a GPU.

The trunk keeps its random He weights, ``fc6`` narrowed to the middle of its window (:func:`segkit.vgg.narrow_fc6`): its features are
computed once, for FCN-32s and FCN-8s alike, and only the score and upsampling layers are trained on them
(:mod:`segkit.training.heads`). The saved files are plain state dicts, such as a student hands in.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from segkit.checkpoints import save_checkpoint
from segkit.facades import FacadeDataset, find_root
from segkit.reference import FCN8s, FCN32s, read_label
from segkit.training.heads import compute_features, fit_head, head_layers
from segkit.upsampling import bilinear_weight
from segkit.vgg import narrow_fc6

__all__ = ["fit_checkpoints", "training_pictures"]

SEED = 20
# epochs and largest learning rate; on unseen pictures of the sample they gave mean IoU 0.20 (low), 0.60 and 0.75
EPOCHS_LOW, RATE_LOW = 1, 3e-4
EPOCHS_32S, RATE_32S = 5, 5e-3
EPOCHS_8S, RATE_8S = 5, 3e-3


def training_pictures() -> list[tuple[Tensor, Tensor]]:
    """The training pictures of the sample, every other one by size mirrored: the gates mirror pictures too."""
    facades = FacadeDataset(find_root("sample"), "sample", "train", read_label=read_label)
    pairs = sorted((facades[index] for index in range(len(facades))), key=lambda pair: pair[1].numel())  # by number, houses take turns
    return [(i.flip(-1), t.flip(-1)) if n % 2 else (i, t) for n, (i, t) in enumerate(pairs)]


def fit_checkpoints(folder: Path, show: bool = True) -> None:
    """Fit the demo's three checkpoints and write them in half precision, 257 MiB each.

    Above their gates are ``fcn32s`` and ``fcn8s``; ``fcn32s_low`` is hardly trained.

    Args:
        folder: Receives the files, NAME.safetensors.
        show: Whether progress bars are shown.
    """
    torch.manual_seed(SEED)
    coarse = FCN32s()
    narrow_fc6(coarse.fc6.weight)
    fine = _with_trunk_of(coarse)
    pictures = compute_features(fine, training_pictures(), progress=show)
    fit_head(coarse, pictures, epochs=EPOCHS_LOW, rate=RATE_LOW, seed=SEED, progress=show)
    save_checkpoint(folder / "fcn32s_low.safetensors", coarse, torch.float16)
    fit_head(coarse, pictures, epochs=EPOCHS_32S, rate=RATE_32S, seed=SEED, progress=show)
    save_checkpoint(folder / "fcn32s.safetensors", coarse, torch.float16)
    fit_head(fine, pictures, epochs=EPOCHS_8S, rate=RATE_8S, seed=SEED, progress=show)
    save_checkpoint(folder / "fcn8s.safetensors", fine, torch.float16)


def _with_trunk_of(network: nn.Module) -> FCN8s:
    """An FCN-8s that shares the trunk of another FCN, and has a head of its own: zero scores, bilinear upsampling."""
    with torch.device("meta"):  # a trunk of its own would be made for nothing
        fine = FCN8s()
    trunk = {name: value for name, value in network.state_dict().items() if name.startswith(("conv", "fc"))}
    fine.load_state_dict(trunk, strict=False, assign=True)
    for layer in head_layers(fine).values():
        layer.to_empty(device="cpu")
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        if isinstance(layer, nn.ConvTranspose2d):
            layer.weight.data.copy_(bilinear_weight(layer.in_channels, layer.kernel_size[0]))
    return fine
