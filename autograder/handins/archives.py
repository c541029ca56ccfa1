"""Unpack what students hand in: zip, tar, and what is packed with gzip, bzip2 or xz. Archives are known by their content.

Nothing lands outside of the folder, no link is made, and all archives of a submission share one budget of files and bytes.
"""

import bz2
import calendar
import contextlib
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from segkit.atomic import disk_is_full
from segkit.checkpoint_files import Modest, is_torch_zip
from segkit.notebooks.reading import shown

__all__ = [
    "IMPOSSIBLE_NAMES", "OUTSIDE", "UNPACKING_ERRORS", "ArchiveError", "Budget", "Unpacked", "copy_tree", "cut_off", "kind_of",
    "may_hold_work", "nature_of", "open_zip", "unpack", "zip_time",
]  # fmt: skip

MAX_FILES = 20_000
MAX_UNPACKED = 4 * 2**30
MAX_LISTED = 20
CHUNK = 2**20

# what zipfile and tarfile raise for damage, encryption and unknown compression
UNPACKING_ERRORS = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, OSError, NotImplementedError, RuntimeError, EOFError, ValueError,
)  # fmt: skip

# errors for a name that no file can have here: too long, the name of a folder, or below a file
IMPOSSIBLE_NAMES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}

PACKED: dict[str, Callable[..., Any]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
DEFLATE64 = 9

MAGIC = (
    (b"PK\3\4", "zip"), (b"PK\5\6", "zip"), (b"PK\7\x08PK\3\4", "zip"), (b"\x1f\x8b\x08", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"),
)  # fmt: skip
NATURES = (
    (b"Rar!\x1a\x07", "a RAR archive"), (b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"), (b"<", "a web page"), (b"version https://git-lfs", "a Git LFS pointer"),
    (b"\x89PNG", "a picture"), (b"\xff\xd8\xff", "a picture"),
)  # fmt: skip

OFFICE = "[Content_Types].xml"
WORK = re.compile(r"\.(ipynb|pyw?|safetensors|pth?|ckpt|zip|tar|t?gz|bz2|xz)\b", re.IGNORECASE)
PICTURE = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)


class ArchiveError(Exception):
    """An archive cannot be unpacked, or holds too much. The text says why."""


@dataclass
class Budget:
    """What may still be unpacked for one submission, whatever the number of its archives."""

    files: int = field(default_factory=lambda: MAX_FILES)
    bytes: int = field(default_factory=lambda: MAX_UNPACKED)

    def take(self, name: str, files: int, size: int) -> None:
        """Spend some of it.

        Raises:
            ArchiveError: There is not so much left.
        """
        if files > self.files:
            raise ArchiveError(f"{name}: expected at most {MAX_FILES} files, but got {MAX_FILES - self.files + files}.")
        if size > self.bytes:
            raise ArchiveError(f"{name}: expected at most {MAX_UNPACKED / 2**30:g} GiB unpacked; it holds more.")
        self.files, self.bytes = self.files - files, self.bytes - size


@dataclass
class Unpacked:
    """What became of the files of an archive.

    Attributes:
        left_out: Name in the archive -> why this file is not there.
        count: How many files are there.
    """

    left_out: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def notes(self, name: str) -> list[str]:
        """One line for each of the first files that were left out."""
        lines = [f"{name}: {shown(member, 80)!r} {why}" for member, why in list(self.left_out.items())[:MAX_LISTED]]
        more = len(self.left_out) - MAX_LISTED
        return [*lines, f"{name}: {more} more such files were left out"] if more > 0 else lines


def kind_of(path: Path) -> str:
    """``"zip"``, ``"tar"``, ``"gzip"``, ``"bzip2"`` or ``"xz"`` by a file's first bytes; empty for all else.

    A zip that is a document of another kind (weights of torch, arrays of NumPy, an Office document) is none.
    """
    with contextlib.suppress(*UNPACKING_ERRORS):
        with path.open("rb") as file:
            head = file.read(262)
        kind = next((kind for magic, kind in MAGIC if head.startswith(magic)), "tar" if head[257:] == b"ustar" else "")
        if kind == "zip":
            with open_zip(path) as bundle:
                return "" if _is_document(bundle.namelist()) else kind
        return kind
    return ""


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose table of contents is of a reasonable size; one that was cut off is called that."""
    if why := cut_off(path):
        raise zipfile.BadZipFile(f"it {why}")
    with path.open("rb") as file, zipfile.ZipFile(Modest(file)) as bundle:
        yield bundle


def cut_off(path: Path) -> str:
    """What is wrong with a zip whose end is missing, in words; empty for any other file."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(4) in (b"PK\3\4", b"PK\7\x08") and not zipfile.is_zipfile(file):
            return f"is cut off: it begins as a zip, and ends after {path.stat().st_size} bytes without the list of its files"
    return ""


def _is_document(names: list[str]) -> bool:
    return is_torch_zip(names) or OFFICE in names or (bool(names) and all(name.endswith(".npy") for name in names))


def may_hold_work(path: Path) -> bool:
    """Whether a file is an archive that may hold notebooks, scripts or checkpoints: a zip of pictures does not.

    One that was cut off may have held them, so that it is tried, and named.
    """
    if kind_of(path) != "zip":
        return bool(kind_of(path)) or (path.suffix.lower() == ".zip" and bool(cut_off(path)))
    with open_zip(path) as bundle:
        names = bundle.namelist()
    return any(map(WORK.search, names)) or not any(map(PICTURE.search, names))


def nature_of(path: Path) -> str:
    """The kind of a file that cannot be used, in words: ``"a RAR archive"``; empty if it is not known."""
    with contextlib.suppress(*UNPACKING_ERRORS):
        with path.open("rb") as file:
            head = file.read(32)
        if head.startswith(b"PK"):
            with open_zip(path) as bundle:
                return "an Office document" if OFFICE in bundle.namelist() else "a zip"
        return next((nature for magic, nature in NATURES if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(magic)), "")
    return ""


def unpack(archive: Path, folder: Path, budget: Budget, name: str) -> Unpacked:
    """Unpack an archive below a folder, without members that lie elsewhere, are no plain files, or cannot be unpacked.

    Args:
        archive: The file.
        folder: Where its files go.
        budget: What may be unpacked; less afterwards.
        name: How messages call the archive.

    Raises:
        ArchiveError: It is damaged, of no known kind, holds too much, or nothing in it can be used.
        OSError: The disk is full.
    """
    kind, done = kind_of(archive), Unpacked()
    try:
        if kind in PACKED:
            _unpack_packed(archive, kind, folder, budget, name, done)
        elif kind == "tar":
            with archive.open("rb") as file:
                _unpack_tar(file, folder, budget, name, done)
        else:
            _unpack_zip(archive, folder, budget, name, done)
    except UNPACKING_ERRORS as error:
        if isinstance(error, OSError) and disk_is_full(error):
            raise
        raise ArchiveError(shown(str(error) or type(error).__name__)) from error
    if done.left_out and not done.count:
        raise ArchiveError(f"nothing in it can be used: {done.notes(name)[0].removeprefix(f'{name}: ')}")
    return done


# ------------------------------------------------------------------------------------------------------------------ zip
def _unpack_zip(archive: Path, folder: Path, budget: Budget, name: str, done: Unpacked) -> None:
    with open_zip(archive) as bundle:
        members = bundle.infolist()
        budget.take(name, len(members), 0)
        for member in members:
            inside = _plain_name(member.filename)
            if not inside or member.is_dir() or inside.endswith("/"):
                continue
            if why := _unusable(member):
                done.left_out[member.filename] = why
                continue
            budget.take(name, 0, member.file_size)
            if stat.S_ISLNK(member.external_attr >> 16):
                done.left_out[member.filename] = OUTSIDE
                continue
            with bundle.open(member) as source:
                _write(source, folder, inside, zip_time(member), member.filename, done)


def _plain_name(name: str) -> str:
    """A name with forward slashes and without a drive: some tools on Windows write backslashes, and the drive in front."""
    return re.sub(r"^[A-Za-z]:/*", "", name.replace("\\", "/"))


def _unusable(member: zipfile.ZipInfo) -> str:
    """Why zipfile cannot unpack a member, and the way out."""
    if member.flag_bits & 1:
        return "is encrypted: left out. Pack the work again without a password"
    if member.compress_type == DEFLATE64:
        return (
            "is packed with Deflate64, which cannot be unpacked here (Windows Explorer uses it above 2 GB): left out. Pack the work again "
            "with another program (7-Zip, method Deflate), or leave the checkpoints out: `python -m segkit submit --code-only`"
        )
    if member.compress_type not in ZIP_METHODS:
        return f"is packed with method {member.compress_type}, which cannot be unpacked here: left out. Pack it again with Deflate"
    return ""


OUTSIDE = "is a link or lies outside of the folder: left out"


def _write(
    source: IO[bytes], folder: Path, inside: str, time: float, name: str, done: Unpacked, spend: Callable[[int], None] | None = None
) -> bool:
    """Write one file with its time: of two copies of a notebook the newest may count. False if it was left out."""
    try:
        target = (folder / inside).resolve()
        if not target.is_relative_to(folder.resolve()) or target == folder.resolve():
            done.left_out[name] = OUTSIDE
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = target.open("wb")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in IMPOSSIBLE_NAMES:
            raise
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else "a zero byte in it"
        done.left_out[name] = f"has a name that no file can have ({why}): left out"
        return False
    with copy:
        while chunk := source.read(CHUNK):
            if spend is not None:
                spend(len(chunk))
            copy.write(chunk)
    os.utime(target, (time, time))
    done.count += 1
    return True


def zip_time(member: zipfile.ZipInfo) -> float:
    """Modification time of a zip's member, seconds since the epoch; 0 where the zip holds no date (month 0)."""
    try:
        return float(calendar.timegm((*member.date_time, 0, 0, 0)))
    except ValueError:
        return 0.0


# ------------------------------------------------------------------------------------------------------------------ tar
def _unpack_tar(file: IO[bytes], folder: Path, budget: Budget, name: str, done: Unpacked) -> None:
    with tarfile.open(fileobj=Modest(file, tarfile.ReadError, 2 * CHUNK), mode="r:") as bundle:  # type: ignore[call-overload] # the stub wants write, too
        written: dict[str, Path] = {}
        while (member := bundle.next()) is not None:  # one at a time: a list of all members could be endless
            budget.take(name, 1, 0)
            if member.isdir():
                continue
            inside = _plain_name(member.name).lstrip("/")
            source = written[member.linkname].open("rb") if member.islnk() and member.linkname in written else None
            source = bundle.extractfile(member) if member.isreg() else source
            if source is None:
                done.left_out[member.name] = OUTSIDE
                continue
            time = float(member.mtime) if 0 <= member.mtime < 2**33 else 0.0
            with source:
                if _write(source, folder, inside, time, member.name, done, lambda size: budget.take(name, 0, size)):
                    written[member.name] = folder / inside


def _unpack_packed(archive: Path, kind: str, folder: Path, budget: Budget, name: str, done: Unpacked) -> None:
    """Unpack a tar that was packed as a whole, or a single file."""
    with tempfile.TemporaryFile() as plain:
        most, written = budget.bytes + 4096 * budget.files, 0  # a tar has room between its files
        with PACKED[kind](archive, "rb") as source:
            while chunk := source.read(CHUNK):
                written += len(chunk)
                if written > most:
                    budget.take(name, 0, written)
                plain.write(chunk)
        plain.seek(257)
        if plain.read(5) == b"ustar":
            plain.seek(0)
            _unpack_tar(plain, folder, budget, name, done)
            return
        budget.take(name, 1, written)
        plain.seek(0)
        inside = re.sub(r"\.(gz|bz2|xz)$", "", archive.name, flags=re.IGNORECASE)
        _write(plain, folder, inside if inside != archive.name else f"{inside}.unpacked", archive.stat().st_mtime, inside, done)


def copy_tree(folder: Path, target: Path, files: Iterable[Path], budget: Budget, name: str) -> None:
    """Put files, relative to ``folder``, below ``target``: as hard links where the disk allows it, some have hundreds of megabytes."""
    for path in files:
        budget.take(name, 1, (folder / path).stat().st_size)
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(folder / path, place)
        except OSError:
            shutil.copy2(folder / path, place)
