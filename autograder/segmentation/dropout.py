"""Read dropout off the output of a network in train mode.

Under the weights of the dropout probe the channels of the head's first layer give 1; half of its last repeats channels of the
first, the other half gives 1 of its own. A class sums 16 such channels with the weights 1, 2, 4, ...: its value is a number whose bits say
which channels survived, times the scale 1 / (1 - p) by which dropout makes up for the others. Six of the 16 give 0 before any
dropout, others for each submission, class and call: a mask that is made up, or is always the same, sets their bits too.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autograder.segmentation.probe import DROP_BITS, SILENT_BITS

__all__ = ["Dropout", "read_dropout"]

FULL = 2**DROP_BITS - 1
MOST_VALUES = 20_000  # different ones; a map of the probe has some dozens of cells


@dataclass(frozen=True)
class Dropout:
    """What was read.

    Attributes:
        problem: What is wrong, for the student; empty if nothing is.
        cause: Stable code.
        measured: The probabilities read, by layer.
    """

    problem: str = ""
    cause: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)


def _values(output: NDArray, channel: int) -> NDArray[np.float64]:
    """Different values of one class over the picture (plain Dropout draws anew at every position)."""
    values = np.unique(output[0, channel].astype(np.float64))
    return values[values > 0]  # beyond the last cell the probe's upsampling gives 0


def _scale(
    values: list[NDArray[np.float64]], silent: NDArray[np.int64], scales: NDArray[np.float64], usual: float
) -> float | None:  # fmt: skip
    """The likeliest scale under which all values are whole numbers of 16 bits, with the silent ones at 0.

    Args:
        values: What each class gave.
        silent: The number that the silent bits of each class make.
        scales: Scales to try; a channel survives with probability 1 / scale.
        usual: The scale of p = 0.5, given the benefit of a doubt.
    """
    best, likeliest = None, -np.inf
    silent = np.repeat(silent, [len(found) for found in values])
    joined = np.concatenate(values)
    if not 0 < len(joined) <= MOST_VALUES:
        return None
    for scale in scales:
        counts = joined / scale
        whole = np.rint(counts)
        if np.abs(counts - whole).max() > 0.02 or whole.max() > FULL or whole.min() < 0 or (whole.astype(np.int64) & silent).any():
            continue
        ones = sum(int(number).bit_count() for number in whole)
        zeros = (DROP_BITS - SILENT_BITS) * len(whole) - ones
        kept = min(1 / scale, 1 - 1e-6)
        likelihood = ones * np.log(kept) + zeros * np.log(1 - kept) + (4.0 if abs(scale - usual) < 1e-9 else 0.0)
        if likelihood > likeliest:
            best, likeliest = float(scale), likelihood
    return best


def read_dropout(output: NDArray, silent: NDArray[np.int64], head: tuple[str, str]) -> Dropout:
    """Judge the dropout of a network from its output in train mode under the dropout probe.

    Args:
        output: ``(1, n_class, H, W)``, n_class >= 4.
        silent: For each class the number that its silent bits make (see ``drop_silence``).
        head: Names of the two layers behind which dropout must be.
    """
    if output.ndim != 4 or output.shape[1] < 4 or not np.isfinite(output).all():
        text = "Dropout cannot be judged: that needs an output of finite scores (N, n_class, H, W)."
        return Dropout(text, "dropout.missing")
    rates, both_names = np.arange(0, 0.95, 0.05), " and ".join(head)
    scales = 1 / (1 - rates)
    read = [_values(output, channel) for channel in range(min(output.shape[1], len(silent)))]  # any further class reads nothing
    last = _scale(read[3:], silent[3 : len(read)], scales, 2.0)
    if last is None:
        text = (f"Dropout cannot be judged: in train mode the output holds other values than dropout after {both_names} can give. Get the "
                f"values right first; then have nn.Dropout2d(0.5) after the ReLUs of {both_names}, and nowhere else.")  # fmt: skip
        return Dropout(text, "dropout.missing")
    both = _scale(read[:3], silent[:3], scales * last, 2 * last)
    first = None if both is None else both / last
    found = {head[0]: None if first is None else round(1 - 1 / first, 2), head[1]: round(1 - 1 / last, 2)}
    missing = [name for name, rate in found.items() if rate == 0]
    if missing:
        text = f"Expected dropout with p = 0.5 after {both_names} in train mode, but found none after {' and '.join(missing)}."
        text += " Pass the map through nn.Dropout2d(0.5) behind the ReLU there."
        return Dropout(text, "dropout.missing", found)
    other = [f"p = {rate:g} after {name}" for name, rate in found.items() if rate is not None and abs(rate - 0.5) > 0.01]
    if other:
        return Dropout(f"Expected dropout with p = 0.5 after {both_names}, but found {' and '.join(other)}.", "dropout.p", found)
    if first is None:
        text = f"Dropout after {head[0]} cannot be judged from the output in train mode. Is it there, with p = 0.5?"
        return Dropout(text, "dropout.missing", found)
    return Dropout(measured=found)
