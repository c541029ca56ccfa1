"""Who has code that is nearly that of somebody else."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autograder.alike.fingerprints import Prints, grams, owned_attributes, tokens, winnowed
from autograder.alike.kept import Cell, Work

__all__ = ["LEAST", "SHARE", "Link", "Passage", "like_code"]

SHARE = 0.6
"""Of a cell's own fingerprints, so many must be another's too. Measured: docs/instructors.md."""

LEAST = 20
"""And at least so many of them: what is shorter, two people write alike."""

MOST_PASSAGES = 4


@dataclass(frozen=True)
class Passage:
    """A text with what is alike in it.

    Attributes:
        where: Where it stands.
        text: It.
        lines: Its lines, from 1, that are alike.
    """

    where: str
    text: str
    lines: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Link:
    """Two submissions of which something is nearly the same.

    Attributes:
        one, other: They.
        share: How much of it, from 0 to 1.
        passages: Both texts side by side, those with most in common first.
        says: What is the same, where there is no text to show.
    """

    one: str
    other: str
    share: float
    passages: tuple[tuple[Passage, Passage], ...] = ()
    says: str = ""


@dataclass(frozen=True)
class _Piece:
    """A cell of a submission with those of its fingerprints that are its own."""

    owner: int
    cell: Cell
    prints: Prints
    hashes: frozenset[int]


def like_code(works: Mapping[str, Work], starter: Sequence[str]) -> list[Link]:
    """Pairs of submissions of which one has a cell, or all of its code, nearly in common with the other.

    A fingerprint that two have counts whole, one that half of the class has not at all.

    Args:
        works: Name of a submission -> what was kept of it.
        starter: Code that counts for nobody: the release's cells, the course's solution.
    """
    names = list(works)
    pieces = _pieces(works, starter)
    holders: dict[int, set[int]] = defaultdict(set)
    for piece in pieces:
        for one in piece.hashes:
            holders[one].add(piece.owner)
    weights = {one: min(1.0, max(0.0, 1 - (len(owners) - 2) / (len(names) / 2))) for one, owners in holders.items()}
    best: dict[tuple[int, int], float] = {}
    for owner, hashes in _units(pieces):
        total, shared = sum(weights[one] for one in hashes), defaultdict[int, float](float)
        for one in hashes if total >= LEAST else ():
            for other in holders[one] if weights[one] else ():
                shared[other] += weights[one]
        for other, common in shared.items():
            if other != owner and common >= max(LEAST, SHARE * total):
                pair = (min(owner, other), max(owner, other))
                best[pair] = max(best.get(pair, 0.0), common / total)
    return [
        Link(names[one], names[other], share, tuple(_passages(one, other, pieces, weights)))
        for (one, other), share in sorted(best.items(), key=lambda item: (-item[1], item[0]))
    ]


def _pieces(works: Mapping[str, Work], starter: Sequence[str]) -> list[_Piece]:
    """The cells that are not as they were given, and what in them is not."""
    given = {text.strip() for text in starter}
    cells = [(owner, cell) for owner, work in enumerate(works.values()) for cell in work.cells if cell.text.strip() not in given]
    code, handed_out = [tokens(cell.text) for _, cell in cells], [tokens(text) for text in starter]
    owned = owned_attributes([*code, *handed_out])  # by all of them together: what one has renamed is open for everybody
    known = {one for piece in handed_out for one in grams(piece, owned).hashes.tolist()}
    pieces = []
    for (owner, cell), piece in zip(cells, code, strict=True):
        prints = winnowed(grams(piece, owned))
        pieces.append(_Piece(owner, cell, prints, frozenset(prints.hashes.tolist()) - known))
    return [piece for piece in pieces if piece.hashes]


def _units(pieces: Sequence[_Piece]) -> Iterator[tuple[int, frozenset[int]]]:
    """What is held against the others: each cell, and all that somebody wrote."""
    whole: dict[int, frozenset[int]] = defaultdict(frozenset)
    for piece in pieces:
        whole[piece.owner] |= piece.hashes
        yield piece.owner, piece.hashes
    yield from whole.items()


def _passages(one: int, other: int, pieces: Sequence[_Piece], weights: Mapping[int, float]) -> Iterator[tuple[Passage, Passage]]:
    """Cells of two submissions side by side, each of the first once, with the cell of the second that it is most like."""
    sides = [[piece for piece in pieces if piece.owner == owner] for owner in (one, other)]
    rows = []
    for left in sides[0]:
        common = [sum(weights[print_] for print_ in left.hashes & right.hashes) for right in sides[1]]
        if common and max(common) > 0:
            rows.append((max(common), left, sides[1][int(np.argmax(common))]))
    for _, left, right in sorted(rows, key=lambda row: -row[0])[:MOST_PASSAGES]:
        both = left.hashes & right.hashes
        yield _passage(left, both), _passage(right, both)


def _passage(piece: _Piece, both: frozenset[int]) -> Passage:
    lines: set[int] = set()
    for hash_, first, last in zip(piece.prints.hashes.tolist(), piece.prints.first, piece.prints.last, strict=True):
        if hash_ in both:
            lines.update(range(int(first), int(last) + 1))
    return Passage(piece.cell.where, piece.cell.text, frozenset(lines))
