"""Which of torch's errors mean that memory ran out: many of them have no class of their own."""

import torch

__all__ = ["means_out_of_memory"]

SIGNS = (
    "out of memory",
    "can't allocate memory",  # a CPU
    "not enough memory",  # a CPU under Windows
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",  # cuDNN 9
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
)
AMBIGUOUS = (
    "unable to find an engine to execute this computation",  # cuDNN tried all of them, and none got its memory
    "find a valid cuDNN algorithm",
)
"""Parts of messages that also mean a GPU that torch does not support: then there is room, and the user must see the message."""
LITTLE = 0.25  # share of a GPU's memory; what a convolution wants beside its maps may be some GiB


def means_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error) if isinstance(error, RuntimeError) else ""
    return any(sign in text for sign in SIGNS) or (any(sign in text for sign in AMBIGUOUS) and _little_is_free())


def _little_is_free() -> bool:
    """Whether little of the GPU's memory is left for this process; also where nobody can say."""
    if not torch.cuda.is_initialized():
        return True
    try:
        free, total = torch.cuda.mem_get_info()
    except RuntimeError:  # so full that this program has no place there at all
        return True
    own = torch.cuda.memory_allocated()
    free += torch.cuda.memory_reserved() - own
    return min(free, torch.cuda.get_per_process_memory_fraction() * total - own) < LITTLE * total
