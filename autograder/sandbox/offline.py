"""Replacements for weights that student code would download: workers have no network, so the weights are not loaded. For workers."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import torch
import torchvision
from torch import nn

__all__ = ["undrawn_downloads"]


class Undrawn(dict[str, torch.Tensor]):
    """A state dict in place of one that would be downloaded or read; loading it leaves a network unchanged.

    Its tensors have the right shapes and a random spread, and take hardly any memory: all rows share one.

    Args:
        source: The requested address or path.
        shapes: Key -> a tensor with the shape and dtype of that key.
    """

    def __init__(self, source: Any, shapes: Mapping[str, torch.Tensor]) -> None:
        super().__init__({key: _one_row(key, tensor) for key, tensor in shapes.items()})
        self.source = str(source)

    def _missing(self, what: str) -> FileNotFoundError:
        text = f"{self.source} is not there where work is graded, and with it {what}"
        return FileNotFoundError(text.replace(f"{Path.cwd()}{os.sep}", ""))

    def __missing__(self, key: Any) -> Any:
        raise self._missing(repr(key))

    def __getattr__(self, name: str) -> Any:  # for student code that expects a whole saved network
        if name.startswith("_"):
            raise AttributeError(name)
        raise self._missing(f"its {name}")


def _one_row(key: str, like: torch.Tensor) -> torch.Tensor:
    """A tensor whose rows share their memory, random like torchvision's initial weights: a network of zeros cannot learn."""
    if like.dim() < 2:
        usual = 1 if key.endswith((".weight", ".running_var")) else 0  # of a normalisation layer
        return torch.full((), usual, dtype=like.dtype, device="cpu").expand(like.shape)
    row = torch.empty((1, *like.shape[1:]), dtype=like.dtype, device="cpu")
    spread = (2 / (like.shape[0] * like[0, 0].numel())) ** 0.5 if like.dim() == 4 else 0.01
    return nn.init.normal_(row, 0, spread).expand(like.shape)


def _undrawn(source: Any, *args: Any, **kwargs: Any) -> Undrawn:
    """State dict of the architecture that a file's name begins with (``vgg16-397923af.pth``), empty where there is none."""
    name = PurePath(str(source)).name.partition("-")[0].partition(".")[0]
    try:
        with torch.device("meta"):
            return Undrawn(source, torchvision.models.get_model(name, weights=None).state_dict())
    except (ValueError, KeyError, TypeError):
        return Undrawn(source, {})


def _from_hub(repository: Any, model: str, *args: Any, **kwargs: Any) -> nn.Module:
    try:
        network: nn.Module = torchvision.models.get_model(model, weights=None)
    except ValueError:
        raise RuntimeError(f"torch.hub.load of {model}: there is no network where work is graded") from None
    return network


def _loads(usual: Any) -> Any:
    def load_state_dict(module: nn.Module, state: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(state, Undrawn):
            return nn.modules.module._IncompatibleKeys([], [])
        return usual(module, state, *args, **kwargs)

    return load_state_dict


def _opens(usual: Any) -> Any:
    def load(file: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, (str, os.PathLike)) and not os.path.exists(file):
            return _undrawn(file)
        return usual(file, *args, **kwargs)

    return load


@contextlib.contextmanager
def undrawn_downloads() -> Iterator[None]:
    """Within this context, downloads of weights, and reads of weight files that were not handed in, return an ``Undrawn``."""
    from torch.utils import model_zoo
    from torchvision.models import _api

    places = [
        (torch.hub, "load_state_dict_from_url", _undrawn), (model_zoo, "load_url", _undrawn), (torch.hub, "load", _from_hub),
        (_api, "load_state_dict_from_url", _undrawn), (nn.Module, "load_state_dict", _loads(nn.Module.load_state_dict)),
        (torch, "load", _opens(torch.load)),
    ]  # fmt: skip
    usual = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, value in places:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in usual:
            setattr(owner, name, value)
