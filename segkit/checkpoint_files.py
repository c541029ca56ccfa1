"""Find the file that holds the weights of a network, whatever its name: one rule for students and for the grader.

Names may be written in many ways (``FCN8s.pth``, ``fcn8s (1).safetensors``, ``best_fcn-8s.ckpt``, ``fcn8s/best.pt``). If no file
name tells, the names of the tensors decide. Only tables of contents are read here; nothing is unpickled.
"""

import ast
import json
import os
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any

from segkit.notebooks.files import enterable, shown_path
from segkit.notebooks.workbook import Workbook

__all__ = [
    "SUFFIXES", "FoundCheckpoint", "Modest", "find_checkpoint", "find_checkpoints", "has_checkpoint_name", "is_torch_zip", "layer_words",
]  # fmt: skip

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".pt.tar")
NEVER = frozenset({"segkit", "autograder", "published", "site-packages", "node_modules"})
RUNS = frozenset({"runs", "runs_quick"})  # unfinished runs are there as well, so only a file's own name counts
MOST_FILES = 20_000
MOST_NAMES = 16 * 2**20  # bytes of a file's table of tensors
MOST_OPERATIONS = 300_000
MOST_AT_ONCE = 8 * 2**20  # bytes: a zip of 50,000 files has a table of contents of about this size
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began its files before it wrote zips
TELLING_NOTHING = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked", "module", "_orig_mod", "model", "net"})
ENOUGH = 0.6  # share of a file's layers that the class must name

Words = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class FoundCheckpoint:
    """The file that counts as the checkpoint of a network.

    Attributes:
        path: The file.
        note: What is unusual about it (its name or place, others beside it), for people; or an empty text.
    """

    path: Path
    note: str = ""


class Modest:
    """A file that refuses to read very much at once: the readers of zips, tars and pickles read as much as a file claims to hold.

    Args:
        file: Open for reading.
        error: What is raised.
        most: Bytes.
    """

    def __init__(self, file: IO[bytes], error: type[Exception] = zipfile.BadZipFile, most: int = MOST_AT_ONCE) -> None:
        self._file, self._error, self._most = file, error, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        return self._modest(self._file.read(size if 0 <= size <= self._most else self._most + 1), size)

    def readline(self) -> bytes:
        return self._modest(self._file.readline(self._most + 1))

    def _modest(self, data: bytes, size: int = 0) -> bytes:
        if max(size, len(data)) > self._most:
            raise self._error(f"a header or table of contents of more than {self._most // 2**20} MiB")
        return data


def has_checkpoint_name(path: PurePath) -> bool:
    """Whether a file is named as checkpoints are."""
    return path.name.lower().endswith(SUFFIXES)


def is_torch_zip(names: Iterable[str]) -> bool:
    """Whether the members of a zip are those that ``torch.save`` writes."""
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names)


def find_checkpoint(folder: Path, name: str, others: Iterable[str] = (), words: Callable[[], Words] = dict) -> Path | None:
    """The checkpoint file of one network, or None.

    Args:
        folder: Folder of the work.
        name: Name of the checkpoint, such as ``"fcn8s"``.
        others: The names of the assignment's other checkpoints: a file that is theirs is not taken for this one.
        words: See ``find_checkpoints``.
    """
    found = find_checkpoints(folder, [name, *others], words).get(name)
    return found.path if found else None


def find_checkpoints(folder: Path, names: Iterable[str], words: Callable[[], Words] = dict) -> dict[str, FoundCheckpoint]:
    """Find the checkpoints of an assignment.

    ``checkpoints/NAME.safetensors`` (or .pth, .pt) is the expected name. Otherwise files below ``checkpoints/`` come first, then files with
    this name, with this name as a part, or in a folder of this name; among several, the one called best, then the newest. If a
    file's name tells nothing, it belongs to the network whose class names most of its layers.

    Args:
        folder: Folder of the work. Links are not followed; what came with the release is not searched.
        names: Names of the checkpoints.
        words: Gives, by name, the words of the class that the checkpoint belongs to (``layer_words``); called only if needed.

    Returns:
        By name; absent where there is none.
    """
    folder, names = Path(folder), list(dict.fromkeys(names))
    candidates = _candidates(folder)
    ranked: dict[str, list[tuple[Any, ...]]] = {name: [] for name in names}
    nameless = []
    for path in candidates:
        claims = _claims(path, names)
        for name, rank in claims.items():
            ranked[name].append((rank, path))
        nameless += [] if claims or RUNS & set(path.parts) else [path]
    missing = [name for name in names if not ranked[name]]
    if missing and nameless:
        known = words()
        for path in nameless:
            told = _by_layers(folder / path, known)
            if told in missing:
                ranked[told].append(((2, 3), path))
    return {name: _chosen(folder, name, found) for name, found in ranked.items() if found}


def _candidates(folder: Path) -> list[Path]:
    """Checkpoint files below a folder, relative to it, in order."""
    found: list[Path] = []
    seen = 0
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if name not in NEVER and enterable(here / name))
        for name in sorted(files):
            path, seen = here / name, seen + 1
            if seen > MOST_FILES:
                return found
            if name.startswith(".") or path.is_symlink() or not path.is_file():
                continue
            if has_checkpoint_name(path) or _looks_like_one(path):
                found.append(path.relative_to(folder))
    return found


def _looks_like_one(path: Path) -> bool:
    """Whether a file begins as a checkpoint does; a browser or a student may have named it anything."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
            if head.startswith(b"PK\3\4"):
                return is_torch_zip(zipfile.ZipFile(Modest(file)).namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError):
        return False
    return head.startswith(LEGACY) or (head[8:10] == b'{"' and 2 <= struct.unpack("<Q", head[:8])[0] < MOST_NAMES)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _named(text: str, names: Iterable[str]) -> str | None:
    """The checkpoint that a text names; None if it contains no name, or two of which neither is a part of the other."""
    held = [name for name in names if _plain(name) and _plain(name) in _plain(text)]
    meant = [name for name in held if not any(name != other and _plain(name) in _plain(other) for other in held)]
    return meant[0] if len(meant) == 1 else None


def _claims(path: Path, names: list[str]) -> dict[str, tuple[Any, ...]]:
    """The checkpoint that a file's name fits, with a rank: the smallest is the best."""
    stem = _stem(path)
    place = 0 if "checkpoints" in path.parts[:-1] else 1
    for name in names:
        if stem.lower() == name.lower():
            suffix = next((number for number, ending in enumerate(SUFFIXES) if path.name.lower().endswith(ending)), len(SUFFIXES))
            wanted = path.parts[:-1] == ("checkpoints",) and stem == name and suffix < 3
            return {name: (-1 if wanted else place, 0, suffix, len(path.parts), stem != name)}
    for kind, text in ((1, stem), (2, path.parent.name if not RUNS & set(path.parts) else "")):
        if named := _named(text, names):
            return {named: (place, kind)}
    return {}


def _age(path: Path) -> tuple[bool, float]:
    return "best" not in path.stem.lower(), -path.stat().st_mtime


def _chosen(folder: Path, name: str, found: list[tuple[Any, ...]]) -> FoundCheckpoint:
    """The first of the best-ranked files, and what is to be said of it."""

    def order(entry: tuple[Any, ...]) -> tuple[Any, ...]:
        rank, path = entry
        return (*rank[:2], *(rank[2:] if rank[1] == 0 else _age(folder / path)), path.as_posix())

    ranked = sorted(found, key=order)
    (rank, path), others = ranked[0], [other for _, other in ranked[1:]]
    how = " (known by the names of its layers)" if rank[1] == 3 else ""
    note = "" if rank[0] == -1 else f"{shown_path(path)} was taken as the checkpoint {name}{how}; expected checkpoints/{name}.safetensors"
    if others:
        listed = ", ".join(map(shown_path, others[:4])) + (", ..." if len(others) > 4 else "")
        note = f"{note or f'checkpoints/{path.name} counts as the checkpoint {name}'}; not used: {listed}"
    return FoundCheckpoint(folder / path, note)


# --------------------------------------------------------------------------------------------------------- by content
def _by_layers(path: Path, words: Words) -> str | None:
    """The network whose class names more of a file's layers than any other class; None if there is none."""
    layers = {part for name in _tensor_names(path) for part in name.split(".") if not part.isdigit()} - TELLING_NOTHING
    fits = {name: len(layers & known) / len(layers) for name, known in words.items()} if layers else {}
    best = sorted(fits, key=fits.__getitem__, reverse=True)
    if not best or fits[best[0]] < ENOUGH or (len(best) > 1 and fits[best[0]] == fits[best[1]]):
        return None
    return best[0]


def _tensor_names(path: Path) -> list[str]:
    """Names of the tensors in a file, as far as its table of contents tells; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
            if head[8:] == b"{" and (size := struct.unpack("<Q", head[:8])[0]) <= MOST_NAMES:
                return [name for name in json.loads(b"{" + file.read(size - 1)) if name != "__metadata__"]
            file.seek(0)
            if head.startswith(b"PK\3\4"):
                bundle = zipfile.ZipFile(Modest(file))
                table = next(member for member in bundle.infolist() if member.filename.endswith("/data.pkl"))
                with bundle.open(table) as pickled:
                    return _texts(pickled, 1) if table.file_size <= MOST_NAMES else []
            return _texts(file, 4)  # before the weights come a magic number, a version and facts of the machine
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile, NotImplementedError, RuntimeError, RecursionError):
        return []


def _texts(file: IO[bytes], pickles: int) -> list[str]:
    """Texts with a dot in them in some pickles that follow one another; they are listed, not loaded."""
    found: list[str] = []
    for _ in range(pickles):
        for number, (operation, argument, place) in enumerate(pickletools.genops(Modest(file))):  # type: ignore[arg-type]
            if operation.name.endswith("UNICODE") and isinstance(argument, str) and "." in argument:
                found.append(argument)
            if number > MOST_OPERATIONS or (place or 0) > MOST_NAMES:
                return found
    return found


def layer_words(workbook: Workbook, names: Iterable[str]) -> dict[str, frozenset[str]]:
    """The names and texts in the class that each checkpoint belongs to, and in the classes that it is built on.

    Args:
        workbook: The work.
        names: Names of checkpoints; a checkpoint is called like the solution cell of its class.
    """
    return {name: frozenset(_class_words(workbook, workbook.cells[name], set())) for name in names if name in workbook.cells}


def _class_words(workbook: Workbook, defined: str, seen: set[str]) -> set[str]:
    definition = workbook.find(defined) if defined not in seen else None
    if definition is None:
        return set()
    seen.add(defined)
    words: set[str] = set()
    for node in ast.walk(definition.statement):
        words |= {getattr(node, key) for key in ("id", "attr", "arg") if isinstance(getattr(node, key, None), str)}
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words |= set(node.value.split("."))
    for base in getattr(definition.statement, "bases", []):
        words |= _class_words(workbook, base.id, seen) if isinstance(base, ast.Name) else set()
    return words
