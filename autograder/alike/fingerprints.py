"""Fingerprints of code that renaming, reordering, comments and other constants leave as they are.

Winnowing: S. Schleimer, D. Wilkerson, A. Aiken, "Winnowing: Local Algorithms for Document Fingerprinting", SIGMOD 2003,
doi:10.1145/872757.872770.
"""

import io
import keyword
import tokenize
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["GRAM", "WINDOW", "Prints", "Token", "grams", "owned_attributes", "tokens", "winnowed"]

GRAM = 12
"""Tokens of a fingerprint: nothing shorter is ever alike."""

WINDOW = 6
"""Of so many fingerprints in a row one is kept: what is alike over ``GRAM + WINDOW - 1`` tokens is found for certain."""

PASSED_OVER = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
)
ASSIGNS = frozenset({"=", "+=", "-=", "*=", "/=", "@="})


class Token(NamedTuple):
    """A word or sign: its kind as ``tokenize`` has it, its text, and its line, counted from 1."""

    kind: int
    text: str
    line: int


@dataclass(frozen=True)
class Prints:
    """Fingerprints of a text.

    Attributes:
        hashes: Their values, uint64.
        first, last: Lines of the text from which each is made, counted from 1.
    """

    hashes: NDArray[np.uint64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def tokens(source: str) -> list[Token]:
    """The tokens of a piece of Python, without comments, line ends and texts that stand alone (docstrings).

    Args:
        source: Code, however broken; it counts up to where it is no Python.
    """
    found, begins = [], True
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            alone = token.type == tokenize.STRING and begins
            begins = token.type in PASSED_OVER and token.type != tokenize.COMMENT
            if token.type not in PASSED_OVER and not alone:
                found.append(Token(token.type, token.string, token.start[0]))
    except (tokenize.TokenError, SyntaxError):
        pass
    return found


def owned_attributes(code: Iterable[Sequence[Token]]) -> frozenset[str]:
    """Attributes and methods that code names itself (``self.conv1 = ...``, ``def forward``): whoever copies can rename them."""
    owned = set()
    for piece in code:
        for before, word, after in zip(piece, piece[1:], [*piece[2:], Token(0, "", 0)], strict=False):
            if before.text in ("def", "class") or (before.text == "." and after.text in ASSIGNS):
                owned.add(word.text)
    return frozenset(owned)


def grams(code: Sequence[Token], owned: frozenset[str] = frozenset()) -> Prints:
    """The hashes of all runs of ``GRAM`` tokens, names and constants left open.

    Args:
        code: Tokens of a piece of code.
        owned: See ``owned_attributes``; other attributes are a library's, and keep their names.
    """
    words = list(_normal(code, owned))
    count = max(0, len(words) - GRAM + 1)
    numbers = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], dtype=np.uint64)
    lines = np.array([token.line for token in code], dtype=np.int64)
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(GRAM if count else 0):  # a polynomial modulo 2**64, each step mixed: its low bits alone are weak
        hashes = (hashes ^ numbers[place : place + count]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return Prints(hashes, lines[:count], lines[GRAM - 1 :][:count])


def winnowed(every: Prints) -> Prints:
    """Of every ``WINDOW`` successive hashes the smallest, of equal ones the rightmost: the fingerprints."""
    count = len(every.hashes)
    if not count:
        return every
    width = min(WINDOW, count)
    windows = np.lib.stride_tricks.sliding_window_view(every.hashes, width)[:, ::-1]
    kept = np.unique(np.arange(count - width + 1) + width - 1 - windows.argmin(axis=1))
    return Prints(every.hashes[kept], every.first[kept], every.last[kept])


def _normal(code: Sequence[Token], owned: frozenset[str]) -> Iterator[str]:
    """Words of which a renamed copy has the same: names are one placeholder, but for what a library calls its attributes."""
    before = ""
    for token in code:
        word = token.text
        if token.kind == tokenize.NUMBER:
            yield "0"
        elif token.kind == tokenize.STRING:
            yield "''"
        elif token.kind == tokenize.NAME and not keyword.iskeyword(word) and (before != "." or word in owned):
            yield "name"
        else:
            yield word
        before = word
