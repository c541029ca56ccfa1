"""What a student wrote is cut to a size where it enters a result: nothing behind this is longer than it says, or not printable."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from segkit.notebooks.reading import shown

__all__ = ["MESSAGE", "REPORT", "capped", "measured_values", "told"]

REPORT = 10_000
"""Characters of all that one check says."""

MESSAGE = 2000
"""Characters of one message of a check."""

LINE, TOLD = 300, 1200  # of what a student's code says when it fails: one line, and all of it
MOST, WORD = 40, 200  # entries and characters among measured values

# control characters but for tab and line end, and marks that turn the direction of writing around
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{5,}|\d*\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\d{6,}")


def capped(text: str, most: int = MESSAGE) -> str:
    """A text of at most so many characters, and a few more where some had to be written as ``\\x1b``."""
    text = shown(text, most)
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def told(text: str) -> str:
    """What a student's code says when it fails: short lines, few of them, and no number to more than four digits.

    A network knows the hidden weights and pictures; what it computes from them must not be read off its error and written into
    the next hand-in. Whole numbers of up to five digits stay: shapes and lines.
    """
    lines = [line if len(line) <= LINE else f"{line[: LINE - 3]}..." for line in text[: 8 * TOLD].split("\n")]
    text = "\n".join(lines)
    if len(text) > TOLD:
        text = f"{text[: TOLD // 2]}\n...\n{text[-TOLD // 2 :]}"  # what failed, and why
    return capped(_NUMBER.sub(_rounded, text), TOLD + 100)


def _rounded(found: re.Match) -> str:
    number = found[0]
    if number[:2].lower() == "0x":
        return "0x..."  # an address
    mantissa = re.split("[eE]", number)[0]
    whole = mantissa.isdigit() and mantissa == number
    few = len(mantissa.replace(".", "").lstrip("0")) <= (5 if whole else 4)
    return number if few else f"{float(number):.4g}"


def measured_values(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Measured values as plain, finite and small data: what is no number is a word, and long lists are cut."""
    return {capped(str(key), WORD): _plain(value) for key, value in list((found or {}).items())[:MOST]}


def _plain(value: Any, depth: int = 0) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Mapping) and depth < 3:
        return {capped(str(key), WORD): _plain(item, depth + 1) for key, item in list(value.items())[:MOST]}
    if isinstance(value, (list, tuple)) and depth < 3:
        return [_plain(item, depth + 1) for item in value[:MOST]]
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int):
        return f"a whole number of {value.bit_length()} bits"
    return capped(value if isinstance(value, str) else repr(value), WORD)
