"""Start from the weights of another network: stages from coarse to fine (Long et al., CVPR 2015, section 4.2).

Each stage begins with the layers of the previous one; its new score layer begins at zero.
"""

from pathlib import Path

import torch
from torch import nn

from segkit.checkpoints import CheckpointError, read_state_dict

__all__ = ["start_from"]


@torch.no_grad()
def start_from(model: nn.Module, path: str | Path) -> list[str]:
    """Copy every layer that two networks share, by name.

    Upsampling layers of another factor keep their bilinear weights, and layers that the file lacks their initial ones.

    Args:
        model: the network to fill.
        path: checkpoint of a coarser network, or of the same.

    Returns:
        Names of the parameters that kept their initial values.

    Raises:
        CheckpointError: no checkpoint, none of its layers, or a layer of another shape. The network is then unchanged.
    """
    state, own = read_state_dict(path), model.state_dict()
    upsampling = {
        f"{name}.{kind}" for name, layer in model.named_modules() if isinstance(layer, nn.ConvTranspose2d) for kind in ("weight", "bias")
    }
    shared = [name for name in own if name in state]
    wrong = [name for name in shared if own[name].shape != state[name].shape and name not in upsampling]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{path} does not fit {type(model).__name__}: {name} expected {tuple(own[name].shape)}, found "
            f"{tuple(state[name].shape)}. Was it trained with another number of classes, or is it another network?"
        )
    taken = [name for name in shared if own[name].shape == state[name].shape]
    if not any(name not in upsampling for name in taken):
        found = ", ".join(list(state)[:4])
        raise CheckpointError(f"{path} has no layer of {type(model).__name__}: it holds {found} ... Name an FCN's checkpoint.")
    broken = [name for name in taken if not bool(torch.isfinite(state[name]).all())]
    if broken:
        raise CheckpointError(f"{path}: NaN or infinite weights in {broken[0]}. Begin with an earlier checkpoint.")
    for name in taken:
        own[name].copy_(state[name])
    return [name for name in own if name not in taken]
