"""Text from students is cut to a maximum length before it enters a result, and characters that cannot be printed are escaped."""

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

LINE, TOLD = 300, 1200  # characters of one line of a student's error text, and of all of it
MOST, WORD = 40, 200  # entries and characters among measured values

# control characters but for tab and line end, and marks that turn the direction of writing around
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{5,}|\d*\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\d{6,}")


def capped(text: str, most: int = MESSAGE) -> str:
    """A text of at most ``most`` characters; escapes such as ``\\x1b`` can make it a little longer."""
    text = shown(text, most)
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def told(text: str) -> str:
    """The error text of a student's code: few and short lines, and numbers with at most four digits.

    A network sees the hidden weights and pictures. Nobody may read values computed from them in an error text and copy them
    into the next hand-in. Whole numbers of up to five digits stay, since shapes and line numbers need them.
    """
    lines = [line if len(line) <= LINE else f"{line[: LINE - 3]}..." for line in text[: 8 * TOLD].split("\n")]
    text = "\n".join(lines)
    if len(text) > TOLD:
        text = f"{text[: TOLD // 2]}\n...\n{text[-TOLD // 2 :]}"  # what failed, and why
    return capped(_NUMBER.sub(_rounded, text), TOLD + 100)


def _rounded(found: re.Match[str]) -> str:
    number = found[0]
    if number[:2].lower() == "0x":
        return "0x..."  # an address
    mantissa = re.split("[eE]", number)[0]
    whole = mantissa.isdigit() and mantissa == number
    few = len(mantissa.replace(".", "").lstrip("0")) <= (5 if whole else 4)
    return number if few else f"{float(number):.4g}"


def measured_values(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Measured values as plain, finite and small data: other values become texts, and long lists are cut."""
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
