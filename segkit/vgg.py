"""VGG-16 with ImageNet weights: from torchvision's server, or from a file that was brought along.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015. The weights are
torchvision's ``VGG16_Weights.IMAGENET1K_V1``; the name of their file carries the first 8 digits of its sha256.
"""

import os
import re
from pathlib import Path

import torch
from torchvision.models import VGG, VGG16_Weights, vgg16

from segkit.datasets import DataError, data_folder
from segkit.download import DownloadError, download_file, hash_file

__all__ = ["VGG16_FILE", "VGG16_URL", "VGGError", "find_vgg16", "load_vgg16", "narrow_fc6", "random_vgg16"]

VGG16_URL: str = VGG16_Weights.IMAGENET1K_V1.url
VGG16_FILE: str = VGG16_URL.rpartition("/")[2]  # vgg16-397923af.pth

NARROW = 0.6  # standard deviation of what a narrowed fc6 sees, in cells of 32 pixels


class VGGError(RuntimeError):
    """The weights of VGG-16 could not be had; the text says where to put the file."""


def find_vgg16() -> Path | None:
    """The weights if they are on this machine: in ``data/weights`` of the kit, or in torch's own download cache."""
    for folder in (_weights_folder(), Path(torch.hub.get_dir()) / "checkpoints"):
        if (folder / VGG16_FILE).is_file():
            return folder / VGG16_FILE
    return None


def load_vgg16(path: str | os.PathLike | None = None, progress: bool = True, *, allow_unverified: bool = False) -> VGG:
    """Builds VGG-16 with its ImageNet weights, on the CPU and in eval mode.

    Args:
        path: the weights' file; None: ``data/weights/vgg16-397923af.pth``, torch's download cache, and if it is in
            neither, it is downloaded (528 MB, resumed after an interruption).
        progress: show a bar during the download.
        allow_unverified: also take a file whose name carries no checksum, or whose checksum does not fit.

    Raises:
        VGGError: no file and no network, a damaged file, or a file with something else in it.
    """
    file = Path(path).expanduser() if path is not None else find_vgg16() or _download(progress)
    if not file.is_file():
        raise VGGError(f"No such file: {file}. Expected the weights {VGG16_FILE} (528 MB, from {VGG16_URL}).")
    if not allow_unverified:
        _verify(file)
    with torch.device("meta"):  # building it in memory first would draw 138 million random numbers for nothing
        model = vgg16(weights=None)
    state = _read_state(file)
    _demand_vgg16(state, model, file)
    model.load_state_dict(state, assign=True)
    return model.eval()


def random_vgg16() -> VGG:
    """VGG-16 with random weights, always the same, on the CPU and in eval mode: it stands in where ImageNet's cannot be had."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = vgg16(weights=None).eval()
    first = model.classifier[0]
    assert isinstance(first, torch.nn.Linear)
    narrow_fc6(first.weight)
    return model


@torch.no_grad()
def narrow_fc6(weight: torch.Tensor) -> None:
    """Let the random weights of ``fc6`` look mostly at the middle of their 7 x 7 cells, and keep their mean square.

    Training teaches ``fc6`` where to look. Random weights look at 224 x 224 pixels alike, and what they say of a cell drowns in what
    they say of its 48 neighbours: of a picture of that size only the layout is left.

    Args:
        weight: changed in place; (4096, 512 * 7 * 7) as in VGG-16, or (4096, 512, 7, 7) as in an FCN.
    """
    distance = (torch.arange(7) - 3.0).square()
    window = torch.exp(-(distance[:, None] + distance) / (2 * NARROW**2))  # (7, 7)
    weight.view(len(weight), -1, 7, 7).mul_(window / window.square().mean().sqrt())


def _weights_folder() -> Path:
    try:
        return data_folder() / "weights"
    except DataError:  # an installed package without its data folder can still use the weights
        return Path.cwd() / "data" / "weights"


def _download(progress: bool) -> Path:
    target = _weights_folder() / VGG16_FILE
    try:
        return download_file(VGG16_URL, target, sha256_prefix=_prefix(target), progress=progress)
    except DownloadError as error:
        raise VGGError(
            f"The ImageNet weights of VGG-16 are not on this machine and could not be fetched.\n{error}\n"
            f'  Or name the file where it lies: load_vgg16("/path/to/{VGG16_FILE}").'
        ) from error


def _prefix(file: Path) -> str:
    """The 8 hex digits of sha256 in a weights' file name, after torch hub's habit; empty if there are none."""
    match = re.search(r"-([0-9a-f]{8})\.\w+$", file.name)
    return match.group(1) if match else ""


def _verify(file: Path) -> None:
    expected = _prefix(file)
    if not expected:
        raise VGGError(
            f"{file}: the name carries no checksum. Expected a name like {VGG16_FILE}, whose 8 digits are the start "
            "of the file's sha256. If you trust the file: load_vgg16(path, allow_unverified=True)."
        )
    found = hash_file(file)
    if not found.startswith(expected):
        raise VGGError(
            f"{file}: expected a sha256 that starts with {expected}, found {found[:8]} ({file.stat().st_size} bytes; "
            f"the true file has 553 million). It is incomplete or another file: delete it and fetch it again "
            f"from {VGG16_URL}."
        )


def _read_state(file: Path) -> dict[str, torch.Tensor]:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged bytes the unpickler raises whatever it stumbles over, IndexError too
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise VGGError(f"{file}: expected the state dict of VGG-16, found a file torch cannot read ({reason}).") from error


def _demand_vgg16(state: object, model: torch.nn.Module, file: Path) -> None:
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if not isinstance(state, dict):
        raise VGGError(f"{file}: expected a state dict with {len(expected)} tensors, found {type(state).__name__}.")
    found = {key: tuple(value.shape) for key, value in state.items() if isinstance(value, torch.Tensor)}
    for key, shape in expected.items():
        if found.get(key) != shape:
            raise VGGError(f"{file}: not torchvision's VGG-16: expected {key} of shape {shape}, found {found.get(key, 'no such tensor')}.")
    if extra := sorted(set(state) - set(expected)):
        raise VGGError(
            f"{file}: not torchvision's VGG-16: {len(extra)} tensors more than expected, for instance {extra[0]} "
            "(the variant with batch normalisation has such names)."
        )
