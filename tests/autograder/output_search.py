"""Looks for hidden things in whatever a graded class writes: whole, in part, encoded, printed, packed, or in a picture.

Not found: fewer than three numbers of an input, or fewer than 48 bytes of it; anything encrypted.
"""

import base64
import binascii
import html
import io
import json
import re
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from autograder.release.leaks.lines import squeeze

__all__ = ["Hidden", "Searcher"]

NEEDLE = 24  # bytes
MAX_VALUES = 5000  # of each array; whoever prints an array begins at its beginning
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
BASE64, HEX = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}"), re.compile(r"(?:[0-9a-fA-F]{2}){24,}")


@dataclass(frozen=True)
class Hidden:
    """What nobody may read.

    Attributes:
        secret: The course's secret.
        arrays: Hidden inputs.
        lines: Squeezed source line -> what it is.
        paths: Pieces of paths of the judge's machine.
    """

    secret: str
    arrays: Iterable[np.ndarray]
    lines: Mapping[str, str]
    paths: tuple[str, ...]


class Searcher:
    """Searches files for hidden things."""

    def __init__(self, hidden: Hidden) -> None:
        self.hidden = hidden
        self.needles: set[bytes] = set()
        self.floats: set[tuple] = set()
        self.integers: set[tuple] = set()
        for array in hidden.arrays:
            self._add(np.ascontiguousarray(array))

    def _add(self, array: np.ndarray) -> None:
        raw = array.tobytes()[: 8 * MAX_VALUES]
        pieces = (raw[start : start + NEEDLE] for start in range(0, len(raw) - NEEDLE + 1, NEEDLE))
        self.needles |= {piece for piece in pieces if len(set(piece)) > 4}
        values = array.ravel()[:MAX_VALUES].astype(np.float64)
        if array.dtype.kind == "f":
            self.floats |= {run for run in _runs(_rounded(values), 3) if _tells(run)}
        elif array.dtype.kind in "iu":
            length = 8 if len(np.unique(values)) > 20 else 16  # eight labels stand in any style sheet by chance
            self.integers |= {run for run in _runs(values.astype(np.int64).tolist(), length) if len(set(run)) > 3}

    def search(self, path: Path, own: str = "", with_paths: bool = True) -> list[str]:
        """What was found in a file, one line each.

        Args:
            path: The file.
            own: Squeezed text of the student's own files: lines of it may stand in what that student gets.
            with_paths: Whether paths are looked for.
        """
        found = []
        for way, data in _views(path.read_bytes()):
            found += [f"{path.name}{way}: {what}" for what in self._in_bytes(data)]
            for text in _texts(data):
                found += [f"{path.name}{way}: {what}" for what in self._in_text(text, own, with_paths)]
        return list(dict.fromkeys(found))

    def _in_bytes(self, data: bytes) -> Iterator[str]:
        if any(data[start : start + NEEDLE] in self.needles for start in range(len(data) - NEEDLE + 1)):
            yield "bytes of a hidden input"

    def _in_text(self, text: str, own: str, with_paths: bool) -> Iterator[str]:
        squeezed = squeeze(text)
        if self.hidden.secret in squeezed:
            yield "the course's secret"
        for line, origin in self.hidden.lines.items():
            if line in squeezed and line not in own:
                yield f"a line of {origin}"
        if with_paths:
            yield from (f"the path {path}" for path in self.hidden.paths if path in text)
        tokens = NUMBER.findall(text)
        numbers = [float(token) for token in tokens]
        if self.floats & set(_runs(_rounded(np.array(numbers)), 3)):
            yield "numbers of a hidden input"
        whole = [int(number) if number.is_integer() and abs(number) < 2**53 else -(2**60) for number in numbers]
        if any(self.integers & set(_runs(whole, length)) for length in (8, 16)):
            yield "integers of a hidden input"


def _runs(values: list, length: int) -> Iterator[tuple]:
    return zip(*(values[start:] for start in range(length)), strict=False)


def _rounded(values: np.ndarray) -> list[int]:
    """Numbers to three digits, however large or small: digits and exponent as one integer."""
    known = np.where(np.isfinite(values) & (values != 0), values, 1.0)
    exponents = np.floor(np.log10(np.abs(known)))
    return (np.round(known / 10.0**exponents * 100) + 10_000 * exponents).astype(np.int64).tolist()


def _tells(run: tuple) -> bool:
    """Three numbers that nobody writes by chance."""
    return len(set(run)) == 3 and all(value % 100 for value in run)


def _texts(data: bytes) -> Iterator[str]:
    """Data as text: as it is, without tags, and what the strings of JSON say."""
    text = data.decode("utf-8", "replace")
    yield text
    if "<" in text:
        yield html.unescape(re.sub(r"<[^>]*>", " ", text))
    try:
        yield "\n".join(_strings(json.loads(text)))
    except (ValueError, RecursionError):
        for line in text.splitlines():  # a journal: one document a line
            if line.startswith("{"):
                try:
                    yield "\n".join(_strings(json.loads(line)))
                except (ValueError, RecursionError):
                    continue


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    else:
        yield str(value)


def _views(data: bytes, depth: int = 3) -> Iterator[tuple[str, bytes]]:
    """The data, and everything packed or encoded in it: way to it, bytes."""
    yield "", data
    if depth == 0:
        return
    for way, inner in _inside(data):
        for more, found in _views(inner, depth - 1):
            yield f" > {way}{more}", found


def _unpacked(data: bytes, kind: int) -> bytes:
    """As much as can be unpacked; the end may be missing."""
    try:
        return zlib.decompressobj(kind).decompress(data)
    except zlib.error:
        return b""


def _inside(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            yield from ((name, bundle.read(name)) for name in bundle.namelist())
    elif data[:2] == b"\x1f\x8b":
        yield "gzip", _unpacked(data, 31)
    elif data[:1] == b"\x78" and data[1:2] in (b"\x01", b"\x9c", b"\xda"):
        yield "zlib", _unpacked(data, 15)
    elif data[:8] == b"\x89PNG\r\n\x1a\n" or data[:3] == b"\xff\xd8\xff":
        with Image.open(io.BytesIO(data)) as picture:
            yield "pixels", np.asarray(picture).tobytes()
            yield "comments", str(picture.info).encode()
    elif data[:15] == b"SQLite format 3":
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(data)
            with sqlite3.connect(file.name) as database:
                yield "rows", "\n".join(database.iterdump()).encode()
    else:
        text = data.decode("latin-1")
        for match in BASE64.finditer(text):
            for start in range(4):  # the run may begin with letters that are none of it
                piece = match[0].rstrip("=")[start:].replace("-", "+").replace("_", "/")
                piece = piece[:-1] if len(piece) % 4 == 1 else piece
                yield "base64", base64.b64decode(piece + "=" * (-len(piece) % 4))
        for match in HEX.finditer(text):
            try:
                yield "hex", bytes.fromhex(match[0])
            except (ValueError, binascii.Error):
                continue
