"""What differs between two plain values that code gave, in words: numbers, arrays, lists and dictionaries of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autograder.sandbox.capped import capped
from autograder.viva.maps import alike

__all__ = ["differ", "kind", "shown", "value_words"]

MOST_SHOWN = 40  # numbers of an array that is shown whole
MOST_SUMMED = 200  # numbers whose sum a person may think of
SHORT = 160  # characters of a value


def differ(before: Any, after: Any) -> bool:
    """Whether two values differ by more than rounding."""
    if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
        return before.dtype != after.dtype or not alike(before, after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() != after.keys() or any(differ(before[key], after[key]) for key in before)
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) != len(after) or any(differ(*pair) for pair in zip(before, after, strict=True))
    if isinstance(before, float) and isinstance(after, float):
        return not np.isclose(before, after, rtol=1e-4, equal_nan=True)
    return type(before) is not type(after) or bool(before != after)


def kind(value: Any) -> str:
    """What a value is."""
    if isinstance(value, np.ndarray):
        return f"an array {_shape(value)} of {value.dtype}"
    if value is None:
        return "None"
    if isinstance(value, Mapping):
        return capped(f"an object ({value['type']})", SHORT) if isinstance(value.get("type"), str) else f"a dictionary of {len(value)}"
    if isinstance(value, list | tuple):
        return f"{len(value)} values"
    return capped(f"{type(value).__name__} {value!r}", SHORT)


def _shape(array: NDArray[Any]) -> str:
    return f"({', '.join(map(str, array.shape))}{',' * (array.ndim == 1)})"


def shown(value: Any) -> str:
    """A small value in full, a larger one by what it is."""
    if isinstance(value, np.ndarray) and value.size <= MOST_SHOWN:
        return capped(np.array2string(value, precision=4, max_line_width=120), 1500)
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list | tuple) and len(value) <= 4:
        return "\n".join(shown(one) for one in value)
    return kind(value) if not isinstance(value, int | str) else capped(str(value), SHORT)


def value_words(before: Any, after: Any) -> str:
    """What differs, in words; empty where nothing does."""
    if not differ(before, after):
        return ""
    if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
        return _array_words(before, after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return _entries_words(before, after)
    if isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        return _list_words(before, after)
    if isinstance(before, bool | int | float) and isinstance(after, bool | int | float):
        return f"{shown(after)} in place of {shown(before)}"
    return f"{kind(after)} in place of {kind(before)}"


def _array_words(before: NDArray[Any], after: NDArray[Any]) -> str:
    if before.shape != after.shape:
        turned = ": rows and columns are exchanged" if np.array_equal(before.T, after) else ""
        return f"an array {_shape(after)} in place of {_shape(before)}{turned}"
    words = [] if before.dtype == after.dtype else [f"the type of the numbers is {after.dtype} in place of {before.dtype}"]
    one, other = before.astype(np.float64), after.astype(np.float64)
    if alike(one, other):
        return words[0]
    different = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    place = tuple(int(at) for at in np.argwhere(different)[0])
    at = f"[{', '.join(map(str, place))}]" if place else ""
    example = f"first at {at}, {after[place]:.5g} in place of {before[place]:.5g}" if place else f"{after:.5g} in place of {before:.5g}"
    words.append(f"{int(different.sum())} of {before.size} numbers differ ({example})" if before.size > 1 else example)
    return "; ".join([*words, *_named(one, other)])


def _named(one: NDArray[Any], other: NDArray[Any]) -> list[str]:
    """What the whole of two arrays has to do with each other."""
    found = []
    if one.ndim == 2 and one.shape[0] == one.shape[1] > 1 and np.allclose(one.T, other, equal_nan=True):
        found.append("rows and columns are exchanged")
    if np.isnan(other).sum() != np.isnan(one).sum():
        found.append(f"{int(np.isnan(other).sum())} are NaN, {int(np.isnan(one).sum())} before")
    elif one.size > 1 and not np.isnan(one).any():
        step = other - one
        if step.std() <= 1e-9 * max(1.0, float(np.abs(one).max())):
            found.append(f"all are {'larger' if step.flat[0] > 0 else 'smaller'} by {abs(step.flat[0]):.4g}")
        if one.size <= MOST_SUMMED:
            found.append(f"their sum is {other.sum():.5g}, {one.sum():.5g} before" if other.sum() != one.sum() else "their sum is the same")
    return found


def _list_words(before: Sequence[Any], after: Sequence[Any]) -> str:
    words = [(number, value_words(*pair)) for number, pair in enumerate(zip(before, after, strict=True), start=1)]
    told = [f"result {number}: {what}" for number, what in words if what]
    return "; ".join(told[:4]) + (f"; and {len(told) - 4} more" if len(told) > 4 else "")


def _entries_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before.keys() != after.keys():
        lost, new = ([str(key) for key in one if key not in other] for one, other in ((before, after), (after, before)))
        parts = [f"{', '.join(names[:4])}{', ...' * (len(names) > 4)} {word}" for names, word in ((lost, "lost"), (new, "new")) if names]
        return capped("; ".join(parts), 400)
    changed = [key for key in before if differ(before[key], after[key])]
    names = ", ".join(map(str, changed[:4])) + (", ..." if len(changed) > 4 else "")
    return capped(f"{len(changed)} of {len(before)} differ: {names}", 400)
