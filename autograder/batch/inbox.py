"""What lies in watched folders: submissions, bulk exports, and what is still being copied.

Folders are looked at again and again. The kernel could tell of changes (inotify), but not of those that another machine makes on a
shared disk, nor when a copy has come to its end.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from autograder.handins.archives import kind_of, nature_of
from autograder.handins.bulk import BulkError, BulkSubmission, write_handins
from autograder.handins.bulk.handins import looks_like_bulk
from autograder.handins.submission import QUIET, submission_names
from segkit.notebooks.files import ARCHIVES, is_notebook, is_script

__all__ = ["Inbox", "Look", "is_export", "listing"]

# names that browsers, sync programs and copies give to what is not there yet
UNFINISHED = re.compile(r"\.(part|partial|filepart|crdownload|download|opdownload|tmp|temp)$", re.IGNORECASE)
HANDINS = ".handins"


@dataclass
class Look:
    """What there is.

    Attributes:
        ready: Name -> the submission, unchanged for long enough.
        waiting: File or folder -> why it is not taken yet.
        held: What a person must decide: in words.
        other: What is no submission.
    """

    ready: dict[str, Path] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


class Inbox:
    """Watched places.

    Args:
        places: Folders, each of whose entries is a submission or an export; or exports (zips), which need not be there yet.
        assignment: Name of the assignment.
        out: Folder of the results; exports are taken apart below it.
        quiet: Seconds without a change after which a copy counts as complete.
        read_export: Takes an export apart below a folder: (zip, folder) -> its submissions, and notes.
        clock: Seconds that only rise.
    """

    def __init__(
        self, places: Sequence[Path], assignment: str, out: Path, quiet: float,
        read_export: Callable[[Path, Path], tuple[list[BulkSubmission], list[str]]], clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.places, self.assignment, self.out, self.quiet = places, assignment, out, quiet
        self.read_export, self.clock = read_export, clock
        self._seen: dict[Path, tuple[str, float]] = {}  # path -> its listing, and since when it is so
        self._exports: dict[Path, tuple[str, list[BulkSubmission], list[str]]] = {}  # path -> listing, submissions, faults

    def look(self) -> Look:
        """Look once.

        Raises:
            OSError: An export could not be taken apart, for the disk is full.
        """
        found, claims, exports = Look(), dict[str, list[Path]](), list[Path]()
        for path in self._entries(found):
            if not self._settled(path):
                found.waiting[str(path)] = f"until it has not changed for {self.quiet:g} s"
                exports += [path] if path in self._exports else []  # what it held before counts until then
            elif path in self.places or is_export(path):
                exports.append(path)
            elif path.is_dir() or _is_submission(path):
                claims.setdefault(submission_names([path], self.assignment)[path], []).append(path)
            else:
                found.other.append(str(path))
        for name, path in self._of_exports(exports, found).items():
            claims.setdefault(name, []).append(path)
        for name, paths in sorted(claims.items()):
            if len(paths) == 1:
                found.ready[name] = paths[0]
            else:
                where = ", ".join(map(str, paths))
                found.held.append(f"{name}: {len(paths)} submissions have this name ({where}). None is taken: rename or remove the others.")
        return found

    def _entries(self, found: Look) -> Iterator[Path]:
        """What lies in the places and is no file that a system left behind."""
        for place in self.places:
            if place.is_file():
                yield place
                continue
            try:
                entries = sorted(place.iterdir())
            except OSError as error:
                found.waiting[str(place)] = f"it cannot be read now ({error.strerror or error})"
                continue
            for path in entries:
                if UNFINISHED.search(path.name):
                    found.waiting[str(path)] = "until it has its final name"
                elif not QUIET.match(path.name) and path.resolve() != self.out:
                    yield path

    def _settled(self, path: Path) -> bool:
        """Whether it has not changed for long enough, by this process's own clock: those of other machines may be wrong."""
        now, state = self.clock(), listing(path)
        before, since = self._seen.get(path, ("", now))
        since = since if state == before else now
        self._seen[path] = (state, since)
        return now - since >= self.quiet

    def _of_exports(self, exports: list[Path], found: Look) -> dict[str, Path]:
        """Name -> submission in the newest export that has one of it. Only what is new is taken apart."""
        handins: dict[str, BulkSubmission] = {}
        self._exports = {path: known for path, known in self._exports.items() if path in exports}
        for path in sorted(exports, key=lambda path: (path.stat().st_mtime_ns, path)):
            state = self._seen[path][0]
            if str(path) not in found.waiting and self._exports.get(path, ("",))[0] != state:
                self._exports[path] = (state, *self._take_apart(path))
            _, submissions, faults = self._exports[path]
            found.held += faults
            handins |= {handin.name: handin for handin in submissions}
        if handins:
            write_handins([handins[name] for name in sorted(handins)], self.out / "handins.csv")
        return {name: handin.path for name, handin in handins.items()}

    def _take_apart(self, export: Path) -> tuple[list[BulkSubmission], list[str]]:
        folder = self.out / HANDINS / hashlib.sha256(os.fsencode(export)).hexdigest()[:12]
        try:
            return self.read_export(export, folder)[0], []
        except BulkError as error:
            return [], [f"{export.name}: {error}"]


def listing(path: Path) -> str:
    """Hash of names, sizes and times of a submission's files: equal as long as nobody writes to them."""
    files = [path] if not path.is_dir() else [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    digest = hashlib.sha256()
    for file in sorted(files):
        with suppress(OSError):  # removed at this moment: the next look differs
            status = file.lstat()
            digest.update(f"{file.relative_to(path)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def is_export(path: Path) -> bool:
    """Whether a file is a bulk download, be it of one student: most of its files are named as a course system names them."""
    return bool(looks_like_bulk(path, least=1))


def _is_submission(path: Path) -> bool:
    named = path.name.lower().endswith(ARCHIVES) or is_notebook(path) or is_script(path)
    return named or bool(kind_of(path)) or nature_of(path).endswith("archive")
