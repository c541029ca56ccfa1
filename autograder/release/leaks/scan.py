"""The leak check of a release: reads the finished folder and the finished zip, and trusts neither.

It knows nothing of how the release was made. Every string of every file is looked at: text as it stands, notebooks also
as decoded JSON (a solution in an output, an attachment or a metadata value is escaped or base64 in the raw file).
"""

import base64
import binascii
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from autograder.release.leaks.lines import Secrets, squeeze

__all__ = ["Finding", "Release", "check_folder", "check_leaks", "check_zip"]

COMPILED = (".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib")
CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt", ".npz", ".npy", ".pkl", ".onnx")
RECORDED = re.compile(r"data/[^/]+/recorded/.*\.npz")  # arrays that may be: label maps, which are looked at one by one
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
# technical fields that Pillow reports for any picture
PICTURE_KEYS = frozenset(
    {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "transparency", "gamma", "progressive", "progression"}
)
FORBIDDEN_FOLDERS = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", ".venv", "reference", "autograder", "checkpoints"})
NOTEBOOK_KEYS = frozenset({"kernelspec", "language_info"})
MARKERS = re.compile(r"(BEGIN|END) (SOLUTION|MARK SCHEME|HIDDEN TESTS)")
# nbgrader knows the words above only, and leaves in place what stands between others
MISSPELT = re.compile(r"[#=]\s*(BEGIN|START|END|STOP)[\W_]+(SOLUTION|MARK(ING)?[\W_]*SCHEME|HIDDEN[\W_]*TEST)", re.IGNORECASE)
EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
HOME = re.compile(r"(?:/home/|/Users/|/root/|[A-Za-z]:\\+Users\\+)([A-Za-z0-9._-]*)")
# names of example users and of hosted machines: nobody's
NOBODY = frozenset({"jovyan", "student", "user", "you", "yourname", "name", "username", "runner", "..."})
EXAMPLE_HOSTS = ("example.org", "example.com", "example.net")


@dataclass(frozen=True)
class Finding:
    """One thing that must not be in the release.

    Attributes:
        file: path inside the release (``fcn.zip!...`` inside the zip).
        where: cell or line, or an empty string.
        what: the offending text, shortened.
        why: the rule that it breaks.
    """

    file: str
    where: str
    what: str
    why: str

    def __str__(self) -> str:
        place = f"{self.file}, {self.where}" if self.where else self.file
        return f"{place}: {self.why}: {self.what}"


@dataclass(frozen=True)
class Release:
    """What the check expects of a release.

    Attributes:
        secrets: lines that must not stand anywhere.
        expected: every path that may be there, relative to the release folder, with ``/``.
    """

    secrets: Secrets
    expected: frozenset[str]


def check_leaks(folder: Path, archive: Path | None, release: Release) -> list[Finding]:
    """Check a finished release, folder and zip.

    Args:
        folder: the release folder.
        archive: the zip of it, or None.
        release: secrets and expected paths.

    Returns:
        All findings; an empty list means clean.
    """
    found = check_folder(folder, release)
    return found + (check_zip(archive, release, folder.name) if archive is not None else [])


def check_folder(folder: Path, release: Release) -> list[Finding]:
    """Check every file below a folder; links and special files are findings themselves."""
    found: list[Finding] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found.append(Finding(name, "", str(path.readlink()), "a link in place of a file"))
        elif path.is_dir():
            if path.name in FORBIDDEN_FOLDERS:
                found.append(Finding(name, "", path.name, "a folder that has no place in a release"))
        elif path.is_file():
            found += _check_file(name, path.read_bytes(), release)
        else:
            found.append(Finding(name, "", "special file", "neither file nor folder"))
    return found


def check_zip(archive: Path, release: Release, top: str) -> list[Finding]:
    """Check every member of the zip, its names, comments and extra fields.

    Args:
        archive: the zip.
        release: secrets and expected paths.
        top: the folder that all members lie in.
    """
    found: list[Finding] = []
    with zipfile.ZipFile(archive) as bundle:
        label = archive.name
        found += _check_blob(f"{label}!", "comment", bundle.comment, release.secrets)
        if bundle.comment:
            found.append(Finding(label, "comment", _short(bundle.comment.decode("latin-1")), "a zip comment"))
        for member in bundle.infolist():
            name = f"{label}!{member.filename}"
            if member.comment or member.extra:
                found.append(Finding(name, "", "comment or extra field", "hidden data of a zip member"))
            inner = PurePosixPath(member.filename)
            if inner.is_absolute() or ".." in inner.parts or inner.parts[0] != top:
                found.append(Finding(name, "", member.filename, f"lies outside the folder {top}/"))
            elif not member.is_dir():
                found += _check_file(inner.relative_to(top).as_posix(), bundle.read(member), release, label + "!")
    return found


def _check_file(name: str, data: bytes, release: Release, label: str = "") -> list[Finding]:
    shown = label + name
    found = _check_name(name, shown, release.expected)
    if name.endswith(".ipynb"):
        found += _check_notebook(shown, data, release.secrets)
    if name.lower().endswith(PICTURES):
        found += _check_picture(shown, data)
    if RECORDED.fullmatch(name):
        found += _check_label_maps(shown, data)
    return list(dict.fromkeys(found + _check_text(shown, data, release.secrets)))


def _check_name(name: str, shown: str, expected: frozenset[str]) -> list[Finding]:
    path = PurePosixPath(name)
    if path.suffix in COMPILED:
        return [Finding(shown, "", path.suffix, "a compiled file (it holds its source's constants and names)")]
    if path.suffix in CHECKPOINTS and not RECORDED.fullmatch(name):
        return [Finding(shown, "", path.suffix, "a checkpoint or array file")]
    if bad := FORBIDDEN_FOLDERS.intersection(path.parts[:-1]):
        return [Finding(shown, "", sorted(bad)[0], "lies in a folder that has no place in a release")]
    if name not in expected:
        return [Finding(shown, "", path.name, "not on the list of files of this release")]
    return []


def _check_text(shown: str, data: bytes, secrets: Secrets) -> list[Finding]:
    """Look at a file line by line for markers and persons, and as a whole for secret lines."""
    text = data.decode("utf-8", errors="replace")
    found = _secret_findings(shown, text, secrets)
    if b"\0" in data:  # a picture: bytes that look like an address by chance prove nothing
        return found
    for number, line in enumerate(text.splitlines(), start=1):
        found += _line_findings(shown, f"line {number}", line)
    return found


def _check_picture(shown: str, data: bytes) -> list[Finding]:
    """Cameras and editors write names, places and times into pictures."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            notes = {key: value for key, value in picture.info.items() if key not in PICTURE_KEYS}
            notes |= {f"EXIF {key}": value for key, value in picture.getexif().items()}
    except (OSError, SyntaxError, ValueError) as error:
        return [Finding(shown, "", type(error).__name__, "not a readable picture, so it cannot be checked")]
    return [Finding(shown, "", _short(f"{key} = {value}"), "metadata inside a picture") for key, value in notes.items()]


def _check_label_maps(shown: str, data: bytes) -> list[Finding]:
    """Weights are no pictures of class numbers: floating point, or of other dimensions than two."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = ((key, file[key]) for key in file)  # each look at file[key] unpacks it anew
            others = [f"{key}: {array.dtype} {array.shape}" for key, array in arrays if array.dtype != np.uint8 or array.ndim != 2]
    except Exception as error:  # a damaged zip raises whatever it likes
        return [Finding(shown, "", type(error).__name__, "not a readable file of arrays, so it cannot be checked")]
    return [Finding(shown, "", _short(other), "an array that is no label map (uint8, H x W)") for other in others]


def _check_blob(shown: str, where: str, data: bytes, secrets: Secrets) -> list[Finding]:
    return _secret_findings(shown, data.decode("utf-8", errors="replace"), secrets, where)


def _secret_findings(shown: str, text: str, secrets: Secrets, where: str = "") -> list[Finding]:
    body = squeeze(text)
    found = []
    for form, secret in secrets.lines.items():
        if form in body:
            place = where or _line_of(text, form)
            why = f"a line of a {secret.kind} ({secret.origin})"
            found.append(Finding(shown, place, _short(secret.text), why))
    return found


def _line_of(text: str, form: str) -> str:
    """Find the line at which a squeezed text begins."""
    start = squeeze(text).index(form)
    count = 0
    for number, line in enumerate(text.splitlines(), start=1):
        count += len(squeeze(line))
        if count > start:
            return f"line {number}"
    return ""


def _line_findings(shown: str, where: str, line: str) -> list[Finding]:
    found = []
    if marker := MARKERS.search(line) or MISSPELT.search(line):
        found.append(Finding(shown, where, marker.group(), "a marker of a solution, mark scheme or hidden test"))
    for match in EMAIL.finditer(line):
        if not match.group().lower().endswith(EXAMPLE_HOSTS):
            found.append(Finding(shown, where, match.group(), "an e-mail address"))
    for match in HOME.finditer(line):
        if match.group(1).lower() not in NOBODY:
            found.append(Finding(shown, where, match.group(), "somebody's home folder"))
    return found


def _check_notebook(shown: str, data: bytes, secrets: Secrets) -> list[Finding]:
    try:
        notebook = json.loads(data)
        cells = notebook["cells"]
    except (ValueError, KeyError, TypeError) as error:
        return [Finding(shown, "", type(error).__name__, "not a readable notebook, so it cannot be checked")]
    found = _metadata_findings(shown, notebook.get("metadata", {}))
    outside = {key: value for key, value in notebook.items() if key != "cells"}
    found += _value_findings(shown, "notebook metadata", outside, secrets)
    for number, cell in enumerate(cells, start=1):
        where = f"cell {number}"
        if cell.get("outputs"):
            found.append(Finding(shown, where, f"{len(cell['outputs'])} outputs", "outputs were left in"))
        if cell.get("execution_count") is not None:
            found.append(Finding(shown, where, str(cell["execution_count"]), "an execution count was left in"))
        found += _attachment_findings(shown, where, cell)
        found += _value_findings(shown, where, cell, secrets)
    return found


def _attachment_findings(shown: str, where: str, cell: dict[str, Any]) -> list[Finding]:
    """Pictures that a text shows may stay; they are looked at like any other picture."""
    found: list[Finding] = []
    solution = cell.get("metadata", {}).get("nbgrader", {}).get("solution")
    for name, kinds in cell.get("attachments", {}).items():
        content = kinds.get("image/png") or kinds.get("image/jpeg")
        if solution or not content or f"attachment:{name}" not in "".join(cell["source"]):
            found.append(Finding(shown, where, name, "attachments were left in"))
        else:
            found += _check_picture(f"{shown}, {where}, {name}", _bytes(content))
    return found


def _bytes(content: str) -> bytes:
    try:
        return base64.b64decode(content)
    except ValueError:
        return b""  # no readable picture


def _metadata_findings(shown: str, metadata: dict[str, Any]) -> list[Finding]:
    found = []
    for key in sorted(set(metadata) - NOTEBOOK_KEYS):
        found.append(Finding(shown, "notebook metadata", f"{key} = {_short(str(metadata[key]))}", "metadata of a person"))
    kernel = metadata.get("kernelspec", {})
    if kernel.get("name", "python3") != "python3" or kernel.get("display_name", "Python 3") != "Python 3":
        found.append(Finding(shown, "notebook metadata", str(kernel), "the kernel of somebody's machine"))
    return found


def _value_findings(shown: str, where: str, value: Any, secrets: Secrets) -> list[Finding]:
    """Look into every string of a JSON value, joined lists of lines and base64 included."""
    found: list[Finding] = []
    for text in _strings(value):
        found += _secret_findings(shown, text, secrets, where)
        decoded = _from_base64(text)
        if decoded is not None:
            found += _secret_findings(shown, decoded, secrets, f"{where} (base64)")
    return list(dict.fromkeys(found))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            yield "".join(value)
        else:
            for item in value:
                yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)


def _from_base64(text: str) -> str | None:
    compact = "".join(text.split())
    if len(compact) < 32 or len(compact) % 4:
        return None
    try:
        return base64.b64decode(compact, validate=True).decode("utf-8", errors="replace")
    except (binascii.Error, ValueError):
        return None


def _short(text: str, width: int = 80) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 3] + "..."
