"""Fits the demo's checkpoints on the embedded samples in a minute: networks of an eighth of the channels, as quick mode has them.

Such a network is the notebooks' own, made light by their ``lighten``, and trained whole. Then it is written as one of full width: its
channels are the first ones, and all others are 0 and say nothing. So the file is a plain state dict, such as a student hands in, and
a whole network computes from it what the light one did.
"""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from segkit.checkpoints import save_checkpoint
from segkit.datasets import PairDataset
from segkit.datasets.satellite import SPEC, digits
from segkit.notebooks import take
from segkit.reference import confusion_matrix, scores
from segkit.reference.satellite import read_mask
from segkit.training import TrainConfig, fit

__all__ = ["fit_checkpoints", "widened"]

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks" / "satellite"
# epochs of each file's network; at the gates they gave mean IoU 0.09, 0.41 and 0.64, and an accuracy of 0.96
NETWORKS = {"fcn32s_low": ("FCN32s", 1), "fcn32s": ("FCN32s", 10), "fcn8s": ("FCN8s", 10)}
N_DIGITS, CLASSIFIER_EPOCHS = 10, 6


def fit_checkpoints(folder: Path, show: bool = True) -> None:
    """Fit the demo's checkpoints and write them in half precision: 80 MB each, and 269 MB of the classifier.

    Above their gates are ``classifier``, ``fcn32s`` and ``fcn8s``; ``fcn32s_low`` is hardly trained.

    Args:
        folder: Receives the files, NAME.safetensors, and what their training runs leave.
        show: Whether progress bars are shown.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # where each came from
        taken = {name: take(name, NOTEBOOKS) for name in ("lighten", "Classifier", "FCN32s", "FCN8s")}
    pictures = [PairDataset(SPEC, SPEC.find_root("sample"), "sample", part, read_label=read_mask) for part in ("train", "val")]
    for name, (network, epochs) in NETWORKS.items():
        torch.manual_seed(0)
        light = taken["lighten"](taken[network]())
        config = TrainConfig(epochs=epochs, learning_rate=1e-3, schedule="poly", warmup=20, flip=True)
        fit(light, *pictures, config=config, out=folder / name, overwrite=True, confusion_matrix=confusion_matrix, scores=scores,
            progress=show)  # fmt: skip
        save_checkpoint(folder / f"{name}.safetensors", widened(light, taken[network]))
    torch.manual_seed(0)
    light = taken["lighten"](taken["Classifier"](N_DIGITS))
    _learn_digits(light)
    save_checkpoint(folder / "classifier.safetensors", widened(light, lambda: taken["Classifier"](N_DIGITS)))


def _learn_digits(model: nn.Module) -> None:
    """Train a light classifier, as notebook 1 does."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.1, CLASSIFIER_EPOCHS - 1)
    model.train()
    for _ in range(CLASSIFIER_EPOCHS):
        for images, labels in DataLoader(digits("train"), 32, shuffle=True):
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        schedule.step()


def widened(light: nn.Module, network: Callable[[], Any]) -> dict[str, Tensor]:
    """The weights, float16, of a network of full width that computes what a light one does.

    Args:
        light: Whose layers have some of the channels of those of ``network``.
        network: Makes the network of full width.
    """
    with torch.device("meta"):
        whole = network().state_dict()
    for name, few in light.state_dict().items():
        whole[name] = torch.zeros(whole[name].shape, dtype=torch.float16)
        whole[name][tuple(slice(size) for size in few.shape)] = few
    return dict(whole)
