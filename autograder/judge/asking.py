"""Asking a network for its label maps: picture by picture on a CPU, in batches of one size on a GPU.

What is faster must not be felt in the points. A batch, or 16 bits, is used only where on the first pictures its label maps agree
with those of one picture at a time in float32; those of the first pictures are then the slow way's. They are of sizes from all
over the list; for 16 bits at least a dozen, which must also have the same mean IoU, since a rare class weighs as much as a wall of
pixels. That bounds nothing on the other pictures: near a step of points a gate is measured again in float32 (see
``autograder.judge.gates.near_a_step``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autograder.judge.student import Student
from segkit.reference import confusion_matrix, scores
from segkit.subject import StudentError
from segkit.training.loading import read_ahead
from segkit.training.measuring import batches_of_one_size
from segkit.transforms import IGNORE_INDEX

__all__ = ["AGREEMENT", "PLAIN", "Manner", "Picture", "ask_all"]

AGREEMENT = 0.999  # share of the pixels
SAME_MEAN_IOU = 0.0005  # 16 bits: by how much the mean IoU may differ
CHECKED = {"float32": 4, "bfloat16": 12}  # pictures that are asked both ways: 16 bits round where they like, a batch where it begins
PIXELS_AT_ONCE = 2**22  # FCN-8s takes about 1.5 KB for each in float32, padding included
GONE = ("code.died", "code.timeout", "code.garbage")  # the worker was ended, and the network with it


@dataclass(frozen=True)
class Manner:
    """How a network is asked.

    Attributes:
        most_pixels: Of a batch; 0 for one picture at a time.
        precision: ``"float32"`` or ``"bfloat16"``.
    """

    most_pixels: int = 0
    precision: str = "float32"


PLAIN = Manner()


@dataclass(frozen=True)
class Picture:
    """A picture to be asked about.

    Attributes:
        name: Its name.
        size: (H, W), or None where only loading tells.
        load: Gives the network's input (3, H, W), float32.
        label: Gives its label (H, W), 255 where unknown; None, or giving None, where labels are not read.
    """

    name: str
    size: tuple[int, int] | None
    load: Callable[[], NDArray[np.float32]]
    label: Callable[[], NDArray[np.int64] | None] = lambda: None


class _Batches:
    """Batches of pictures, loaded when they are asked for; first the largest and some from all over the list, which are tried."""

    def __init__(self, pictures: Sequence[Picture], manner: Manner) -> None:
        sizes = [picture.size for picture in pictures]
        plan = batches_of_one_size(None if None in sizes else sizes, len(pictures), manner.most_pixels)
        plan = sorted(plan, key=len, reverse=True)  # what is tried on the first pictures is batches
        tried = [] if manner == PLAIN else _spread([len(batch) for batch in plan], CHECKED[manner.precision])
        self.tried = len(tried)
        self.plan = [plan[number] for number in sorted(range(len(plan)), key=lambda number: number not in tried)]
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> tuple[list[str], NDArray[np.float32]]:
        chosen = [self.pictures[index] for index in self.plan[number]]
        return [picture.name for picture in chosen], np.stack([picture.load() for picture in chosen])  # (B, 3, H, W)


def ask_all(
    student: Student, handle: str, pictures: Sequence[Picture], manner: Manner, progress: Callable[[int], Any] = lambda done: None
) -> tuple[dict[str, NDArray[np.uint8]], Manner]:
    """Ask for the label maps of all pictures.

    Args:
        student: Behind the gate.
        handle: The network, with its checkpoint.
        pictures: What is asked.
        manner: The fastest way that may be used.
        progress: Told how many pictures are done.

    Returns:
        Name -> label map (H, W), uint8; and the way that was used.

    Raises:
        StudentError: The network fails, or answers with something else than a label map.
    """
    maps: dict[str, NDArray[np.uint8]] = {}
    label_of = {picture.name: picture.label for picture in pictures}
    batches = _Batches(pictures, manner)
    if all(len(batch) == 1 for batch in batches.plan):
        manner = Manner(0, manner.precision)
    ways = list(dict.fromkeys([manner, Manner(manner.most_pixels), PLAIN]))
    for number, (names, images) in enumerate(read_ahead(batches, 0, 1)):
        if ways[0] != PLAIN and number < batches.tried:
            singles = np.stack([_label_map(student.predict(handle, image), image) for image in images])
            maps |= dict(zip(names, singles, strict=True))
            labels = [label_of[name]() for name in names] if ways[0].precision != "float32" else []
            while ways[0] != PLAIN and not _agrees(student, handle, images, singles, ways[0], labels):
                ways.pop(0)
        else:
            maps |= dict(zip(names, _asked(student, handle, images, ways[0]), strict=True))
        progress(len(maps))
    return maps, ways[0]


def _spread(lengths: Sequence[int], least: int) -> list[int]:
    """As few batches, evenly spread over the list and the first among them, as hold at least so many pictures."""
    for count in range(1, len(lengths) + 1):
        chosen = [len(lengths) * place // count for place in range(count)]
        if sum(lengths[number] for number in chosen) >= least:
            return chosen
    return list(range(len(lengths)))


def _asked(student: Student, handle: str, images: NDArray[np.float32], way: Manner) -> Iterator[NDArray[np.uint8]]:
    """Label maps of a batch, in one way; a batch that fails as such is asked picture by picture."""
    if way.most_pixels and len(images) > 1:
        try:
            answer = student.predict(handle, images, way.precision)
            return iter([_label_map(part, image) for part, image in zip(answer, images, strict=True)])
        except (StudentError, ValueError) as error:
            if getattr(error, "cause", None) in GONE:
                raise
    return iter([_label_map(student.predict(handle, image, way.precision), image) for image in images])


def _agrees(
    student: Student, handle: str, images: NDArray[np.float32], singles: NDArray[np.uint8], way: Manner, labels: Sequence[NDArray | None]
) -> bool:
    """Whether a faster way gives the same labels but for a few pixels, and in 16 bits the same mean IoU."""
    try:
        found = student.predict(handle, images if way.most_pixels else images[0], way.precision)
    except StudentError as error:
        if error.cause in GONE:
            raise
        return False
    count = len(images) if way.most_pixels else 1
    found, singles = found if way.most_pixels else found[None], singles[:count]
    if found.shape != singles.shape or float((found == singles).mean()) < AGREEMENT:
        return False
    return way.precision == "float32" or _mean_iou_moved(found, singles, labels[:count]) <= SAME_MEAN_IOU


def _mean_iou_moved(found: NDArray[np.uint8], singles: NDArray[np.uint8], labels: Sequence[NDArray | None]) -> float:
    """By how much the mean IoU over some pictures differs; without labels, by about how much it could.

    For every labelling, two answers' IoU of a class differ by at most one less the IoU of the answers with each other: the
    Jaccard distance is a metric (Levandowsky & Winter, 1971, doi:10.1038/234034a0).
    """
    if any(label is None for label in labels):
        return 1 - _mean_iou(found, singles)
    truth = np.stack(labels)
    return abs(_mean_iou(found, truth) - _mean_iou(singles, truth))


def _mean_iou(found: NDArray[np.uint8], labels: NDArray) -> float:
    """Over the classes that are there; 1 where nothing is labelled."""
    hist = confusion_matrix(found, np.where(labels == IGNORE_INDEX, -1, labels), 256)
    there = hist.sum(1) > 0
    return float(scores(hist)[1][there].mean()) if there.any() else 1.0


def _label_map(answer: NDArray, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    if answer.shape != image.shape[1:] or answer.dtype != np.uint8:
        raise StudentError(f"expected a label map of shape {image.shape[1:]}, but got {answer.shape}", "shape.size")
    return answer
