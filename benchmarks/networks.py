"""The networks that the benchmarks run, small ones too, and their FLOP as torch counts them."""

import functools
import statistics
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.facades import FacadeDataset
from segkit.models import model_class

__all__ = ["flop_per_image", "image_flop", "network"]


def network(divisor: int, name: str = "fcn8s") -> nn.Module:
    """A network of the kit, or the same with fewer channels for machines that would take hours."""
    torch.manual_seed(0)
    if divisor == 1:
        return model_class(name)()
    with torch.device("meta"):
        model = model_class(name)()
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv2d):
            inputs, outputs = (size if size in (3, 12) else size // divisor for size in (layer.in_channels, layer.out_channels))
            setattr(model, name, nn.Conv2d(inputs, outputs, layer.kernel_size, padding=layer.padding))
        elif isinstance(layer, nn.ConvTranspose2d):
            setattr(model, name, nn.ConvTranspose2d(12, 12, layer.kernel_size, layer.stride, bias=False))
    return model


def image_flop(name: str, divisor: int, training: bool = True) -> Callable[[tuple[int, int]], int]:
    """What tells the FLOP of one image of a size (H, W), forward or a training step, counted by torch on tensors without content."""
    with torch.device("meta"):
        model = network(divisor, name).train(training)

    @functools.cache
    def count(size: tuple[int, int]) -> int:
        with torch.set_grad_enabled(training), FlopCounterMode(display=False) as counter:
            logits = model(torch.empty(1, 3, *size, device="meta"))
            if training:
                logits.sum().backward()
        return counter.get_total_flops()

    return count


def flop_per_image(data: FacadeDataset, divisor: int, training: bool = True) -> float:
    """FLOP of FCN-8s on an image, mean over the sizes."""
    count = image_flop("fcn8s", divisor, training)
    sizes = (data[k][1].shape if data.transform is not None else data.size(k) for k in range(len(data)))
    return statistics.mean(count(tuple(size)) for size in sizes)
