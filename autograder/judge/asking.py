"""Asking a network for its label maps: picture by picture in float32, or on a GPU in batches of one size and in 16 bits.

What is faster rounds otherwise: near a step of points a gate is measured again the slow way (``autograder.judge.gates.near_a_step``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autograder.judge.student import Student
from segkit.subject import StudentError
from segkit.training.loading import read_ahead
from segkit.training.measuring import batches_of_one_size

__all__ = ["Picture", "ask_all"]

PIXELS_AT_ONCE = 2**22  # FCN-8s takes about 1.5 KB for each in float32, padding included
GONE = ("code.died", "code.timeout", "code.garbage")  # the worker was ended, and the network with it


@dataclass(frozen=True)
class Picture:
    """A picture to be asked about.

    Attributes:
        name: Its name.
        size: (H, W), or None where only loading tells.
        load: Gives the network's input (3, H, W), float32.
    """

    name: str
    size: tuple[int, int] | None
    load: Callable[[], NDArray[np.float32]]


class _Batches:
    """Batches of pictures, loaded when they are asked for."""

    def __init__(self, pictures: Sequence[Picture], most_pixels: int) -> None:
        sizes = [picture.size for picture in pictures if picture.size is not None]
        self.plan = batches_of_one_size(sizes if len(sizes) == len(pictures) else None, len(pictures), most_pixels)
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> tuple[list[str], NDArray[np.float32]]:
        chosen = [self.pictures[index] for index in self.plan[number]]
        return [picture.name for picture in chosen], np.stack([picture.load() for picture in chosen])  # (B, 3, H, W)


def ask_all(
    student: Student, handle: str, pictures: Sequence[Picture], most_pixels: int = 0, precision: str = "float32",
    progress: Callable[[int], Any] = lambda done: None,
) -> tuple[dict[str, NDArray[np.uint8]], str]:  # fmt: skip
    """Ask for the label maps of all pictures; where the fast way fails, all are asked one at a time in float32.

    Args:
        student: Behind the gate.
        handle: The network, with its checkpoint.
        pictures: What is asked.
        most_pixels: Of a batch; 0 for one picture at a time.
        precision: ``"float32"`` or ``"bfloat16"``.
        progress: Told how many pictures are done.

    Returns:
        Name -> label map (H, W), uint8; and how they were asked, in words.

    Raises:
        StudentError: The network fails, or replies with something else than a label map.
    """
    batches = _Batches(pictures, most_pixels)
    maps: dict[str, NDArray[np.uint8]] = {}
    try:
        for names, images in read_ahead(batches, 0, 1):
            asked = images if len(images) > 1 else images[0]
            reply = _label_map(student.predict(handle, asked, precision), asked)
            maps |= zip(names, reply if len(images) > 1 else [reply], strict=True)
            progress(len(maps))
    except StudentError as error:
        if error.cause in GONE or (most_pixels == 0 and precision == "float32"):
            raise
        return ask_all(student, handle, pictures, progress=progress)
    return maps, precision + (" in batches" if len(batches) < len(pictures) else "")


def _label_map(reply: NDArray[Any], asked: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A label map ([B,] H, W) for images ([B,] 3, H, W), if that is what was replied."""
    expected = asked.shape[:-3] + asked.shape[-2:]
    if reply.shape != expected or reply.dtype != np.uint8:
        raise StudentError(f"expected a label map of shape {expected}, but got {reply.shape}", "shape.size")
    return reply
