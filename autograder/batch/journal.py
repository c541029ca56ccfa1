"""The history of a folder of results: one JSON object per line, written to the disk before the run continues.

``{"do": "run", "regrade": ...}`` begins a run and ``{"do": "end"}`` ends a complete run. ``{"do": "graded"}`` holds a
finished submission: its name, the key under which the result holds, and the result. The last line of a name counts.
``{"do": "places"}`` says where submissions lay, for those that lay elsewhere or were not there before.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["JOURNAL", "Entry", "History", "Journal", "entries_by_name", "read_history"]

JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Entry:
    """A finished submission."""

    key: Mapping[str, Any]
    result: dict[str, Any]


@dataclass
class History:
    """What a journal tells.

    Attributes:
        latest: The last entry of each name.
        before: The entries as they were before an unfinished ``--regrade`` began; empty if there is none.
        again: Names that this unfinished regrade has graded.
        regrading: Whether the last run was a regrade that was not completed.
        places: Name -> where the submission was last read, from the folder of results on.
    """

    latest: dict[str, Entry] = field(default_factory=dict)
    before: dict[str, Entry] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    regrading: bool = False
    places: dict[str, str] = field(default_factory=dict)

    def take(self, record: Mapping[str, Any]) -> None:
        """Take one more line into account."""
        what = record.get("do")
        if what == "graded":
            self.latest[record["name"]] = Entry(record["key"], record["result"])
            self.again.add(record["name"])
        elif what == "places":
            self.places |= {str(name): str(place) for name, place in record["places"].items()}
        elif what == "run" and record.get("regrade"):
            if not self.regrading:
                self.before, self.again, self.regrading = dict(self.latest), set(), True
        elif what in ("run", "end"):
            self.before, self.again, self.regrading = {}, set(), False


class Journal:
    """The journal of a folder of results. Its writer holds the folder (``autograder.sandbox.locks.hold_folder``).

    Args:
        path: The file; made if it is not there. A last line that is incomplete after a kill or a power loss is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.ftruncate(self._file, content.rfind(b"\n") + 1)
        with contextlib.suppress(OSError):  # some network file systems do not support it
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the file's name must survive a power loss as well
            finally:
                os.close(folder)

    def history(self) -> History:
        """Read it. Unreadable lines (a damaged disk) are ignored, and their submissions are graded again."""
        return read_history(self.path)

    def append(self, do: str, **content: Any) -> None:
        """Append a line; it is on the disk when this returns.

        Raises:
            OSError: It could not be written (a full disk); the journal is as before.
        """
        line = json.dumps({"do": do, **content}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        size = os.fstat(self._file).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except BaseException:
            os.ftruncate(self._file, size)
            raise

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_history(path: Path) -> History:
    """What a journal tells; nothing where there is none."""
    history = History()
    with contextlib.suppress(FileNotFoundError):
        for record in _records(path):
            with contextlib.suppress(KeyError, TypeError, AttributeError):
                history.take(record)
    return history


def entries_by_name(path: Path) -> dict[str, list[Entry]]:
    """All entries of each name, in the order in which they were made. A run may be writing the file; nothing where there is none."""
    found: dict[str, list[Entry]] = {}
    with contextlib.suppress(FileNotFoundError):
        for record in _records(path):
            with contextlib.suppress(KeyError, TypeError, AttributeError):
                if record["do"] == "graded":
                    found.setdefault(record["name"], []).append(Entry(record["key"], record["result"]))
    return found


def _records(path: Path) -> Iterator[Any]:
    """The lines that can be read."""
    with path.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                yield json.loads(line)
