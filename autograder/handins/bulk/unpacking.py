"""Decide which members of a zip may be unpacked, and copy them: nothing outside of the folder, no links, no zip bombs, no full disk."""

import contextlib
import errno
import os
import re
import shutil
import stat
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Protocol

from autograder.handins.archives import IMPOSSIBLE_NAMES, UNPACKING_ERRORS, ArchiveError, Budget, cut_off, nature_of, unpack, zip_time
from segkit.notebooks.files import ARCHIVES
from segkit.notebooks.reading import shown

__all__ = [
    "BROKEN_ZIP", "BulkError", "Bundle", "Problem", "check_room", "copy_member", "is_archive", "label", "open_bundle", "path_of",
    "safe_members", "write_files",
]  # fmt: skip

MAX_MEMBERS = 200_000
MAX_RATIO, ALWAYS_FINE = 100, 2**30  # unpacked : packed; up to 1 GiB any ratio is harmless
MAX_LISTED = 10
LEFT_BEHIND = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$)")
BROKEN_ZIP = UNPACKING_ERRORS
UTF8_NAME = 0x800  # of a member's flags
IMPOSSIBLE = IMPOSSIBLE_NAMES | {errno.EILSEQ, errno.EINVAL}  # the last two: characters that the file system refuses


class BulkError(Exception):
    """A download cannot be used. The text says why and what to do."""


class Problem(str):
    """A note on what was not handed in, or what a person must decide: it is never passed over with exit status 0."""

    __slots__ = ()


class Bundle(Protocol):
    """What is needed of a zip, and what a folder can do as well."""

    def infolist(self) -> list[zipfile.ZipInfo]:
        """All members."""

    def open(self, name: zipfile.ZipInfo) -> IO[bytes]:
        """The content of one."""


class _Folder:
    """A download that is unpacked already, or that never was a zip: nbgrader's exchange."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = "submitted/" if folder.name == "submitted" else ""  # nbgrader's; the names below say nothing without it

    def infolist(self) -> list[zipfile.ZipInfo]:
        """Files and links, as a zip of the folder would hold them; links are not followed."""
        members = []
        for place, folders, files in os.walk(self.folder):
            folders.sort()
            links = [name for name in folders if Path(place, name).is_symlink()]
            for path in (Path(place, name) for name in sorted([*files, *links])):
                facts = path.lstat()
                name = self.prefix + path.relative_to(self.folder).as_posix()
                member = zipfile.ZipInfo(name, max(time.gmtime(facts.st_mtime)[:6], (1980, 1, 1, 0, 0, 0)))
                member.external_attr, member.file_size, member.flag_bits = facts.st_mode << 16, facts.st_size, UTF8_NAME
                members.append(member)
        return members

    def open(self, name: zipfile.ZipInfo) -> IO[bytes]:
        """The content of a file."""
        return (self.folder / name.filename.removeprefix(self.prefix)).open("rb")


@contextlib.contextmanager
def open_bundle(source: Path) -> Iterator[Bundle]:
    """Open a download: the zip as the course system gave it, or a folder.

    Raises:
        BulkError: It is no zip, and the text says what it is.
    """
    if source.is_dir():
        yield _Folder(source.resolve())
        return
    if not zipfile.is_zipfile(source):
        what = cut_off(source) or f"is {nature_of(source) or 'another file'}, no zip"
        raise BulkError(f"{source} cannot be unpacked: it {what}. Download it again from the course system.")
    with zipfile.ZipFile(source) as bundle:
        yield bundle


def label(member: zipfile.ZipInfo) -> str:
    """How messages name a member."""
    return repr(shown(path_of(member), 120))


def path_of(member: zipfile.ZipInfo) -> str:
    """Path of a member. Many systems write UTF-8 and do not say so; then ``zipfile`` takes it for the letters of old PCs."""
    if member.flag_bits & UTF8_NAME or member.filename.isascii():
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def safe_members(bundle: Bundle, archive: Path) -> tuple[list[zipfile.ZipInfo], dict[zipfile.ZipInfo, str]]:
    """The files of a zip, if all of it may be unpacked; looks at the directory only.

    Returns:
        The files, and those that must be left out (links, encrypted ones) with the reason.

    Raises:
        BulkError: A member would land elsewhere, all of it together is too large, or there is nothing but what must be left out.
    """
    members = bundle.infolist()
    if len(members) > MAX_MEMBERS:
        raise BulkError(f"{archive.name}: expected at most {MAX_MEMBERS} files, found {len(members)}. The zip is refused.")
    for member in members:
        if reason := _elsewhere(member):
            raise BulkError(f"{archive.name}: {label(member)} {reason}. No course system makes such a name: the zip is refused.")
    wanted = [member for member in members if not member.is_dir() and not LEFT_BEHIND.search(member.filename)]
    left_out = {member: reason for member in wanted if (reason := _unusable(member))}
    files = [member for member in wanted if member not in left_out]
    if left_out and not files:
        member, reason = next(iter(left_out.items()))
        raise BulkError(f"{archive.name}: nothing in it can be used: {label(member)} {reason}. The zip is refused.")
    unpacked, packed = sum(member.file_size for member in files), archive.stat().st_size
    if archive.is_file() and unpacked > max(ALWAYS_FINE, MAX_RATIO * packed):
        raise BulkError(f"{archive.name}: {packed} bytes would unpack to {unpacked}: this looks like a zip bomb. It is refused.")
    return files, left_out


def _elsewhere(member: zipfile.ZipInfo) -> str:
    """Why the zip as a whole cannot be trusted."""
    name = member.orig_filename  # filename is what zipfile made of it: cut at a zero byte
    if "\0" in name or name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "has an absolute or broken name"
    return "lies outside of the folder" if ".." in re.split(r"[/\\]", name) else ""


def _unusable(member: zipfile.ZipInfo) -> str:
    """Why this member alone cannot be used: a student may have handed it in."""
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or no regular file"
    return "is encrypted" if member.flag_bits & 1 else ""


def check_room(members: list[zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    """Is there disk space for it?

    Raises:
        BulkError: There is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if needed > free:
        raise BulkError(f"{archive.name}: needs {needed / 2**30:.1f} GiB below {folder}, but {free / 2**30:.1f} GiB are free.")


def copy_member(bundle: Bundle, member: zipfile.ZipInfo, folder: Path, name: str) -> str:
    """Copy a member to ``folder/name`` with its time: of two copies of a notebook the newest may count.

    Returns:
        Why there can be no file of that name (too long, a folder, below a file), or an empty text.
    """
    place = folder / re.sub(r"[\\:]", "_", name)
    if not place.resolve().is_relative_to(folder.resolve()):
        raise BulkError(f"{label(member)} lies outside of the folder. The zip is refused.")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        sink = place.open("wb")
    except OSError as error:
        if error.errno not in IMPOSSIBLE:
            raise
        return f"has a name that no file can have ({os.strerror(error.errno)})"
    with sink, bundle.open(member) as source:
        shutil.copyfileobj(source, sink, 2**20)
    os.utime(place, (zip_time(member), zip_time(member)))
    return ""


def _unpack(archive: Path, folder: Path, name: str, left_out: list[str]) -> str:
    """Unpack a student's own archive, named ``name``, into a folder that is there and empty.

    Returns:
        Why it could not be unpacked, or an empty text: it is one student's archive, and the class goes on.
    """
    try:
        done = unpack(archive, folder, Budget(), name)
    except ArchiveError as error:
        shutil.rmtree(folder)  # nothing half-unpacked: the note says that all of it was left out
        folder.mkdir()
        return f"it is damaged or cannot be read ({error})"
    left_out += [f"{shown(member, 120)!r} in {name} {why.removesuffix(': left out')}" for member, why in done.left_out.items()]
    return ""


def is_archive(name: str) -> bool:
    """Whether a file of a submission is named as an archive that holds the work."""
    return name.lower().endswith(ARCHIVES) and "/" not in name


def write_files(
    bundle: Bundle, files: Mapping[str, zipfile.ZipInfo], target: Path, unusable: Iterable[str] = ()
) -> tuple[Path, list[Problem]]:
    """Write a submission. A single archive stays an archive, of whatever kind: reading a submission recognises it by its content.

    Args:
        bundle: The export.
        files: Name in the submission -> member.
        target: The folder; what is there is replaced.
        unusable: What was left out before.

    Returns:
        The folder or zip, and notes on what was left out.
    """
    shutil.rmtree(target, ignore_errors=True)
    archive = target.with_name(f"{target.name}.zip")
    archive.unlink(missing_ok=True)
    notes: list[Problem] = []
    left_out = list(unusable)
    loose = {name: member for name, member in files.items() if not is_archive(name)}
    for name in files.keys() - loose.keys():
        copy_member(bundle, files[name], archive.parent, archive.name)
        if not loose:
            return archive, _listed(left_out)
        target.mkdir()
        if problem := _unpack(archive, target, name, left_out):
            notes.append(Problem(f"{name} was left out: {problem}"))
        archive.unlink()
    target.mkdir(exist_ok=True)  # empty if all files were left out: the student is graded, and gets the note
    for name, member in loose.items():
        if problem := copy_member(bundle, member, target, name):
            left_out.append(f"{label(member)} {problem}")
    return target, notes + _listed(left_out)


def _listed(left_out: list[str]) -> list[Problem]:
    """Notes on what was left out; a student's thousand links are counted."""
    notes = [Problem(f"left out: {text}") for text in left_out[:MAX_LISTED]]
    return [*notes, Problem(f"{len(left_out) - MAX_LISTED} more files were left out")] if len(left_out) > MAX_LISTED else notes
