"""Where to compute, and in which number format."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["PRECISIONS", "Precision", "best_device", "choose_precision", "lay_out", "tie_tolerance"]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def best_device() -> torch.device:
    """The CUDA GPU if there is one, else the GPU of an Apple computer, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@dataclass(frozen=True)
class Precision:
    """The number format of the convolutions; weights, loss and optimizer stay float32 in all of them.

    Attributes:
        name: ``float32``, ``bfloat16`` or ``float16``.
        device_type: ``cuda``, ``mps`` or ``cpu``.
    """

    name: str
    device_type: str

    @property
    def half(self) -> bool:
        """Whether convolutions run in 16 bits."""
        return self.name != "float32"

    @property
    def layout(self) -> torch.memory_format:
        """How weights lie that convolutions are fast with: in 16 bits the channels of a pixel side by side, as matrix units read them."""
        return torch.channels_last if self.half and self.device_type in ("cpu", "cuda") else torch.contiguous_format

    @property
    def needs_scaling(self) -> bool:
        """Whether small gradients vanish unless the loss is scaled up: float16 ends at 6e-8, bfloat16 at 1e-38."""
        return self.name == "float16"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which a forward pass runs in this format; one that does nothing for float32."""
        if not self.half:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=getattr(torch, self.name))


def choose_precision(device: torch.device, wanted: str = "auto") -> Precision:
    """Pick the number format that a device is fast in.

    ``auto`` means bfloat16 where a CUDA GPU computes it in hardware (Ampere and later), float16 on older ones (a T4
    emulates bfloat16, slower than float32), and float32 on a CPU or an Apple GPU.

    Args:
        device: where the network is.
        wanted: one of :data:`PRECISIONS`.

    Raises:
        ValueError: an unknown name, or a format that the device lacks.
    """
    if wanted not in PRECISIONS:
        raise ValueError(f"Expected precision {', '.join(PRECISIONS)}, but got {wanted!r}.")
    cuda = device.type == "cuda"
    # asked of the current GPU (-1 leaves it); and emulation makes the plain question answer "yes" on a T4
    with torch.cuda.device(-1 if device.index is None or not cuda else device):
        native = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "auto":
        wanted = ("bfloat16" if native else "float16") if cuda else "float32"
    if wanted == "bfloat16" and cuda and not native:
        raise ValueError(f"{torch.cuda.get_device_name(device)} has no bfloat16 in hardware. Use precision 'auto' or 'float16' there.")
    if wanted == "float16" and not cuda:
        raise ValueError(f"Expected precision 'auto' or 'float32' on this device ({device.type}), but got 'float16'.")
    return Precision(wanted, device.type)


def lay_out(model: nn.Module, layout: torch.memory_format) -> bool:
    """Bring a network's weights into a memory layout; it can still be trained, also where this happens in inference mode.

    Returns:
        Whether any had to be moved. (A kernel of 1 x 1 lies in both layouts.)
    """
    if all(value.is_contiguous(memory_format=layout) for value in model.parameters() if value.ndim == 4):
        return False
    made_there = any(value.is_inference() for value in model.parameters())
    with torch.inference_mode(made_there):  # weights that are copied in inference mode could never be trained again
        nn.Module.to(model, memory_format=layout)
    return True


def tie_tolerance(precision: Precision) -> float:
    """By how much of the largest logit rounding may change a logit: a few units of the products' number format."""
    if precision.half:
        return 2**-6 if precision.name == "bfloat16" else 2**-9
    # this setting knows of both ways to choose TF32; cudnn.allow_tf32 fails after the newer way was used
    tf32 = precision.device_type == "cuda" and torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined] # made at run time
    return 2**-9 if tf32 else 2**-14
