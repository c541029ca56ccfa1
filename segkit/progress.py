"""One kind of progress bar for long work: a widget in a notebook, text in a terminal, always on stdout.

Graded cells must not write to stderr, and ``tqdm.auto`` does so twice on a bare machine: the bar itself, and
a warning when the notebook has no widgets.
"""

import sys
import warnings
from collections.abc import Iterable
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

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
