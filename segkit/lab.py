"""What the first cell of a notebook takes: ``from segkit.lab import kit``.

That cell has to find the kit on a machine that has nothing yet, in three lines; so this one is short.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segkit.environment import Kit

__all__ = ["kit"]  # noqa: F822 - made by __getattr__


def __getattr__(name: str) -> "Kit":
    """Prepare the machine whenever ``kit`` is imported, so that the cell may be run again."""
    if name != "kit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from segkit.environment import prepare

    return prepare()
