"""What lies in watched folders: submissions, bulk exports, and what is still being copied.

Folders are looked at again and again. The kernel could tell of changes (inotify), but not of those that another machine makes on a
shared disk, nor when a copy has come to its end.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from autograder.handins.archives import kind_of, nature_of
from autograder.handins.bulk import BulkError, BulkSubmission, notes_of, of_before, write_handins
from autograder.handins.bulk.handins import looks_like_bulk
from autograder.handins.bulk.people import DECISIONS
from autograder.handins.bulk.unpacking import Problem
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
        held: What a person must decide or look at: in words.
        notes: What downloads say besides: how they were read, older files, what was granted.
        late: Who came late, by how much, and what it costs.
        other: What is no submission.
    """

    ready: dict[str, Path] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Export:
    """A download as it was read.

    Attributes:
        state: Listings of it, and of the tables that it was read with; empty: it is to be read at the next look.
        handins: Its submissions, or those of before where it could not be read.
        notes: What there is to say of it as a whole.
        usable: Whether it could be read.
    """

    state: str = ""
    handins: Sequence[BulkSubmission] = ()
    notes: Sequence[str] = ()
    usable: bool = False


class Inbox:
    """Watched places.

    Args:
        places: Folders, each of whose entries is a submission or an export; or exports (zips), which need not be there yet.
        assignment: Name of the assignment.
        out: Folder of the results; exports are taken apart below it.
        quiet: Seconds without a change after which a copy counts as complete.
        read_export: Takes an export apart below a folder: (zip, folder) -> its submissions, and notes.
        tables: What exports are read with: class list, extensions, ``decisions.csv``, rubric. When one changes, they are read again.
        clock: Seconds that only rise.
    """

    def __init__(
        self, places: Sequence[Path], assignment: str, out: Path, quiet: float,
        read_export: Callable[[Path, Path], tuple[list[BulkSubmission], list[str]]], tables: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.places, self.assignment, self.out, self.quiet = places, assignment, out, quiet
        self.read_export, self.tables, self.clock = read_export, [path.absolute() for path in tables], clock
        self._seen: dict[Path, tuple[str, float]] = {}  # path -> its listing, and since when it is so
        self._exports: dict[Path, _Export] = {}

    def look(self) -> Look:
        """Look once.

        Raises:
            OSError: An export could not be taken apart, for the disk is full.
        """
        found, claims, exports = Look(), dict[str, list[Path]](), list[Path]()
        for table in (*self.tables, *(folder / DECISIONS for place in self.places for folder in (place, place.parent))):
            if table.exists():
                self._settled(table)  # its time begins when it is seen, be there an export already or not
        for path in self._entries(found):
            if not self._settled(path):
                found.waiting[str(path)] = self._until_settled
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

    def at_rest(self, file: Path) -> str:
        """The listing of a file that has not changed for long enough; empty while it changes."""
        return self._seen[file][0] if self._settled(file) else ""

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
                elif not QUIET.match(path.name) and path.resolve() != self.out and path not in self._tables_of(path):
                    yield path

    def _tables_of(self, export: Path) -> list[Path]:
        return list(dict.fromkeys([*self.tables, export.parent / DECISIONS]))

    @property
    def _until_settled(self) -> str:
        return f"until it has not changed for {self.quiet:g} s"

    def _settled(self, path: Path) -> bool:
        """Whether it has not changed for long enough, by this process's own clock: those of other machines may be wrong."""
        now, state = self.clock(), listing(path)
        before, since = self._seen.get(path, ("", now))
        since = since if state == before else now
        self._seen[path] = (state, since)
        return now - since >= self.quiet

    def _of_exports(self, exports: list[Path], found: Look) -> dict[str, Path]:
        """Name -> submission in the newest export that has one of it. Only what is new is taken apart."""
        handins: dict[str, tuple[BulkSubmission, bool]] = {}
        holder: dict[str, Path] = {}  # name -> export
        exports = sorted(exports, key=lambda path: (path.stat().st_mtime_ns, path))
        self._exports = {path: self._exports.get(path, _Export()) for path in exports}
        for path in exports:
            state = self._state(path, found)
            if state and self._exports[path].state != state:
                self._exports[path] = self._take_apart(path, state)
            export = self._exports[path]
            refused = self._too_few(path, holder, found)
            taken = {handin.name: (handin, export.usable) for handin in export.handins if handin.name not in refused}
            handins, holder = handins | taken, holder | dict.fromkeys(taken, path)
        self._tell([handin for _, (handin, _) in sorted(handins.items())], found)
        return {name: handin.path for name, (handin, usable) in handins.items() if usable}

    def _too_few(self, path: Path, holder: Mapping[str, Path], found: Look) -> set[str]:
        """Names of a download that an earlier one has among more than twice as many: a student may have packed it, and named the files as
        the course system names another's."""
        names, refused = {handin.name for handin in self._exports[path].handins}, set[str]()
        for earlier in dict.fromkeys(holder[name] for name in names if name in holder):
            there = {handin.name for handin in self._exports[earlier].handins}
            if 2 * len(names & there) < len(there):
                refused |= {name for name in names & there if holder[name] == earlier}
        if refused:
            found.held.append(
                f"{path.name}: not taken of it: {', '.join(sorted(refused)[:8])}. An earlier download has them among more than twice as "
                "many, and a student can name files so. Download all hand-ins again, or remove the earlier one."
            )
        return refused

    def _state(self, export: Path, found: Look) -> str:
        """Listings of an export and of the tables that it is read with; empty while one of them is being written."""
        tables = [path for path in self._tables_of(export) if path.exists()]
        moving = [path for path in tables if not self._settled(path)]
        found.waiting |= {str(path): self._until_settled for path in moving}
        return "" if moving or str(export) in found.waiting else " ".join(self._seen[path][0] for path in (export, *tables))

    def _take_apart(self, export: Path, state: str) -> _Export:
        try:
            handins, notes = self.read_export(export, self._folder(export))
        except BulkError as error:
            again = isinstance(error.__cause__, OSError)  # a full disk, a share that went away
            return _Export("" if again else state, self._exports[export].handins, [Problem(str(error))])
        return _Export(state, handins, notes, usable=True)

    def _folder(self, export: Path) -> Path:
        return self.out / HANDINS / hashlib.sha256(os.fsencode(export)).hexdigest()[:12]

    def _tell(self, handins: list[BulkSubmission], found: Look) -> None:
        """Write the list of hand-ins, and say all that downloads say."""
        if handins:
            write_handins(handins, self.out / "handins.csv")
        lines = [line for path, export in self._exports.items() for line in notes_of(path.name, (), export.notes)]
        lines += notes_of("", handins, ())
        names = {handin.name for handin in handins}
        lines += [line for path in self._exports for line in of_before(self._folder(path), names, self.out)]
        found.held += [line for line in lines if isinstance(line, Problem)]
        found.notes += [line for line in lines if not isinstance(line, Problem)]
        found.late += [f"{one.name}: {_late_words(one)}" for one in handins if one.lateness]


def _late_words(handin: BulkSubmission) -> str:
    by = f"{handin.lateness} late" if handin.lateness != "late" else "late, by how much is unknown"
    return f"{by}; the rule takes {handin.penalty} off" if handin.penalty else by


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
