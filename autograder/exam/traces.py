"""What a graded submission may have left behind: processes, files, a changed submission, changes outside of its walls."""

import hashlib
import os
import site
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import segkit

__all__ = ["NAMES", "Traces", "targets"]

# Files that attacks try to leave where a grader, pytest or Python would take them up.
NAMES = ("result.json", "conftest.py", "pytest.ini", "sitecustomize.py", "evil.py", "gradebook.db", "segkit-exam-evil")


def targets() -> list[Path]:
    """What attacks of a corpus try to write on this machine, by name; not looked for below the entry's own folder."""
    packages = [Path(folder) for folder in site.getsitepackages()]
    code = [*packages, *(folder / "torch" for folder in packages), *map(Path, segkit.__path__), Path(os.__file__).parent]
    here = [Path("/tmp"), Path.cwd(), Path.cwd().parent, *code]
    output = os.environ.get("GITHUB_OUTPUT")
    single: list[str | Path] = ["/srv/evil", "/etc/passwd", "/github/output", Path.home() / ".bashrc", *([output] if output else [])]
    return [*(folder / name for folder in here for name in NAMES), *map(Path, single)]


class Traces:
    """A context after which whatever grading left behind can be found.

    Workers that start anew get their scratch folders in one place; those of forked workers lie in the run's own.

    Args:
        place: Folder of one entry; the submission lies in ``work/`` below it.
        nest: Folder of the scratch folders of forked workers, or None.
        watched: Files and folders that must be as before; ``targets()`` are watched in any case.
        kept: Folders of caches: arrays may come, those that are there must stay as they are.

    Attributes:
        found: After the context: what was left, in words.
    """

    def __init__(self, place: Path, nest: Path | None = None, watched: Iterable[Path] = (), kept: Iterable[Path] = ()) -> None:
        self.place, self.scratch, self.nest = place, place / "scratch", nest
        self.watched, self.kept = [*targets(), *watched], tuple(kept)
        self.found: list[str] = []

    def __enter__(self) -> "Traces":
        self.scratch.mkdir()
        self.scratch.chmod(0o755)
        self._before, self._processes = _digest(self.place / "work"), _below_this_one()
        self._nested_before = self._nested()
        self._arrays = [path for folder in self.kept for path in sorted(folder.glob("*.npz"))]
        self._outside = self._look_outside()
        self._tempdir, tempfile.tempdir = tempfile.tempdir, str(self.scratch)
        return self

    def __exit__(self, *_: object) -> None:
        tempfile.tempdir = self._tempdir
        left = sorted(path.name for path in {*self.scratch.iterdir(), *self._nested()} - self._nested_before)
        if left:
            self.found.append(f"left behind in the scratch folder: {', '.join(left[:5])}")
        if _digest(self.place / "work") != self._before:
            self.found.append("the submission, or what lies beside it, was changed while it was graded")
        now = self._look_outside()
        changed = [str(path) for path, state in self._outside.items() if now[path] != state]
        if changed:
            self.found.append(f"changed outside of the walls: {', '.join(changed[:5])}")
        alive = self._alive()
        if alive:
            time.sleep(1)  # a killed process may take a moment to go
            alive = self._alive()
        if alive:
            self.found.append(f"processes left behind: {', '.join(alive[:5])}")

    def _nested(self) -> set[Path]:
        return set(self.nest.iterdir()) if self.nest else set()

    def _look_outside(self) -> dict[Path, str]:
        """State of what must be as before: all that is watched, and the arrays that were there at the first look."""
        return {path: _state(path) for path in [*self.watched, *self._arrays]}

    def _alive(self) -> list[str]:
        new = _below_this_one() - self._processes
        return [*_processes(str(self.place)), *(f"{number} {_name(number)}" for number in sorted(new))]


def _state(path: Path) -> str:
    """A folder's contents; a file's kind, size and times, among them that of the last change, which nobody can set."""
    try:
        status = path.lstat()
    except OSError:
        return "absent"
    if path.is_dir() and not path.is_symlink():
        return _digest(path)
    return f"{status.st_ino} {status.st_mode} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


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
            digest.update(os.fsencode(os.readlink(path)))  # noqa: PTH115 - a Path would tidy the target
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
