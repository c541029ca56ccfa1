"""Fetches the archives of the CMP Facade Database, unpacks them and checks what came out."""

import contextlib
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from PIL import Image
from tqdm.auto import tqdm

from segkit.atomic import move_over
from segkit.datasets.facades import SPEC
from segkit.download import DownloadError, download_file, hash_file
from segkit.pictures import BROKEN, open_photograph

__all__ = ["ARCHIVES", "HOME", "check_part", "fetch", "part_names", "read_manifest", "unpack"]

HOME = "https://cmp.felk.cvut.cz/~tylecr1/facade/"
ARCHIVES = {"base": "CMP_facade_DB_base.zip", "extended": "CMP_facade_DB_extended.zip"}
SUFFIXES = (".jpg", ".png", ".xml")
EXTRAS = ("label_names.txt", "readme.txt")
LARGEST_MEMBER = 32 << 20  # the largest real file has 0.6 MB; a member far above that is no facade


class DamagedArchiveError(DownloadError):
    """A zip file that cannot be read to its end."""


def read_manifest() -> dict[str, str]:
    """The kit's manifest of the base part: path relative to the root (``base/cmp_b0001.jpg``) -> sha256."""
    lines = (SPEC.folder / "manifest.sha256").read_text(encoding="ascii").splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines)}


def part_names(part: str) -> tuple[str, ...]:
    """Names of all pictures of ``base`` (378) or ``extended`` (228), in order."""
    letter = {"base": "b", "extended": "x"}[part]
    names = (name for piece in ("train", "val", "test") for name in SPEC.split_names("course", piece))
    return tuple(name for name in names if name.startswith(f"cmp_{letter}"))


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
        move_over(source, target)


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
            low, high = cast(tuple[int, int], indexed.getextrema()[:2]) if indexed.mode == "P" else (0, 0)
            if indexed.mode != "P":
                yield f"{where}: expected a palette picture (mode P), found mode {indexed.mode}"
            elif not 1 <= low <= high <= 12:
                yield f"{where}: expected ids 1..12, found {low}..{high}"
            if (width, height) != indexed.size:
                yield f"{where}: expected the size of the jpg {(width, height)}, found {indexed.size}"
    except BROKEN as error:
        yield f"{where}: damaged ({error})"


def fetch(
    out: Path, parts: tuple[str, ...] = SPEC.folders, *, home: str | None = None, check: bool = True,
    progress: bool = True,
) -> list[str]:  # fmt: skip
    """Downloads and unpacks parts of the database; a part that is there and in order is left alone.

    An archive that somebody put into ``out`` by hand is used as if it had been downloaded, and is kept.

    Args:
        out: root of the facades, ``data/cmp_facade`` as a rule.
        parts: ``base``, ``extended``.
        home: the address below which the archives lie; the database's own by default.
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
        download_file((home or HOME).rstrip("/") + "/" + archive.name, archive, progress=progress)
        try:
            unpack(archive, out, part, progress=progress, check=check)
        except DamagedArchiveError:
            if not by_hand:  # else it would lie in the way of the next try
                archive.unlink(missing_ok=True)
            raise
        if not by_hand:
            with contextlib.suppress(OSError):
                archive.unlink()
        done.append(f"{part}: {len(part_names(part))} pictures with labels in {out / part}")
    return done
