"""Copying VGG-16's parameters into an FCN.

References:
    Long, Shelhamer & Darrell, CVPR 2015, section 4.1: the fully connected layers become convolutions.
"""

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from segkit.reference.fcn.networks import VGG16_BLOCKS

if TYPE_CHECKING:
    from torchvision.models import VGG  # takes as long as torch itself, whose compiler it imports

__all__ = ["copy_params_from_vgg16"]


@torch.no_grad()
def copy_params_from_vgg16(model: nn.Module, vgg16: nn.Module) -> None:
    """Copy the 13 convolutions and the two hidden fully connected layers of VGG-16, by value.

    Args:
        model: An FCN with the layers ``conv1_1`` .. ``conv5_3``, ``fc6`` and ``fc7``; changed in place.
        vgg16: ``torchvision.models.vgg16``; left as it is. ``classifier[0]`` (4096, 25088) becomes ``fc6``
            (4096, 512, 7, 7) and ``classifier[3]`` (4096, 4096) becomes ``fc7`` (4096, 4096, 1, 1).
    """
    names = [f"conv{b}_{i}" for b, (depth, _) in enumerate(VGG16_BLOCKS, 1) for i in range(1, depth + 1)]
    vgg = cast("VGG", vgg16)
    sources = [layer for layer in vgg.features if isinstance(layer, nn.Conv2d)]
    sources += [vgg.classifier[0], vgg.classifier[3]]
    for name, source in zip([*names, "fc6", "fc7"], sources, strict=True):
        target = getattr(model, name)
        target.weight.copy_(source.weight.view_as(target.weight))
        target.bias.copy_(source.bias)
