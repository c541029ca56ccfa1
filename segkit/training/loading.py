"""Batches made ready while the network works on the ones before."""

import functools
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from segkit.training.batches import Batch
from segkit.training.sources import Items
from segkit.transforms import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["jittered", "normalised", "read_ahead", "send"]

T = TypeVar("T")


def read_ahead(items: Items[T], start: int, threads: int) -> Generator[T, None, None]:
    """Iterate over ``items`` from number ``start`` on, in order, while threads fetch the next ones.

    Threads, not processes: decoding and copying pictures release Python's global lock, decoded images are shared, and
    functions from notebooks need not be pickled.

    Args:
        items: anything with a length and ``items[k]``; with threads, that must be safe to call from several at once.
        start: number of the first item.
        threads: how many; 0 fetches each item when it is asked for.

    Raises:
        Exception: whatever ``items[k]`` raised, when its turn has come.
    """
    if threads == 0:
        for k in range(start, len(items)):
            yield items[k]
        return
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="segkit-read")
    try:
        for k in range(start, len(items)):
            waiting.append(pool.submit(items.__getitem__, k))
            if len(waiting) > threads + 1:  # enough for every thread to have the next one at hand
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; to a CUDA GPU without waiting, since it runs all operations in order."""
    return values.to(device, non_blocking=device.type == "cuda")


def normalised(batch: Batch, device: torch.device, jitter: float = 0.0) -> Tensor:
    """Images of a batch on the device, as the network takes them.

    Decoded bytes are sent as they are, a quarter of the size of floats, and normalised on the device. Padding becomes zero,
    which is the mean colour of ImageNet and what convolutions pad with.

    Args:
        batch: images as decoded, or as normalised.
        device: where the network is.
        jitter: see :func:`jittered`; 0 changes no colour, and draws nothing.

    Returns:
        FloatTensor (B, 3, H, W), normalised with the ImageNet statistics.
    """
    images = send(batch.images, device)
    if images.dtype == torch.uint8:
        mean, std = (_channels(values, device) for values in (IMAGENET_MEAN, IMAGENET_STD))
        images = images.float().div_(255).sub_(mean).div_(std)  # as PairDataset does, to the bit
    if jitter:
        images = jittered(images, jitter)
    for image, (height, width) in zip(images, batch.sizes, strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return images


def jittered(x: Tensor, strength: float) -> Tensor:
    """Change contrast, brightness, tint and saturation of each picture: a wall stays a wall in another light and another paint.

    Args:
        x: normalised pictures (B, 3, H, W).
        strength: deviation of the logarithm of the contrast, and of the brightness in deviations of a channel; a third of it is the
            tint (each channel on its own), and up to that share of the colour is taken away.
    """

    def drawn(channels: int) -> Tensor:
        return torch.randn(len(x), channels, 1, 1, device=x.device, dtype=x.dtype) * strength

    x = x * (drawn(1) + drawn(3) / 3).exp() + drawn(1) + drawn(3) / 3
    return torch.lerp(x, x.mean(1, keepdim=True), torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) * strength)


@functools.cache  # a copy to a GPU makes the program wait: do it once
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(-1, 1, 1)
