"""Find and read a submission, however damaged. Nothing of it is executed here."""

import calendar
import errno
import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from autograder.leftovers import owned_prefix
from autograder.rubric import Rubric
from segkit.notebooks import Workbook, open_folder, own_files
from segkit.notebooks.reading import shown

__all__ = ["Checkpoint", "Submission", "SubmissionError", "file_sha256", "read_submission", "submission_names"]

MAX_FILES = 20_000
MAX_UNPACKED = 4 * 2**30
MAX_CHECKPOINT = 1200 * 2**20
RESERVED = ("index.html", "summary.csv", "handins.csv", "journal.jsonl", "regrade.csv")
CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt")


class SubmissionError(Exception):
    """The submission cannot be read at all: there is no such folder, or the zip is broken."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that belongs to a submission.

    Attributes:
        path: The file, or None if it was only named (``checkpoints.json``) and not found.
        sha256: Its hash.
        problem: Why there is no path.
    """

    path: Path | None
    sha256: str
    problem: str = ""


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
    _temporary: tempfile.TemporaryDirectory | None = field(default=None, repr=False)

    def close(self) -> None:
        """Remove the temporary copy of a zip."""
        if self._temporary is not None:
            self._temporary.cleanup()


# what zipfile answers to damage, encryption and unknown compression
UNPACKING_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, NotImplementedError, RuntimeError, EOFError, ValueError, SubmissionError,
)  # fmt: skip

# in a name: what separates folders, control characters, and what Python makes of bytes that are no UTF-8
UNPRINTABLE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_HASHES: dict[tuple, str] = {}


def file_sha256(path: Path) -> str:
    """Hash a file; files shared by hard links are read once per run."""
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _HASHES:
        with path.open("rb") as file:
            _HASHES[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _HASHES[key]


def submission_names(paths: Iterable[Path], assignment: str) -> dict[Path, str]:
    """Give every submission its name: the base name, or the parent's where that is the assignment's name or collides.

    Names can be printed and written as UTF-8, whatever bytes the files' names are.
    """
    paths = list(dict.fromkeys(paths))
    base = {path: path.name.removesuffix(".zip") for path in paths}
    names: dict[Path, str] = {}
    for path in paths:
        rivals = [other for other in paths if other != path and base[other] == base[path]]
        # a rival beside it (alice and alice.zip) has the same parent, whose name would say nothing
        collides = any(other.parent != path.parent for other in rivals)
        name = path.resolve().parent.name if base[path] == assignment or collides else base[path]
        name = UNPRINTABLE.sub("_", name).lstrip(".") or "submission"
        while name in names.values() or name in RESERVED:  # still the same: two parents of one name
            name += "_2"
        names[path] = name
    return names


# a name that no file can have here: too long, or the name of a folder or below a file
IMPOSSIBLE_NAMES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


def _unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack a zip's regular files below ``folder``; what would land elsewhere, or is no file, is left out and noted."""
    left_out, total = [], 0
    with zipfile.ZipFile(archive) as bundle:
        members = bundle.infolist()
        if len(members) > MAX_FILES:
            raise SubmissionError(f"{archive.name}: expected at most {MAX_FILES} files, but got {len(members)}.")
        for member in members:
            if not member.filename or member.is_dir():
                continue
            shown_name = f"{archive.name}: {shown(member.filename, 80)!r}"
            total += member.file_size
            if total > MAX_UNPACKED:
                raise SubmissionError(f"{archive.name}: expected at most 4 GiB unpacked; this zip holds more.")
            try:
                if not _unpack_member(bundle, member, folder):
                    left_out.append(f"{shown_name} is a link or lies outside of the folder: left out")
            except OSError as error:
                if error.errno not in IMPOSSIBLE_NAMES:
                    raise
                left_out.append(f"{shown_name} has a name that no file can have ({os.strerror(error.errno)}): left out")
    more = [f"{archive.name}: {len(left_out) - 20} more such files were left out"] if len(left_out) > 20 else []
    return left_out[:20] + more


def _unpack_member(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> bool:
    """Unpack one file; False, and nothing is written, if it would be a link or land outside of the folder."""
    target = (folder / member.filename).resolve()
    if not target.is_relative_to(folder.resolve()) or stat.S_ISLNK(member.external_attr >> 16):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with bundle.open(member) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 2**20)
    # keep the time: of two copies of a notebook the newest may count
    os.utime(target, (zip_time(member), zip_time(member)))
    return True


def zip_time(member: zipfile.ZipInfo) -> float:
    """Modification time of a zip's member, seconds since the epoch; 0 where the zip holds no date (month 0)."""
    try:
        return float(calendar.timegm((*member.date_time, 0, 0, 0)))
    except ValueError:
        return 0.0


def _root(folder: Path, rubric: Rubric) -> Path:
    """The folder that holds the work: a zip often wraps it in one more folder."""
    for _ in range(4):
        inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        if len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink():
            folder = inside[0]
        else:
            break
    return folder


def _find_checkpoint(folder: Path, name: str, notes: list[str]) -> Path | None:
    """``checkpoints/NAME.safetensors`` (or .pth, .pt), else the same file name anywhere else."""
    for suffix in CHECKPOINT_SUFFIXES:
        path = folder / "checkpoints" / f"{name}{suffix}"
        if path.is_file() and not path.is_symlink():
            return path
    for suffix in CHECKPOINT_SUFFIXES:
        for path in sorted(folder.rglob(f"{name}{suffix}")):
            if path.is_file() and not path.is_symlink():
                notes.append(f"{path.relative_to(folder).as_posix()} was taken as the checkpoint {name} (expected checkpoints/)")
                return path
    return None


def _named_checkpoints(folder: Path, notes: list[str]) -> dict[str, dict[str, Any]]:
    path = folder / "checkpoints.json"
    if not path.is_file() or path.is_symlink() or path.stat().st_size > 2**20:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        return {name: entry for name, entry in content.items() if isinstance(entry, dict)}
    except (ValueError, AttributeError, RecursionError) as error:
        notes.append(f"checkpoints.json cannot be read ({type(error).__name__}); expected the file `segkit submit` writes")
        return {}


def _by_hash(entry: dict[str, Any], root: Path | None) -> Checkpoint:
    """Find a named checkpoint below ``root`` by size and hash."""
    wanted, where = (shown(entry.get(key), 200) if isinstance(entry.get(key), str) else "" for key in ("sha256", "where"))
    wanted, size = wanted.lower(), entry.get("bytes") if type(entry.get("bytes")) in (int, float) else None
    if root is None:
        return Checkpoint(
            None, wanted, f"named in checkpoints.json (at {where!r}), but the grader was given no --checkpoints FOLDER to look in"
        )
    candidates = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix in CHECKPOINT_SUFFIXES]
    for path in candidates:
        if path.stat().st_size == size and file_sha256(path) == wanted:
            return Checkpoint(path, wanted)
    return Checkpoint(
        None, wanted, f"named in checkpoints.json (at {where!r}, {size} bytes, sha256 {wanted[:12]}...), but "
        f"{_in_its_place(where, candidates, root)}"
    )  # fmt: skip


def _in_its_place(where: str, candidates: list[Path], root: Path) -> str:
    """What lies where a named checkpoint should: nothing, or another file."""
    place = f"/{where.strip('/')}"
    found = [path for path in candidates if where.strip("/") and f"/{path.relative_to(root).as_posix()}".endswith(place)]
    if len(found) != 1:
        return "no such file lies where the grader was told to look: put it below the folder of --checkpoints and grade again"
    return (
        f"the file there is another one ({found[0].stat().st_size} bytes, sha256 {file_sha256(found[0])[:12]}...): was it trained on or "
        "saved anew after the hand-in? Put back the file that was handed in, or hand in again, and grade again"
    )


def _checkpoints(folder: Path, rubric: Rubric, root: Path | None, notes: list[str]) -> dict[str, Checkpoint]:
    named = _named_checkpoints(folder, notes)
    found = {}
    for name in rubric.checkpoints:
        path = _find_checkpoint(folder, name, notes)
        if path is not None and path.stat().st_size <= MAX_CHECKPOINT:
            found[name] = Checkpoint(path, file_sha256(path))
        elif path is not None:
            size = path.stat().st_size / 2**20
            found[name] = Checkpoint(None, "", f"{path.name} has {size:.0f} MiB; expected at most {MAX_CHECKPOINT // 2**20} MiB")
        elif name in named:
            found[name] = _by_hash(named[name], root)
    return found


def _hash(folder: Path, checkpoints: dict[str, Checkpoint]) -> str:
    digest = hashlib.sha256()
    for name in own_files(folder):
        digest.update(name.as_posix().encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(file_sha256(folder / name)))
    for name, checkpoint in sorted(checkpoints.items()):
        digest.update(f"{name}\0{checkpoint.sha256}".encode())
    return digest.hexdigest()


def read_submission(path: Path, name: str, rubric: Rubric, checkpoints_root: Path | None = None) -> Submission:
    """Read a submission.

    Args:
        path: A folder or a zip.
        name: Its name in the results.
        rubric: Which notebooks, cells and checkpoints belong to the assignment.
        checkpoints_root: Where checkpoints lie that were only named.

    Raises:
        SubmissionError: If there is nothing that can be read.
    """
    notes: list[str] = []
    temporary = None
    if path.is_dir():
        folder = path
    elif path.is_file():
        temporary = tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-submission-"))
        folder = Path(temporary.name)
        try:
            notes += _unpack(path, folder)
        except UNPACKING_ERRORS as error:
            temporary.cleanup()
            raise SubmissionError(
                f"{path.name} cannot be unpacked ({shown(str(error))}). Expected a folder or an intact zip, such as `python -m segkit "
                "submit` builds; ask for it again."
            ) from error
    else:
        raise SubmissionError(f"{path}: there is no such folder or zip.")
    folder = _root(folder, rubric)
    workbook = open_folder(folder, rubric.defines, rubric.notebooks)
    checkpoints = _checkpoints(folder, rubric, checkpoints_root, notes)
    notes = [*workbook.errors, *workbook.notes, *workbook.syntax_errors(), *notes]
    if not workbook.documents:
        notes.append(f"no notebook was found; expected {', '.join(rubric.notebooks)}")
    present = {PurePosixPath(document.name).name for document in workbook.documents}
    missing = [cell.grade_id for cell in rubric.cells if workbook.cell_of(cell.grade_id) is None]
    if workbook.documents and missing:
        notes.append(f"no cell with the grade id {', '.join(missing)} was found; the definitions were looked for by name")
    absent = [notebook for notebook in rubric.notebooks if notebook not in present]
    if workbook.documents and absent:
        notes.append(f"not among the files: {', '.join(absent)}")
    return Submission(name, folder, workbook, checkpoints, notes, _hash(folder, checkpoints), temporary)
