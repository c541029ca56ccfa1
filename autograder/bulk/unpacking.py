"""What of a zip may be unpacked, and copying it: nothing outside of the folder, no links, no bombs, no full disk."""

import os
import re
import shutil
import stat
import zipfile
from pathlib import Path

from autograder.submission import zip_time

__all__ = ["BROKEN_ZIP", "BulkError", "check_room", "copy_member", "safe_members", "unpack"]

MAX_MEMBERS = 200_000
MAX_RATIO, ALWAYS_FINE = 100, 2**30  # unpacked : packed; up to 1 GiB nobody is hurt
LEFT_BEHIND = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$)")
BROKEN_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError)


class BulkError(Exception):
    """A zip cannot be used. The text says why and what to do."""


def safe_members(bundle: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    """The files of a zip, if all of it may be unpacked; looks at the directory only.

    Raises:
        BulkError: A member is unsafe, or all of it together.
    """
    members = bundle.infolist()
    if len(members) > MAX_MEMBERS:
        raise BulkError(f"{archive.name}: expected at most {MAX_MEMBERS} files, found {len(members)}. The zip is refused.")
    for member in members:
        if reason := _unsafe(member):
            raise BulkError(
                f"{archive.name}: {member.filename[:120]!r} {reason}. The zip is refused; download it again from the course system."
            )
    files = [member for member in members if not member.is_dir() and not LEFT_BEHIND.search(member.filename)]
    unpacked, packed = sum(member.file_size for member in files), archive.stat().st_size
    if unpacked > max(ALWAYS_FINE, MAX_RATIO * packed):
        raise BulkError(f"{archive.name}: {packed} bytes would unpack to {unpacked}: this looks like a zip bomb. It is refused.")
    return files


def _unsafe(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename  # filename is what zipfile made of it: cut at a zero byte
    if "\0" in name or name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "has an absolute or broken name"
    if ".." in re.split(r"[/\\]", name):
        return "lies outside of the folder"
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


def copy_member(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, name: str) -> None:
    """Copy a member to ``folder/name`` with its time: of two copies of a notebook the newest may count."""
    place = folder / re.sub(r"[\\:]", "_", name)
    if not place.resolve().is_relative_to(folder.resolve()):
        raise BulkError(f"{member.filename[:120]!r} lies outside of the folder. The zip is refused.")
    place.parent.mkdir(parents=True, exist_ok=True)
    with bundle.open(member) as source, place.open("wb") as sink:
        shutil.copyfileobj(source, sink, 2**20)
    os.utime(place, (zip_time(member), zip_time(member)))


def unpack(archive: Path, folder: Path) -> str:
    """Unpack a student's own zip.

    Returns:
        Why it could not be unpacked, or an empty text: it is one student's zip, and the class goes on.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = safe_members(bundle, archive)
            check_room(members, archive, folder)
            for member in members:
                copy_member(bundle, member, folder, member.filename)
    except (BulkError, *BROKEN_ZIP) as error:
        return str(error)
    return ""
