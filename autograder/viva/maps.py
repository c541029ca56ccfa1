"""How one map differs from another: not at all, moved, multiplied, raised by a number, or otherwise."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["alike", "map_words", "moved", "relation"]

Array = NDArray[np.floating]
TOLERANCE = 1e-4  # of the largest number
FAR = 0.6  # of a side: a map that was moved farther shows too little of what it was
MOST = 0.9  # of the pixels that both show must agree; at its border a network sees its own padding


def alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays hold the same, up to rounding; NaN is like NaN."""
    if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, rtol=1e-4, atol=TOLERANCE * _size(one), equal_nan=True))


def _size(array: NDArray[Any]) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 1.0


def moved(before: Array, after: Array) -> tuple[int, int] | None:
    """By how many rows down and columns to the right a map was moved; None where it is no moved one.

    Args:
        before: (H, W).
        after: (H, W).
    """
    height, width = before.shape
    limit = TOLERANCE * _size(before)
    if before.std() <= limit:
        return None
    found: list[tuple[float, int, int, int]] = []
    for dy in range(-int(height * FAR), int(height * FAR) + 1):
        for dx in range(-int(width * FAR), int(width * FAR) + 1):
            there, here = _overlap(before, -dy, -dx), _overlap(after, dy, dx)
            step = max(1, there.shape[0] // 8), max(1, there.shape[1] // 6)
            if np.mean(np.abs(there[:: step[0], :: step[1]] - here[:: step[0], :: step[1]]) <= limit) >= MOST - 0.15:
                same = float(np.mean(np.abs(there - here) <= limit))
                if same >= MOST and there.std() > limit:
                    found.append((same, -abs(dy) - abs(dx), dy, dx))
    return max(found)[2:] if found else None


def _overlap(array: Array, dy: int, dx: int) -> Array:
    """The part of a map that is still to be seen when it is moved by (-dy, -dx)."""
    height, width = array.shape
    return array[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]


def relation(before: Array, after: Array) -> str:
    """What became of a map of numbers (H, W), in words; empty where nothing did.

    Both have one shape.
    """
    if alike(before, after):
        return ""
    if np.isnan(after).sum() > np.isnan(before).sum():
        return "NaN in places"
    limit, spread = TOLERANCE * _size(before), float(after.std())
    if float(np.abs(after).max()) <= limit:
        return "0 everywhere"
    if spread <= limit:
        return f"{_number(float(after.flat[0]))} everywhere"
    if (shift := moved(before, after)) is not None and shift != (0, 0):
        return f"moved {_way(*shift)}"
    difference = after - before
    if float(difference.std()) <= limit:
        return f"{'raised' if difference.mean() > 0 else 'lowered'} by {_number(abs(float(difference.mean())))} everywhere"
    factor = float((before * after).sum() / max(float((before * before).sum()), 1e-30))
    if abs(factor) > 1e-6 and np.allclose(after, factor * before, atol=10 * limit * max(1.0, abs(factor))):
        return f"multiplied by {_number(factor)}"
    return "changed otherwise"


def _way(dy: int, dx: int) -> str:
    ways = [(dy, "down", "up"), (dx, "to the right", "to the left")]
    return " and ".join(f"{abs(by)} pixel{'s' * (abs(by) != 1)} {one if by > 0 else other}" for by, one, other in ways if by)


def _number(value: float) -> str:
    return f"{value:.3g}"


def map_words(before: NDArray[Any], after: NDArray[Any]) -> str:
    """What became of score maps (N, C, H, W) of one shape, class by class, and of the classes that win; empty where nothing did."""
    one, other = before[0].astype(np.float64), after[0].astype(np.float64)  # (C, H, W), of the first picture
    if alike(before, after):
        return ""
    groups: dict[str, list[int]] = {}
    for number, pair in enumerate(zip(one, other, strict=True)):
        groups.setdefault(relation(*pair), []).append(number)
    words = [f"of {_classes(numbers, len(one))}: {what or 'as before'}" for what, numbers in sorted(groups.items(), reverse=True)]
    share = float(np.mean(one.argmax(0) != other.argmax(0)))
    tail = f"{share:.0%} of the pixels get another class." if share else "No pixel gets another class."
    return f"Scores {'; '.join(words)}. {tail}"


def _classes(numbers: list[int], of: int) -> str:
    if len(numbers) == of:
        return "all classes"
    names = ", ".join(map(str, numbers[:6])) + (", ..." if len(numbers) > 6 else "")
    return f"class {names}" if len(numbers) == 1 else f"classes {names}"
