"""The network that a gate measures a checkpoint with: the paper's, with a student's hyper-parameters and crops.

This file is what the worker of a gate runs in the place of a student's code, and all that it runs: it imports torch alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
# network -> (upsampling, pool whose scores are added to it or None), from the coarse scores to the pixels
STEPS = {
    "fcn32s": (("transpose_conv", None),),
    "fcn8s": (("upscore1", "pool4"), ("upscore2", "pool3"), ("upscore3", None)),
}


def crop(x: Tensor, offset: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Cut a window of rows and columns; it is smaller where the map ends."""
    return x[:, :, offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1]]


class GateNetwork(nn.Module):
    """A network whose layers stand where the student's stand, so that a checkpoint of theirs fits.

    Args:
        network: ``"fcn32s"`` or ``"fcn8s"``.
        settings: Specified layer name -> hyper-parameters.
        paths: Specified layer name -> name in the student's network, of the layers with parameters.
        offsets: ``output`` and, for FCN-8s, ``pool4`` and ``pool3``: (row, column) where each crop begins.
    """

    def __init__(self, network: str, settings: dict, paths: dict, offsets: dict) -> None:
        super().__init__()
        self.network, self.pools, self.paths, self.offsets = network, {}, paths, offsets
        for name, values in settings.items():
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
            if name in paths:
                self._place(paths[name], (nn.ConvTranspose2d if "output_padding" in values else nn.Conv2d)(**values))
            else:
                self.pools[name] = values

    def _place(self, path: str, layer: nn.Module) -> None:
        """Put a layer where the student's network has it, ``features.conv1_1``."""
        *folders, name = path.split(".")
        owner = self
        for folder in folders:
            if folder not in owner._modules:
                owner.add_module(folder, nn.Module())
            owner = owner._modules[folder]
        owner.add_module(name, layer)

    def _run(self, name: str, x: Tensor) -> Tensor:
        return self.get_submodule(self.paths[name])(x) if name in self.paths else F.max_pool2d(x, **self.pools[name])

    def forward(self, x: Tensor) -> Tensor:
        """Score every pixel: (N, 3, H, W) to (N, n_class, H, W)."""
        size, pools = tuple(x.shape[2:]), {}
        for block, depth in BLOCKS:
            for index in range(1, depth + 1):
                x = torch.relu(self._run(f"conv{block}_{index}", x))
            x = pools[f"pool{block}"] = self._run(f"pool{block}", x)  # (N, C, about H / 2**block, W / 2**block)
        x = self._run("score", torch.relu(self._run("fc7", torch.relu(self._run("fc6", x)))))
        for upsampling, pool in STEPS[self.network]:
            x = self._run(upsampling, x)
            if pool is not None:
                skip = self._run(f"score_{pool[:4]}_{pool[4:]}", pools[pool])
                x = x + crop(skip, self.offsets[pool], tuple(x.shape[2:]))
        return crop(x, self.offsets["output"], size)
