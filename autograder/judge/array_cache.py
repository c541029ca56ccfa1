"""Arrays by key: what is the same for the whole class is computed once."""

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from autograder.sandbox.locks import file_lock
from segkit.atomic import DiskFullError, replacing

__all__ = ["ArrayCache"]

# what NumPy answers to a file that is missing, cut short or damaged
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


class ArrayCache:
    """Arrays by key, shared by the judges of a run.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a key, or None."""
        try:
            with np.load(self.folder / f"{key}.npz", allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except UNREADABLE:
            return None

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays under a key; whole or not at all.

        Raises:
            DiskFullError: There was no room for them.
        """
        with replacing(self.folder / f"{key}.npz") as partial, partial.open("wb") as file:
            np.savez(file, **cast(Any, arrays))  # no array has the name of np.savez's own argument

    def once(self, key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the arrays of a key, made where they are not there yet.

        Of several judges that ask at the same moment one makes them and the others wait; if it fails or dies, the next one
        makes them. Where there is no room to keep them they are returned all the same.
        """
        found = self.get(key)
        if found is not None:
            return found
        with file_lock(self.folder / f"{key}.lock"):
            found = self.get(key)
            if found is None:
                found = {name: np.asarray(array) for name, array in make().items()}
                # they count without a copy on disk; whoever writes the result will say that the disk is full
                with contextlib.suppress(DiskFullError):
                    self.put(key, found)
        return found
