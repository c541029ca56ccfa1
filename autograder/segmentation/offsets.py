"""Find out where a student's network crops, from its output alone: measured offsets, not guesses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from autograder.segmentation.amount import enough, of_the_pictures_size
from autograder.segmentation.factors import measure_factors
from autograder.segmentation.shadow import Pieces, Shadow, crop
from autograder.segmentation.spec import Skip

__all__ = ["TOLERANCE", "Measurement", "Offset", "fits_cell_by_cell", "measure", "measure_against", "measure_paths"]

TOLERANCE = 1e-3
"""Largest difference, relative to the output's spread, that still counts as the same numbers."""

REACH = 160  # the maps of the paper's networks end before
MAX_CELLS = 2**27  # values: the work grows with the square of the coarse scores

Offset = tuple[int, int]


@dataclass(frozen=True)
class Measurement:
    """What the output of a network says of its crops.

    Attributes:
        offsets: Crop name (``output``, and those of the skips) -> (row, column) where it begins; absent if not measurable.
        view: How the output shows the logits: ``"logits"``, or what forward did to them (``"softmax"``, ``"argmax"``, ...).
        silent: Names of skips of which nothing arrives in the output.
        error: Largest difference to the expected logits, relative to their spread; NaN if they could not be composed.
        worst: (sample, class, row, column) of that difference.
        factors: Map of scores (``score``, and those of the skips) -> what it was multiplied by, where this alone explains the output.
    """

    offsets: Mapping[str, Offset]
    view: str = "logits"
    silent: tuple[str, ...] = ()
    error: float = float("nan")
    worst: tuple[int, ...] = field(default=())
    factors: Mapping[str, float] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        return self.error <= TOLERANCE


# what a student may have done to the logits: (how the output would look, the same for the reference)
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": lambda x: x,
    "softmax": lambda x: torch.softmax(x, dim=1),
    "log_softmax": lambda x: torch.log_softmax(x, dim=1),
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
}
# the same over dimensions of the picture or the batch: there a moved crop is not looked for
ELSEWHERE: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = tuple(
    (view, partial(function, dim=dim))
    for view, function in (("softmax", torch.softmax), ("log_softmax", torch.log_softmax)) for dim in (0, 2, 3)
)  # fmt: skip


def _error(found: Tensor, expected: Tensor) -> tuple[float, tuple[int, ...]]:
    """Largest difference relative to the spread, and where, on the part that both have."""
    rows, columns = min(found.shape[2], expected.shape[2]), min(found.shape[3], expected.shape[3])
    channels = min(found.shape[1], expected.shape[1])
    a, b = found[:, :channels, :rows, :columns], expected[:, :channels, :rows, :columns]
    if not a.numel():
        return float("nan"), ()
    difference = (a - b).abs()
    worst = int(difference.argmax())
    where = tuple(int(i) for i in np.unravel_index(worst, difference.shape))
    return float(difference.max() / b.std().clamp_min(1e-6)), where


def _agreement(found: Tensor, expected: Tensor) -> float:
    """Share of pixels in which a label map differs from the expected one; all of them where that one says too little."""
    found = found[:, 0] if found.dim() == 4 else found
    best = expected.argmax(dim=1)
    rows, columns = min(found.shape[1], best.shape[1]), min(found.shape[2], best.shape[2])
    best = best[:, :rows, :columns]
    return float((found[:, :rows, :columns] != best).float().mean()) if enough("values", best) else 1.0


def _search(residual: Callable[[Offset], float], rows: int, columns: int, first: Offset) -> tuple[Offset, float]:
    """Try the expected offset, then all others in its neighbourhood: maps of a student's sizes may have millions."""
    best, value = first, residual(first)
    if value <= TOLERANCE:
        return best, value
    for row in range(max(0, first[0] - REACH), min(rows, first[0] + REACH) + 1):
        for column in range(max(0, first[1] - REACH), min(columns, first[1] + REACH) + 1):
            candidate = residual((row, column))
            if candidate < value or value != value:
                best, value = (row, column), candidate
    return best, value


def _difference(found: Tensor, window: Tensor, scaled: bool) -> float:
    """Largest difference on the part that both have; ``scaled``: up to a factor for each image."""
    found = found[:, :, : window.shape[2], : window.shape[3]]
    if scaled:
        image = (1, 2, 3)
        factor = (found * window).sum(image, True) / (window * window).sum(image, True).clamp_min(1e-12)
        window = window * factor.clamp_min(0)
    return float((found - window).abs().max())


def _output_offset(found: Tensor, full: Tensor, first: Offset, scaled: bool = False) -> tuple[Offset, float]:
    """Where a one-channel output was cut from the uncropped map."""
    size = (min(found.shape[2], full.shape[2]), min(found.shape[3], full.shape[3]))
    spread = float((found if scaled else full).std().clamp_min(1e-6))

    def residual(offset: Offset) -> float:
        window = crop(full, offset, size)
        return _difference(found, window, scaled) / spread if window.numel() else float("inf")

    offset, error = _search(residual, full.shape[2] - size[0], full.shape[3] - size[1], first)
    return offset, error if enough("crop", crop(full, offset, size)) else float("inf")


def fits_cell_by_cell(found: Tensor, shadow: Shadow, score: Tensor, names: tuple[str, ...], offset: Offset) -> bool:
    """Whether an output is the upsampling of any scores at all where ``score`` has some, cut at an offset: the kinks between cells show
    where they lie.

    Dropout at test time gives every cell a factor of its own; only the geometry is left to see.
    """
    cells = score.shape[2] * score.shape[3]
    if cells * cells * 32**2 > MAX_CELLS:  # the values of basis
        return False
    basis = torch.eye(cells)[score.abs().amax((0, 1)).flatten() > 0].view(-1, 1, *score.shape[2:])
    columns = crop(shadow.raised(names, basis, 0), offset, found.shape[2:]).reshape(len(basis), -1).T.double()  # (pixels, cells)
    if len(columns) != found[0, 0].numel() or not enough("crop", found):
        return False
    pixels = found[:, 0].reshape(len(found), -1).T.double()  # (pixels, images)
    rest = pixels - columns @ (torch.linalg.pinv(columns) @ pixels)
    return float(rest.abs().max()) <= TOLERANCE * float(pixels.std())


def measure_paths(
    found: Tensor, shadow: Shadow, pieces: Pieces, expected: Mapping[str, Offset], scaled: bool = False
) -> tuple[dict[str, Offset], list[str]]:
    """Measure each crop on the class that shows it alone.

    Args:
        found: The output.
        shadow: The network it should be, given its layers.
        pieces: The score maps before any crop.
        expected: The rubric's offsets, tried first.
        scaled: Whether the coarse scores may have got a factor for each image (dropout at test time).

    Returns:
        Offsets by crop name as far as they can be measured, and the skips of which nothing arrives.
    """
    if scaled and float(found[:, :1].abs().max()) < 1e-6:
        return {}, []  # nothing of the coarse scores arrives: zeros would fit everywhere
    graph, score = shadow.graph, pieces["score"]
    if scaled and fits_cell_by_cell(found[:, :1], shadow, score, graph.ups, expected["output"]):
        output = expected["output"]
    else:
        # with skips the first class alone shows the coarse scores; without, the first three do, and position weights use one
        shown = slice(0, 1) if scaled or graph.skips else slice(0, 3)
        full = shadow.raised(graph.ups, score[:, :1], 0) if graph.skips else shadow.raised(graph.ups, score)[:, shown]
        output, error = _output_offset(found[:, shown], full, expected["output"], scaled)
        if error > TOLERANCE:
            return {}, []
    offsets, silent, target = {"output": output}, [], score[:, :1]
    for up in graph.upsamplings:
        target = shadow.upsample(up.layer, target, 0)
        if up.skip is None:
            continue
        channel = graph.channels[up.skip.layer]
        own = found[:, channel : channel + 1]
        if float(own.abs().max()) < 1e-6:
            silent.append(up.skip.name)
            continue
        offset, error = _skip_offset(own, up.skip, target.shape[2:], output, shadow, pieces, expected[up.skip.name], scaled)
        if error <= TOLERANCE:
            offsets[up.skip.name] = offset
    return offsets, silent


def _skip_offset(
    own: Tensor, skip: Skip, size: tuple[int, ...], output: Offset, shadow: Shadow, pieces: Pieces, first: Offset, scaled: bool = False
) -> tuple[Offset, float]:
    """Where a skip's score map was cut before it was added to a map of a size."""
    channel, steps = shadow.graph.channels[skip.layer], shadow.graph.above(skip.name)
    full = pieces[skip.name][:, channel : channel + 1]
    spread = own.std().clamp_min(1e-6)

    def window(offset: Offset) -> Tensor | None:
        x = crop(full, offset, size)
        if x.shape[2:] != size:
            return None
        return crop(shadow.raised(steps, x, channel), output, own.shape[2:])

    def residual(offset: Offset) -> float:
        x = window(offset)
        return float("inf") if x is None else _difference(own, x, scaled) / float(spread)

    offset, error = _search(residual, full.shape[2] - size[0], full.shape[3] - size[1], first)
    fits = error <= TOLERANCE and (shown := window(offset)) is not None and enough("crop", shown)
    return offset, error if fits else float("inf")


def _composed(output: Tensor, shadow: Shadow, pieces: Pieces, offsets: Mapping[str, Offset]) -> Tensor | None:
    size = tuple(output.shape[2:]) if output.dim() == 4 and output.shape[1] != 1 else tuple(output.shape[-2:])
    return shadow.compose(pieces, offsets, size)


def _through_views(found: Tensor, reference: Tensor) -> tuple[str, float, tuple[int, ...]] | None:
    """The view of the reference that an output agrees with, the largest difference and where; None if it agrees with none."""
    for view, apply in (*VIEWS.items(), *ELSEWHERE):
        shown = apply(reference)
        error, worst = _error(found, shown)
        if error <= TOLERANCE and enough("values", shown):
            return view, error, worst
    return None


def measure_against(output: np.ndarray, reference: Tensor, images: Sequence[int]) -> Measurement:
    """Measure how far the numbers of a network are from those of the reference.

    Args:
        output: What the network returned.
        reference: (N, C, H, W).
        images: Shape of the images, (N, 3, H, W), or of others of the output's size.
    """
    found = torch.from_numpy(np.ascontiguousarray(output))
    if not of_the_pictures_size(found, images, reference.shape[1]):
        return Measurement({})
    if found.dim() == 3 or not found.is_floating_point():
        return Measurement({}, "argmax", (), 0.0 if _agreement(found, reference) < 0.002 else float("nan"))
    view, error, worst = _through_views(found, reference) or ("logits", *_error(found, reference))
    return Measurement({}, view, (), error if enough("values", reference) else float("nan"), worst)


def measure(
    output: np.ndarray, shadow: Shadow, pieces: Pieces, expected: Mapping[str, Offset], images: Sequence[int]
) -> Measurement:  # fmt: skip
    """Measure the crops of a network, and how far its numbers are from the expected ones once the crops are allowed for.

    Nothing is confirmed by an output much smaller than the picture, and nothing by agreement with a constant (see ``amount.py``).

    Args:
        output: What the network returned for the probe images.
        shadow: The network it should be, given its layers.
        pieces: The shadow's score maps.
        expected: The rubric's offsets by crop name.
        images: Shape of the probe images, (N, 3, H, W).
    """
    found = torch.from_numpy(np.ascontiguousarray(output))
    reference = _composed(found, shadow, pieces, expected) if found.dim() >= 3 else None
    if not of_the_pictures_size(found, images, (pieces["score"] if reference is None else reference).shape[1]):
        return Measurement({})
    if found.dim() == 3 or not found.is_floating_point():
        # a label map: only the rubric's offsets can be confirmed
        ok = reference is not None and _agreement(found, reference) < 0.002
        return Measurement(dict(expected) if ok else {}, "argmax", (), 0.0 if ok else float("nan"))
    if reference is not None and (agreed := _through_views(found, reference)) is not None:
        view, error, worst = agreed
        return Measurement(dict(expected), view, (), error, worst)
    offsets, silent = measure_paths(found, shadow, pieces, expected)
    if "output" not in offsets:
        moved = _moved_behind_views(found, shadow, pieces, expected)
        if moved is not None:
            return moved
    scaled = None if all(name in offsets or name in silent for name in expected) else _scaled(found, shadow, pieces, expected, silent)
    if scaled is not None:
        return scaled
    allowed = {**expected, **offsets}
    composed = _composed(found, shadow, pieces, allowed)
    error, worst = (float("nan"), ()) if composed is None or not enough("values", composed) else _error(found, composed)
    return Measurement(offsets, "logits", tuple(silent), error, worst)


def _scaled(
    found: Tensor, shadow: Shadow, pieces: Pieces, expected: Mapping[str, Offset], silent: list[str]
) -> Measurement | None:  # fmt: skip
    """The same with a factor on some map of scores: its crop shows nevertheless."""
    fit = measure_factors(found, shadow, pieces, expected, tuple(silent))
    if fit is None:
        return None
    composed = _composed(found, shadow, fit.pieces, {**expected, **fit.offsets})
    if composed is None or not enough("values", composed) or _error(found, composed)[0] > 2 * TOLERANCE:
        return None
    plain = _composed(found, shadow, pieces, {**expected, **fit.offsets})
    assert plain is not None  # the same crops of maps of the same sizes fit together above
    error, worst = _error(found, plain)
    return Measurement(fit.offsets, "logits", tuple(silent), error, worst, fit.factors)


def _moved_behind_views(found: Tensor, shadow: Shadow, pieces: Pieces, expected: Mapping[str, Offset]) -> Measurement | None:
    """A softmax (or the like) and a moved output crop at once: search the output's offset under each view."""
    full = shadow.compose(pieces, {**expected, "output": (0, 0)}, (10**6, 10**6))
    if full is None:
        return None
    for view, apply in list(VIEWS.items())[1:]:
        shown = apply(full)
        if shown.shape[1] != found.shape[1]:
            continue
        offset, error = _output_offset(found, shown, expected["output"])
        if error <= TOLERANCE and enough("values", crop(shown, offset, tuple(found.shape[2:]))):
            return Measurement({**expected, "output": offset}, view, (), error)
    return None
