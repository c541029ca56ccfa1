"""One kind of progress bar for long work: letters, in a notebook as in a terminal, always on stdout.

Not ``tqdm.auto``: its widget is no part of a saved notebook, which shows an error in its place when it is opened again, and where
the notebook's front end has no widgets it stays at 0 %. And graded cells must not write to stderr, as it does twice.
"""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

__all__ = ["bar", "say"]


def bar(items: Iterable[Any] | None = None, *, show: bool = True, **options: object) -> tqdm:
    """Return a tqdm bar over ``items`` that writes to stdout.

    Args:
        items: what is iterated over; None for a bar that is moved by ``update``.
        show: False gives a silent bar with the same methods.
        **options: passed to tqdm (``desc``, ``total``, ``unit``, ``initial``).
    """
    return tqdm(items, disable=not show, file=sys.stdout, dynamic_ncols=True, **options)


def say(text: str) -> None:
    """Print a line on stdout; a bar that is being shown moves below it."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
