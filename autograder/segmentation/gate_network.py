"""The network that a gate measures a checkpoint with: the one that was asked for, with a student's hyper-parameters and crops.

This file is what the worker of a gate runs in the place of a student's code, and all that it runs: it imports torch alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def crop(x: Tensor, offset: tuple[int, int], size: tuple[int, ...]) -> Tensor:
    """Cut a window of rows and columns; it is smaller where the map ends."""
    return x[:, :, offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1]]


class GateNetwork(nn.Module):
    """A network whose layers stand where the student's stand, so that a checkpoint of theirs fits.

    Args:
        trunk: Names of its convolutions and pools, and of the layers of the head, in the order in which they run.
        score: Name of the layer that gives the coarse scores.
        steps: [upsampling, skip or None] from the coarse scores to the pixels; a skip is [name of its crop, tap, score layer].
        settings: Specified layer name -> hyper-parameters.
        paths: Specified layer name -> name in the student's network, of the layers with parameters.
        offsets: ``output`` and the names of the skips: (row, column) where each crop begins.
    """

    def __init__(self, trunk: list, score: str, steps: list, settings: dict, paths: dict, offsets: dict) -> None:
        super().__init__()
        # underscores: a student's layers may well lie in a module called trunk or pools
        self._trunk, self._score, self._steps = trunk, score, steps
        self._pools, self._paths, self._offsets = {}, paths, offsets
        for name, values in settings.items():
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
            if name in paths:
                self._place(paths[name], (nn.ConvTranspose2d if "output_padding" in values else nn.Conv2d)(**values))
            else:
                self._pools[name] = values

    def _place(self, path: str, layer: nn.Module) -> None:
        """Put a layer where the student's network has it, ``features.conv1_1``."""
        *folders, name = path.split(".")
        owner: nn.Module = self
        for folder in folders:
            if folder not in owner._modules:
                owner.add_module(folder, nn.Module())
            owner = owner.get_submodule(folder)
        owner.add_module(name, layer)

    def _run(self, name: str, x: Tensor) -> Tensor:
        return self.get_submodule(self._paths[name])(x) if name in self._paths else F.max_pool2d(x, **self._pools[name])

    def forward(self, x: Tensor) -> Tensor:
        """Score every pixel: (N, 3, H, W) to (N, n_class, H, W)."""
        size, taps, maps = tuple(x.shape[2:]), {skip[1] for _, skip in self._steps if skip is not None}, {}
        for name in self._trunk:
            x = self._run(name, x)
            x = x if name in self._pools else torch.relu(x)
            if name in taps:
                maps[name] = x
        x = self._run(self._score, x)
        for upsampling, skip in self._steps:
            x = self._run(upsampling, x)
            if skip is not None:
                name, tap, layer = skip
                x = x + crop(self._run(layer, maps[tap]), self._offsets[name], tuple(x.shape[2:]))
        return crop(x, self._offsets["output"], size)
