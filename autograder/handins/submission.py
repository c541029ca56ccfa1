"""Find and read a submission, even a damaged one. None of its code is executed here."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from autograder.course.rubric import Rubric
from autograder.handins.archives import OUTSIDE, ArchiveError, Budget, copy_tree, kind_of, may_hold_work, nature_of, unpack
from autograder.handins.checkpoints import Checkpoint, file_sha256, submitted_checkpoints
from autograder.sandbox.leftovers import owned_prefix
from segkit.checkpoint_files import has_checkpoint_name
from segkit.notebooks import FOREIGN, Workbook, open_folder, own_files
from segkit.notebooks.files import ARCHIVES, SPARE, enterable, is_notebook, is_script, shown_path, spare_files
from segkit.notebooks.reading import shown

__all__ = ["Checkpoint", "Submission", "SubmissionError", "file_sha256", "read_submission", "submission_names"]

MAX_ARCHIVES = 20  # inside of a submission
MAX_LEVELS = 2  # of archives in archives, the submission itself included
MAX_NAMED = 10
RESERVED = ("index.html", "summary.csv", "handins.csv", "journal.jsonl", "regrade.csv")
QUIET = re.compile(r"^(\..*|__MACOSX|Thumbs\.db|desktop\.ini)$", re.IGNORECASE)  # files that operating systems leave behind
ENDING = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)


class SubmissionError(Exception):
    """The submission cannot be read at all: there is no such folder, the archive is broken, or nothing in it is a notebook.

    Attributes:
        cause: Stable code: ``submission.unreadable``, ``submission.no_notebook`` or ``submission.empty``.
    """

    def __init__(self, message: str, cause: str = "submission.unreadable") -> None:
        super().__init__(message)
        self.cause = cause


@dataclass
class Submission:
    """What one student handed in.

    Attributes:
        name: Name in the results.
        folder: Where its files are (a temporary copy for a zip).
        workbook: Its notebooks and scripts.
        checkpoints: By name; absent where the student gave none.
        notes: What was repaired, ignored or missing.
        sha256: Hash of everything that can matter to a grade.
    """

    name: str
    folder: Path
    workbook: Workbook
    checkpoints: dict[str, Checkpoint]
    notes: list[str]
    sha256: str
    _temporary: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    def close(self) -> None:
        """Remove the temporary copy of a zip."""
        if self._temporary is not None:
            self._temporary.cleanup()


# in a name: what separates folders and lines, control characters, marks that turn the direction of writing around, and what Python
# makes of bytes that are no UTF-8
UNPRINTABLE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def submission_names(paths: Iterable[Path], assignment: str) -> dict[Path, str]:
    """Give every submission its name: the base name, or the parent's where that is the assignment's name or collides.

    Names can be printed and written as UTF-8, whatever bytes the files' names are.
    """
    paths = list(dict.fromkeys(paths))
    base = {path: ENDING.sub("", path.name) for path in paths}
    names: dict[Path, str] = {}
    for path in paths:
        rivals = [other for other in paths if other != path and base[other] == base[path]]
        # a rival in the same folder (alice and alice.zip) has the same parent, so the parent's name would not help
        collides = any(other.parent != path.parent for other in rivals)
        name = path.resolve().parent.name if base[path] == assignment or collides else base[path]
        name = UNPRINTABLE.sub("_", name).lstrip(".") or "submission"
        while name in names.values() or name in RESERVED:  # still the same: two parents of one name
            name += "_2"
        names[path] = name
    return names


def _root(folder: Path) -> Path:
    """The folder that holds the work: a zip often wraps it in one more folder."""
    for _ in range(4):
        inside = [path for path in folder.iterdir() if not QUIET.match(path.name)]
        if len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink():
            folder = inside[0]
        else:
            break
    return folder


def _hash(folder: Path, checkpoints: dict[str, Checkpoint], texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in [*own_files(folder), *spare_files(folder), *map(Path, texts)]:
        digest.update(path.as_posix().encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(file_sha256(folder / path)))
    for name, checkpoint in sorted(checkpoints.items()):
        digest.update(f"{name}\0{checkpoint.sha256}".encode())
    return digest.hexdigest()


class _Opening:
    """A submission while it is opened: its folder, or a temporary copy of it in which archives are unpacked."""

    def __init__(self, path: Path, rubric: Rubric, root: Path | None) -> None:
        self.path, self.rubric, self.checkpoints_root = path, rubric, root
        self.budget, self.levels = Budget(), MAX_LEVELS
        self.temporary: tempfile.TemporaryDirectory[str] | None = None
        self.unpacking: list[str] = []  # notes
        self.damaged: set[Path] = set()  # archives inside that cannot be unpacked
        self.left_out: dict[str, str] = {}  # name in an archive -> why it could not be unpacked
        self.folder = path

    def open(self) -> None:
        """Unpack it, if it is no folder.

        Raises:
            SubmissionError: It cannot be unpacked, or is not there.
        """
        if self.path.is_dir():
            return
        if not self.path.is_file():
            raise SubmissionError(f"{self.path}: there is no such folder or zip.")
        folder = self.folder = self._temporary()
        if not kind_of(self.path) and (is_script(self.path) or is_notebook(self.path)):  # a single file, and no folder around it
            copy_tree(self.path.parent, folder, [Path(self.path.name)], self.budget, self.path.name)
            return
        nature = nature_of(self.path)
        if nature not in ("", "a zip"):
            raise SubmissionError(self._no_notebook([f"{self.path.name} ({nature})"]), "submission.no_notebook")
        try:
            self._unpack(self.path, folder, self.path.name)
        except (ArchiveError, OSError) as error:
            raise SubmissionError(
                f"{self.path.name} cannot be unpacked ({shown(str(error), 600)}). Expected a folder or an intact zip, such as `python -m "
                "segkit submit` builds; ask for it again."
            ) from error
        self.levels -= 1

    def _temporary(self) -> Path:
        self.temporary = tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-submission-"))
        return Path(self.temporary.name)

    def _unpack(self, archive: Path, folder: Path, name: str) -> None:
        done = unpack(archive, folder, self.budget, name)
        self.unpacking += done.notes(name)
        self.left_out |= {member: why for member, why in done.left_out.items() if why != OUTSIDE}

    def read(self, name: str) -> Submission:
        """Read it. Archives in it are opened only while something of the assignment is missing."""
        while True:
            folder = _root(self.folder)
            notes: list[str] = []
            workbook = open_folder(folder, self.rubric.defines, self.rubric.notebooks)
            checkpoints = submitted_checkpoints(folder, self.rubric, self.checkpoints_root, workbook, self.left_out, notes)
            here = [one for one in checkpoints.values() if one.path or one.sha256 or one.packed]  # a link may stand beside an archive
            complete = len(here) == len(self.rubric.checkpoints) and not _undefined(workbook)
            if complete or self.levels == 0 or not self._open_archives():
                break
        self._refuse_nothing(folder, workbook)
        notes = [*workbook.errors, *workbook.notes, *workbook.syntax_errors(), *self.unpacking, *notes, *_absences(workbook, self.rubric)]
        return Submission(name, folder, workbook, checkpoints, notes, _hash(folder, checkpoints, workbook.texts_named()), self.temporary)

    def _open_archives(self) -> bool:
        """Unpack the archives inside of the submission, each into a folder of its name in a temporary copy; False if there are none."""
        self.levels -= 1
        archives = [p for p in _files(self.folder) if p not in self.damaged and may_hold_work(self.folder / p)][:MAX_ARCHIVES]
        if not archives:
            return False
        try:
            if self.temporary is None:
                folder = self._temporary()
                files = [path for path in _files(self.path) if _may_matter(self.path, path)]
                copy_tree(self.path, folder, files, self.budget, self.path.name)
                self.folder = folder
            opened = [self._open_archive(path) for path in archives]  # all of them, also after one was opened
            return any(opened)
        except (ArchiveError, OSError) as error:
            self.unpacking.append(f"the archives in {self.path.name} were not opened: {shown(str(error))}")
            return False

    def _open_archive(self, path: Path) -> bool:
        archive, name = self.folder / path, shown_path(path)
        place = archive.with_name(f"{archive.name}.unpacked.zip")
        try:
            place.mkdir()
            self._unpack(archive, place, name)
        except ArchiveError as error:
            self.unpacking.append(f"{name} cannot be unpacked ({error})")
            self.damaged.add(path)
            shutil.rmtree(place, ignore_errors=True)
            return False
        archive.unlink()
        if archive.name.lower().endswith(ARCHIVES):
            place.rename(archive)
        return True

    def _refuse_nothing(self, folder: Path, workbook: Workbook) -> None:
        """Refuse a submission in which nothing of the assignment can be read, so that it gets no zero.

        Raises:
            SubmissionError: It is one.
        """
        ids = {*self.rubric.defines, *(check.id.replace(".", "-") for check in self.rubric.checks.values() if check.manual)}
        known = any(document.grade_ids & ids for document in workbook.documents)
        if known or len(_undefined(workbook, stubs=False)) < len(self.rubric.cells):
            return
        files = list(_files(folder))
        if not files:
            raise SubmissionError(
                f"Nothing was handed in: {self.path.name} is empty. Expected {', '.join(self.rubric.notebooks)}; ask for it again.",
                "submission.empty",
            )
        unusable = [path for path in files if nature_of(folder / path) or kind_of(folder / path)]
        if workbook.documents and not unusable and not workbook.errors:
            return  # all of it is readable, but it is other work: each check reports what it misses
        named = [f"{shown_path(path)}{f' ({nature})' if (nature := nature_of(folder / path)) else ''}" for path in [*unusable, *files]]
        cause = "submission.unreadable" if workbook.errors else "submission.no_notebook"
        raise SubmissionError(self._no_notebook(list(dict.fromkeys(named)), [*workbook.errors, *self.unpacking]), cause)

    def _no_notebook(self, files: list[str], reasons: Iterable[str] = ()) -> str:
        more = f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else ""
        why = "".join(f"\n{reason}" for reason in list(reasons)[:MAX_NAMED])
        return (
            f"No notebook of the assignment was found, only {', '.join(files[:MAX_NAMED])}{more}. Expected "
            f"{', '.join(self.rubric.notebooks)}, in a folder or a zip, such as `python -m segkit submit` builds; ask for them again.{why}"
        )


def _files(folder: Path) -> Iterator[Path]:
    """Plain files of a submission that can matter, relative to it; nothing hidden, no links, no environments, nothing of the release."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if name not in FOREIGN - SPARE and enterable(here / name))
        for name in sorted(files):
            if not QUIET.match(name) and not (here / name).is_symlink() and (here / name).is_file():
                yield (here / name).relative_to(folder)


def _may_matter(folder: Path, path: Path) -> bool:
    """Whether a file belongs in a temporary copy; the thousand pictures of the data do not."""
    inside = not SPARE.isdisjoint(path.parts[:-1])
    file = folder / path
    return not inside or is_script(file) or has_checkpoint_name(file) or is_notebook(file) or bool(kind_of(file)) or not file.suffix


def _undefined(workbook: Workbook, stubs: bool = True) -> list[str]:
    """Names of the assignment that nothing defines; those that are stubs too, if asked."""
    found = {name: workbook.find(name) for name in workbook.cells.values()}
    return [name for name, definition in found.items() if definition is None or (stubs and definition.unfinished)]


def _absences(workbook: Workbook, rubric: Rubric) -> list[str]:
    """Notes on cells and notebooks that are not there."""
    present = {PurePosixPath(document.name).name for document in workbook.documents}
    missing = [cell.grade_id for cell in rubric.cells if workbook.cell_of(cell.grade_id) is None]
    absent = [notebook for notebook in rubric.notebooks if notebook not in present]
    notes = []
    if missing:
        notes.append(f"no cell with the grade id {', '.join(missing)} was found; the definitions were looked for by name")
    if absent:
        notes.append(f"not among the files: {', '.join(absent)}")
    return notes


def read_submission(path: Path, name: str, rubric: Rubric, checkpoints_root: Path | None = None) -> Submission:
    """Read a submission.

    Args:
        path: A folder, an archive, or a single notebook.
        name: Its name in the results.
        rubric: Which notebooks, cells and checkpoints belong to the assignment.
        checkpoints_root: Where checkpoints lie that were only named.

    Raises:
        SubmissionError: If there is nothing that can be read.
    """
    opening = _Opening(path, rubric, checkpoints_root)
    try:
        opening.open()
        return opening.read(name)
    except BaseException:
        if opening.temporary is not None:
            opening.temporary.cleanup()
        raise
