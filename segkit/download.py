"""Fetches the archives of the CMP Facade Database, unpacks them and checks what came out.

An interrupted download continues where it stopped; a file gets its final name only when it is complete and checked.
"""

import contextlib
import errno
import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from PIL import Image
from tqdm.auto import tqdm

from segkit.facades import data_folder, split_names
from segkit.pictures import BROKEN, open_photograph

__all__ = [
    "ARCHIVES",
    "HOME",
    "DownloadError",
    "check_part",
    "download_file",
    "fetch",
    "hash_file",
    "part_names",
    "read_manifest",
    "unpack",
]

HOME = "https://cmp.felk.cvut.cz/~tylecr1/facade/"
ARCHIVES = {"base": "CMP_facade_DB_base.zip", "extended": "CMP_facade_DB_extended.zip"}
SUFFIXES = (".jpg", ".png", ".xml")
EXTRAS = ("label_names.txt", "readme.txt")

CHUNK = 1 << 18
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 3
LARGEST_MEMBER = 32 << 20  # the largest real file has 0.6 MB; a member far above that is no facade


class DownloadError(RuntimeError):
    """Something could not be fetched or is not what it should be; the text says what to do."""


class DamagedArchiveError(DownloadError):
    """A zip file that cannot be read to its end."""


def hash_file(path: Path) -> str:
    """sha256 of a file, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest() -> dict[str, str]:
    """The kit's manifest of the base part: path relative to the root (``base/cmp_b0001.jpg``) -> sha256."""
    lines = (data_folder() / "manifest.sha256").read_text(encoding="ascii").splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines)}


def part_names(part: str) -> tuple[str, ...]:
    """Names of all pictures of ``base`` (378) or ``extended`` (228), in order."""
    letter = {"base": "b", "extended": "x"}[part]
    names = (name for piece in ("train", "val", "test") for name in split_names("course", piece))
    return tuple(name for name in names if name.startswith(f"cmp_{letter}"))


# ---------------------------------------------------------------- one file over HTTP


def download_file(url: str, path: Path, *, sha256_prefix: str = "", progress: bool = True) -> Path:
    """Downloads one file; a broken connection is taken up again where it stopped, also by a later call.

    Until it is whole, the file is called ``path`` with ``.part`` at its end.

    Args:
        url: where it is.
        path: where it goes; a file that is already there is left alone.
        sha256_prefix: the first hex digits of the sha256 that it must have; empty: any.
        progress: show a bar.

    Raises:
        DownloadError: no connection, no room, or not the right file.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _receive(url, part, progress)
            break
        except (urllib.error.HTTPError, urllib.error.URLError, OSError, http.client.HTTPException) as error:
            _clear_if_full(error, part)
            gone = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if gone or attempt == ATTEMPTS:
                raise DownloadError(_no_connection(url, path, part, error)) from error
    found = hash_file(part) if sha256_prefix else ""
    if not found.startswith(sha256_prefix):
        part.unlink()
        raise DownloadError(
            f"{url}: the file came complete, but it is another one: expected a sha256 that starts with "
            f"{sha256_prefix}, found {found[: max(8, len(sha256_prefix))]}. It was deleted. Try again; if it "
            f"stays so, the server has changed the file, or something on the way (a login page?) answers for it."
        )
    os.replace(part, path)
    return path


def _receive(url: str, part: Path, progress: bool) -> None:
    """One connection: appends to ``part`` what is missing. Raises OSError if the connection ends early."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "segkit"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if whole == str(have):  # all bytes are here already; only the last step was missing
            return
        part.unlink()
        raise ConnectionError(f"the part on disk ({have} bytes) does not fit the file on the server") from error
    with response:
        if response.status != 206:  # the server sends the whole file, so start from the beginning
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        _demand_room(part, total, have)
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=not progress) as bar,
        ):
            while block := response.read(CHUNK):
                file.write(block)
                bar.update(len(block))
    received = part.stat().st_size
    if total is not None and received != total:
        raise ConnectionError(f"the connection ended after {received} of {total} bytes")


def _demand_room(part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise OSError(errno.ENOSPC, f"{total - have} bytes are needed, {free} are free")


def _clear_if_full(error: BaseException, part: Path) -> None:
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        return
    part.unlink(missing_ok=True)
    raise DownloadError(
        f"No room on the disk for {part.with_suffix('')} ({error}). What had come was deleted. "
        "Make room, or name a folder on another disk, and start again."
    ) from error


def _no_connection(url: str, path: Path, part: Path, error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server answers {error.code} {error.reason}"
    got = part.stat().st_size if part.exists() else 0
    kept = f"\n  {got / 1e6:.1f} MB have come and are kept: the same command goes on from there." if got else ""
    return (
        f"Could not download {path.name}: {reason}.{kept}\n"
        f"  Without a network on this machine: download {url} elsewhere (a browser will do), put it at\n"
        f"  {path.resolve()}\n"
        f"  and run the same command again."
    )


# ---------------------------------------------------------------- archives


def unpack(archive: Path, root: Path, part: str, *, progress: bool = True, check: bool = True) -> None:
    """Unpacks one archive into ``root/base`` or ``root/extended``; all of it, or nothing.

    Only members named like the database's files are taken, each straight into its folder, so that a path in the
    archive cannot lead elsewhere.

    Args:
        archive: the zip file.
        root: the root of the facades.
        part: ``base`` or ``extended``.
        progress: show a bar.
        check: refuse an archive whose files fail :func:`check_part`.

    Raises:
        DownloadError: the archive is damaged or is another one, or there is no room.
    """
    staging = root / f".unpacking-{part}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as file:
            members = _members(file, part)
            for name, member in tqdm(members.items(), desc=f"unpack {part}", disable=not progress):
                target = staging / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(member) as source, open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink)  # zipfile checks the CRC on the way
        faults = check_part(staging, part, progress=progress) if check else []
        if faults:
            raise DownloadError(_unlike(archive, faults))
        _move_into(staging, root)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, DownloadError):
            raise
        raise DamagedArchiveError(
            f"{archive}: expected a complete zip archive, found a damaged one ({error}). "
            f"Nothing was unpacked. Delete the file and fetch it again."
        ) from error
    except OSError as error:
        raise DownloadError(f"Could not unpack {archive} to {root}: {error}. Nothing was left behind.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _members(file: zipfile.ZipFile, part: str) -> dict[str, zipfile.ZipInfo]:
    """Members of the archive that belong to the part: path below the root -> member."""
    letter = {"base": "b", "extended": "x"}[part]
    pattern = re.compile(rf"cmp_{letter}\d{{4}}\.(jpg|png|xml)")
    found: dict[str, zipfile.ZipInfo] = {}
    for member in file.infolist():
        name = re.split(r"[/\\]", member.filename)[-1]
        if "__MACOSX" in member.filename or not (pattern.fullmatch(name) or name in EXTRAS):
            continue
        if member.file_size > LARGEST_MEMBER:
            raise zipfile.BadZipFile(f"{name} would have {member.file_size} bytes")
        path = name if name in EXTRAS else f"{part}/{name}"
        if path in found:
            raise zipfile.BadZipFile(f"{name} is in it twice")
        found[path] = member
    return found


def _move_into(staging: Path, root: Path) -> None:
    for source in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = root / source.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)


def _unlike(archive: Path, faults: list[str]) -> str:
    shown = "\n  ".join(faults[:5]) + (f"\n  ... and {len(faults) - 5} more" if len(faults) > 5 else "")
    return (
        f"{archive} is a whole archive, but not the one that the kit knows ({len(faults)} differences):\n  {shown}\n"
        "Nothing was unpacked. Delete it and fetch it again; if the database itself has changed, "
        "`data fetch --unchecked` unpacks it nevertheless."
    )


def check_part(root: Path, part: str, *, progress: bool = True) -> list[str]:
    """Compares ``base/`` with the manifest; counts ``extended/`` and looks into its files (no manifest exists for it).

    Args:
        root: the root of the facades.
        part: ``base`` or ``extended``.
        progress: show a bar.

    Returns:
        One line per fault; empty if all is well.
    """
    manifest = read_manifest() if part == "base" else {}
    faults = []
    for name in tqdm(part_names(part), desc=f"check {part}", disable=not progress):
        paths = [root / part / f"{name}{suffix}" for suffix in SUFFIXES]
        missing = [path for path in paths if not path.is_file()]
        faults += [f"{path.relative_to(root).as_posix()}: missing" for path in missing]
        for path in paths:
            relative = path.relative_to(root).as_posix()
            if relative in manifest and path not in missing and hash_file(path) != manifest[relative]:
                faults.append(f"{relative}: sha256 differs from the manifest")
        if part == "extended" and not missing:
            faults += _pair_faults(*paths[:2])
    return faults


def _pair_faults(image: Path, label: Path) -> Iterator[str]:
    where = f"{label.parent.name}/{label.name}"
    try:
        height, width = open_photograph(image).shape[:2]
        with Image.open(label) as indexed:
            low, high = cast("tuple[int, int]", indexed.getextrema()) if indexed.mode == "P" else (0, 0)
            if indexed.mode != "P":
                yield f"{where}: expected a palette picture (mode P), found mode {indexed.mode}"
            elif not 1 <= low <= high <= 12:
                yield f"{where}: expected ids 1..12, found {low}..{high}"
            if (width, height) != indexed.size:
                yield f"{where}: expected the size of the jpg {(width, height)}, found {indexed.size}"
    except BROKEN as error:
        yield f"{where}: damaged ({error})"


def fetch(
    out: Path, parts: tuple[str, ...] = ("base", "extended"), *, home: str = HOME, check: bool = True,
    progress: bool = True,
) -> list[str]:  # fmt: skip
    """Downloads and unpacks parts of the database; a part that is there and in order is left alone.

    An archive that somebody put into ``out`` by hand is used as if it had been downloaded, and is kept.

    Args:
        out: root of the facades, ``data/cmp_facade`` as a rule.
        parts: ``base``, ``extended``.
        home: the address below which the archives lie.
        check: refuse archives that are not the known ones.
        progress: show bars.

    Returns:
        One line per part that says what was done.

    Raises:
        DownloadError: see :func:`download_file` and :func:`unpack`.
    """
    done = []
    for part in parts:
        if (out / part).is_dir() and not check_part(out, part, progress=progress):
            done.append(f"{part}: complete and in order already, nothing to do")
            continue
        archive = out / ARCHIVES[part]
        by_hand = archive.exists()
        download_file(home.rstrip("/") + "/" + archive.name, archive, progress=progress)
        try:
            unpack(archive, out, part, progress=progress, check=check)
        except DamagedArchiveError:
            if not by_hand:  # otherwise it would block the next try
                archive.unlink(missing_ok=True)
            raise
        if not by_hand:
            with contextlib.suppress(OSError):
                archive.unlink()
        done.append(f"{part}: {len(part_names(part))} pictures with labels in {out / part}")
    return done
