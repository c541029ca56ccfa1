"""Publishing trained models as a download of their own, for the train-or-load cells of the notebooks."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from autograder.course.sources import ReleaseError
from autograder.release.archive import write_zip

__all__ = ["MANIFEST", "publish_checkpoints"]

MANIFEST = "checkpoints.json"
PUBLISHED = "published"  # never checkpoints/: what is in there is handed in as the student's own
SUFFIXES = (".safetensors",)


def publish_checkpoints(source: Path, out: Path, assignment: str) -> Path:
    """Pack trained models with a manifest.

    Args:
        source: folder with ``*.safetensors``; other files in it are not published.
        out: folder that receives ``<assignment>-checkpoints.zip``.
        assignment: name of the assignment.

    Returns:
        The zip. Everything in it lies below ``published/``, where the train-or-load cells look: the files, and
        ``checkpoints.json`` (name -> ``file``, ``sha256``, ``bytes``).

    Raises:
        ReleaseError: no checkpoint there, an unreadable one, or no room.
    """
    from segkit.checkpoints import CheckpointError, read_state_dict

    files = sorted(path for path in source.glob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise ReleaseError(f"{source}: expected trained models (*.safetensors), found none. Nothing was published.")
    for path in files:
        try:
            read_state_dict(path)
        except CheckpointError as error:
            raise ReleaseError(f"{error} Nothing was published.") from None
    target = out / f"{assignment}-checkpoints.zip"
    workshop = out / f".{assignment}-checkpoints"
    try:
        shutil.rmtree(workshop, ignore_errors=True)
        workshop.mkdir(parents=True)
        _fill(workshop, files)
        partial = workshop.with_suffix(".partial")
        write_zip(partial, workshop, PUBLISHED, max(path.stat().st_mtime for path in files))
        os.replace(partial, target)
    except OSError as error:
        workshop.with_suffix(".partial").unlink(missing_ok=True)
        raise ReleaseError(f"{target}: {error.strerror or error}. An older file of that name is untouched.") from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return target


def _fill(workshop: Path, files: list[Path]) -> None:
    manifest = {}
    for path in files:
        try:
            os.link(path, workshop / path.name)  # half a gigabyte each: no second copy where the disk allows it
        except OSError:
            shutil.copyfile(path, workshop / path.name)
        manifest[path.stem] = {"file": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}
    (workshop / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
