"""What a graded submission may have left behind: processes, files, a changed submission."""

import hashlib
import os
import tempfile
import time
from pathlib import Path

__all__ = ["Traces"]


class Traces:
    """A context after which whatever grading left behind can be found.

    Workers that start anew get their scratch folders in one place; those of forked workers lie in the run's own.

    Args:
        place: Folder of one entry; the submission lies in ``work/`` below it.
        nest: Folder of the scratch folders of forked workers, or None.

    Attributes:
        found: After the context: what was left, in words.
    """

    def __init__(self, place: Path, nest: Path | None = None) -> None:
        self.place, self.scratch, self.nest = place, place / "scratch", nest
        self.found: list[str] = []

    def __enter__(self) -> "Traces":
        self.scratch.mkdir()
        self.scratch.chmod(0o755)
        self._before, self._processes = _digest(self.place / "work"), _below_this_one()
        self._tempdir, tempfile.tempdir = tempfile.tempdir, str(self.scratch)
        return self

    def __exit__(self, *_: object) -> None:
        tempfile.tempdir = self._tempdir
        left = sorted(path.name for path in [*self.scratch.iterdir(), *(self.nest.glob("worker-*") if self.nest else ())])
        if left:
            self.found.append(f"left behind in the scratch folder: {', '.join(left[:5])}")
        if _digest(self.place / "work") != self._before:
            self.found.append("the submission was changed while it was graded")
        alive = self._alive()
        if alive:
            time.sleep(1)  # a killed process may take a moment to go
            alive = self._alive()
        if alive:
            self.found.append(f"processes left behind: {', '.join(alive[:5])}")

    def _alive(self) -> list[str]:
        new = _below_this_one() - self._processes
        return [*_processes(str(self.place)), *(f"{number} {_name(number)}" for number in sorted(new))]


def _below_this_one() -> set[int]:
    """Numbers of all living processes below this one."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            below.setdefault(int(parent), []).append(int(folder.name))
    found, left = set(), [os.getpid()]
    while left:
        children = below.get(left.pop(), [])
        found.update(children)
        left += children
    return found


def _name(number: int) -> str:
    try:
        return Path("/proc", str(number), "comm").read_text().strip()
    except OSError:
        return "?"


def _digest(folder: Path) -> str:
    """Hash of names, types and contents below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0")
        if path.is_symlink():
            digest.update(os.fsencode(os.readlink(path)))
        elif path.is_file():
            digest.update(str(path.stat().st_size).encode())
            if path.stat().st_size < 2**24:
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _processes(text: str) -> list[str]:
    """Processes whose environment or command line names a folder (workers carry their scratch folder in both)."""
    found, needle = [], text.encode()
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            if needle in (folder / "environ").read_bytes() or needle in (folder / "cmdline").read_bytes():
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append(f"{folder.name} {(folder / 'comm').read_text().strip()}")
        except OSError:
            continue  # it ended, or is not ours to read
    return found
