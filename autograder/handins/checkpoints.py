"""The checkpoints of a submission: files in it, or files elsewhere that it names by their hashes."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from autograder.course.rubric import Rubric
from segkit.checkpoint_files import SUFFIXES, find_checkpoints, has_checkpoint_name, layer_words
from segkit.notebooks import FOREIGN, Workbook
from segkit.notebooks.files import SPARE, enterable, shown_path
from segkit.notebooks.reading import shown

__all__ = ["Checkpoint", "file_sha256", "submitted_checkpoints"]

MAX_CHECKPOINT = 1200 * 2**20
LISTED = re.compile(r"checkpoints\b.*\.json(\.txt)?$", re.IGNORECASE)

_HASHES: dict[tuple[Any, ...], str] = {}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that belongs to a submission.

    Attributes:
        path: The file, or None if it was only named (``checkpoints.json``) and not found.
        sha256: Its hash.
        problem: Why there is no path.
        packed: Whether it is in the submission, in an archive that cannot be unpacked here; such a check gets no zero.
    """

    path: Path | None
    sha256: str
    problem: str = ""
    packed: bool = False


def file_sha256(path: Path) -> str:
    """Hash a file; files shared by hard links are read once per run.

    A file that is unpacked may get the number of one that was removed before, and an archive says what time it gets: only the time of its
    last change, which nobody can choose, tells them apart.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if key not in _HASHES:
        with path.open("rb") as file:
            _HASHES[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _HASHES[key]


def _named_checkpoints(folder: Path, names: Iterable[str], notes: list[str]) -> dict[str, dict[str, Any]]:
    """The content of ``checkpoints.json``, even if a browser changed its name, in whatever folder it is."""
    lists = [folder / path for path in own_lists(folder)]
    for path in lists:
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            named = {name: entry for name, entry in content.items() if isinstance(entry, dict)}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            name = shown_path(path.relative_to(folder))
            notes.append(f"{name} cannot be read ({type(error).__name__}); expected the file `segkit submit` writes")
            continue
        if not named.keys().isdisjoint(names):
            return named
    return {}


def own_lists(folder: Path) -> list[Path]:
    """Files named as ``checkpoints.json`` is, relative to the folder, the least nested first."""
    found = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if name not in FOREIGN - SPARE and enterable(here / name))
        paths = [here / name for name in files if LISTED.match(name)]
        found += [p.relative_to(folder) for p in paths if not p.is_symlink() and p.is_file() and p.stat().st_size <= 2**20]
    return sorted(found, key=lambda path: (len(path.parts), path.as_posix()))


def _by_hash(entry: dict[str, Any], root: Path | None) -> Checkpoint:
    """Find a named checkpoint below ``root`` by size and hash."""
    wanted, where = (shown(text, 200) if isinstance(text := entry.get(key), str) else "" for key in ("sha256", "where"))
    wanted, size = wanted.lower(), entry.get("bytes") if type(entry.get("bytes")) in (int, float) else None
    if root is None:
        return Checkpoint(
            None, wanted, f"named in checkpoints.json (at {where!r}), but the grader was given no --checkpoints FOLDER to look in"
        )
    candidates = [path for path in sorted(root.rglob("*")) if path.is_file()]
    for path in candidates:
        if path.stat().st_size == size and file_sha256(path) == wanted:
            return Checkpoint(path, wanted)
    return Checkpoint(
        None, wanted, f"named in checkpoints.json (at {where!r}, {size} bytes, sha256 {wanted[:12]}...), but "
        f"{_in_its_place(where, candidates, root)}"
    )  # fmt: skip


def _in_its_place(where: str, candidates: list[Path], root: Path) -> str:
    """What is at the place of a named checkpoint: nothing, or another file."""
    place = f"/{where.strip('/')}"
    found = [path for path in candidates if where.strip("/") and f"/{path.relative_to(root).as_posix()}".endswith(place)]
    if len(found) != 1:
        return "no such file lies where the grader was told to look: put it below the folder of --checkpoints and grade again"
    return (
        f"the file there is another one ({found[0].stat().st_size} bytes, sha256 {file_sha256(found[0])[:12]}...): was it trained on or "
        "saved anew after the hand-in? Put back the file that was handed in, or hand in again, and grade again"
    )


def submitted_checkpoints(
    folder: Path, rubric: Rubric, root: Path | None, workbook: Workbook, left_out: Mapping[str, str], notes: list[str]
) -> dict[str, Checkpoint]:
    """Find the checkpoints of a submission.

    Args:
        folder: Its files.
        rubric: Which checkpoints belong to the assignment.
        root: Where checkpoints lie that were only named, or None.
        workbook: Its notebooks and scripts; their classes decide where a file's name does not tell.
        left_out: Name in an archive -> why that file could not be unpacked.
        notes: Receives what is unusual.
    """
    files = find_checkpoints(folder, rubric.checkpoints, lambda: layer_words(workbook, rubric.checkpoints))
    named, found = _named_checkpoints(folder, rubric.checkpoints, notes), {}
    for name in rubric.checkpoints:
        if name in files:
            notes += [files[name].note] if files[name].note else []
            found[name] = _linked(folder, files[name].path) or _if_not_too_large(files[name].path)
        elif name in named:
            found[name] = _by_hash(named[name], root)
        elif packed := [member for member in left_out if name.lower() in member.lower() and has_checkpoint_name(PurePosixPath(member))]:
            found[name] = Checkpoint(None, "", f"{shown(packed[0], 80)} {left_out[packed[0]]}", packed=True)
        elif link := _link_in_place(folder, name):
            found[name] = _behind(folder, link)
    return found


def _linked(folder: Path, path: Path) -> Checkpoint | None:
    """The entry for a file outside of the submission, reached through a link."""
    links = [part for part in (path, *path.parents) if part.is_relative_to(folder) and part != folder and part.is_symlink()]
    if links:
        return _behind(folder, links[-1])
    inside = path.resolve().is_relative_to(folder.resolve())
    return None if inside else Checkpoint(None, "", f"{shown(path.name, 80)} lies outside of the hand-in; expected checkpoints/")


def _link_in_place(folder: Path, name: str) -> Path | None:
    """A link that stands where a checkpoint was looked for: the folder, or a file of its name in it."""
    place = folder / "checkpoints"
    places = [place, *(place / f"{name}{suffix}" for suffix in SUFFIXES)] if not place.is_symlink() else [place]
    return next((path for path in places if path.is_symlink()), None)


def _behind(folder: Path, link: Path) -> Checkpoint:
    where = shown_path(link.relative_to(folder))
    return Checkpoint(None, "", f"{where} is a link; links are not followed: hand in the file itself, as `python -m segkit submit` does")


def _if_not_too_large(path: Path) -> Checkpoint:
    size = path.stat().st_size
    if size > MAX_CHECKPOINT:
        return Checkpoint(None, "", f"{path.name} has {size / 2**20:.0f} MiB; expected at most {MAX_CHECKPOINT // 2**20} MiB")
    return Checkpoint(path, file_sha256(path))
