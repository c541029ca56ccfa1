"""What to do when a batch does not fit into memory: compute it in smaller pieces, or else give advice."""

import gc

import torch

from segkit.memory_errors import means_out_of_memory
from segkit.training.batches import Batch

__all__ = ["MemoryPlan", "advice", "described", "let_go", "means_out_of_memory", "no_room", "reason"]


def reason(error: BaseException) -> str:
    """The first line of what torch said, or the kind of the error where it said nothing."""
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__


def let_go(error: BaseException) -> None:
    """Give back the memory that a failed attempt holds: the frames of its traceback keep the tensors that did not fit."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            waiting += [one.__cause__, one.__context__]
    MemoryPlan.free()


class MemoryPlan:
    """How many images go through the network at once; it shrinks after each batch that did not fit.

    The gradients of the pieces add up to that of the batch, so the result stays the same; only the time differs.
    """

    def __init__(self) -> None:
        self.most_pixels: int | None = None

    def images_at_once(self, batch: Batch) -> int:
        """How many images of this batch go through the network together."""
        count, _, height, width = batch.images.shape
        return count if self.most_pixels is None else max(1, min(count, self.most_pixels // (height * width)))

    def shrink(self, batch: Batch) -> bool:
        """Halve it after this batch did not fit; False if it was one image already."""
        images = self.images_at_once(batch)
        self.most_pixels = max(1, images // 2) * batch.images.shape[2] * batch.images.shape[3]
        return images > 1

    @staticmethod
    def free() -> None:
        """Give back what the failed attempt held."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def described(batch: Batch, images: int | None = None) -> str:
    """``4 images of 832 x 800 (cmp_b0001, cmp_b0002, ...)``."""
    count, _, height, width = batch.images.shape
    names = ", ".join(batch.names[:3]) + (", ..." if count > 3 else "")
    together = "" if images is None or images == count else f", {images} at a time"
    return f"{count} image{'s' if count > 1 else ''} of {height} x {width}{together} ({names})"


def advice(batch: Batch, device: torch.device, half: bool) -> str:
    """What may help where even one image does not fit."""
    side = max(64, min(batch.images.shape[2:]) * 3 // 4 // 32 * 32)
    ways = [f"windows instead of whole images (crop={side}; --set crop={side})"]
    if device.type == "cuda" and not half:
        ways.append("16 bits (precision='auto'; --set precision=auto, or --recipe fast)")
    ways.append(_elsewhere(device))
    return "What helps: " + "; ".join(ways) + ". Other settings are another run: give it another folder."


def no_room(device: torch.device, error: BaseException, what: str = "") -> str:
    """The message when memory ran out outside of a step, where a smaller batch would not help."""
    return f"Out of memory on {device.type}{what and f' with {what}'} ({reason(error)}). What helps: {_elsewhere(device)}."


def _elsewhere(device: torch.device) -> str:
    if device.type != "cuda":
        return "ending other programs, or a computer with more memory"
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:  # so full that this program has no place there at all
        return "ending other programs on this GPU"
    return f"ending other programs on this GPU ({free / 2**30:.1f} of {total / 2**30:.1f} GiB are free now)"
