"""Which entries an exam consists of."""

from collections.abc import Iterable
from pathlib import Path

from autograder.selftest.entries import Entry, read_corpus
from autograder.selftest.generated import generate

__all__ = ["choose"]


def choose(folder: Path, source: Path, kinds: Iterable[str], only: Iterable[str] = (), every: int = 1) -> list[Entry]:
    """Entries of some kinds, and of some names where they are given.

    Args:
        folder: The assignment's folder.
        source: Folder of the source notebooks.
        kinds: Kinds, in the order wanted.
        only: Parts of names; empty for all.
        every: Of the generated mutants take one of so many.
    """
    corpus, only = read_corpus(folder), tuple(only)
    chosen: list[Entry] = []
    for kind in kinds:
        chosen += generate(corpus, source, every=every) if kind == "generated" else corpus.of_kind(kind)
    return [entry for entry in chosen if not only or any(part in entry.name for part in only)]
