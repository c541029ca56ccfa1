"""Pictures that an answer shows: taken out of the notebook or the files beside it, and written anew, so that they hold pixels only."""

import base64
import binascii
import io
import json
import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image

from autograder.course.rubric import CheckRubric
from autograder.handins.answers import MOST_TEXT
from autograder.handins.submission import Submission
from autograder.report.answers import PICTURES
from segkit.atomic import disk_is_full, replacing
from segkit.notebooks.reading import cell_text, notebook_content, raw_cells

__all__ = ["keep_pictures"]

MOST_PICTURES = 8  # of an answer
MOST_BYTES = 12 * 2**20  # of a picture, as it was handed in
MOST_PIXELS = 40_000_000
MOST_NOTEBOOK = 128 * 2**20
LONGEST_SIDE = 1600
MOST_KEPT = 2**20  # bytes of a picture that keeps each pixel; a larger one is kept as a photograph
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
FOLDER = "answers"

# the target of a picture in Markdown, with or without <>; and in HTML
_TARGETS = re.compile(
    r"""!\[[^\]]{0,500}\]\(\s{0,9}(?:<([^>\n]{1,2000})>|([^\s)]+))|<img\b[^>]{0,500}?\bsrc\s{0,9}=\s{0,9}["']?([^"'>\s]+)""", re.IGNORECASE
)


def keep_pictures(folder: Path, submission: Submission, checks: Mapping[str, CheckRubric]) -> None:
    """Write the pictures of the answers below ``folder``, and ``answer_pictures.json``. Whatever goes wrong costs a picture, never a grade.

    Args:
        folder: The submission's result folder.
        submission: It is open.
        checks: By id.

    Raises:
        DiskFullError: There was no room.
    """
    try:
        for old in (folder / FOLDER).glob("*.*"):
            old.unlink()
        found = {check.id: shown for check in checks.values() if check.manual and (shown := _of_check(folder, submission, check.id))}
        if found or (folder / PICTURES).exists():
            with replacing(folder / PICTURES) as partial:
                partial.write_text(json.dumps(found, indent=1), encoding="utf-8")
    except Exception as error:
        if disk_is_full(error):
            raise


def _of_check(folder: Path, submission: Submission, check: str) -> dict[str, str]:
    """Target, as the text names it -> the file, relative to the folder."""
    found: dict[str, str] = {}
    grade_id = check.replace(".", "-")
    for document in submission.workbook.documents:
        texts = [(number, text[:MOST_TEXT]) for number, text in document.texts.get(grade_id, [])]
        if not any(_TARGETS.search(text) for _, text in texts):
            continue
        cells = raw_cells(notebook_content(submission.folder / document.name, document.name, MOST_NOTEBOOK)[0], document.name)
        for number, text in texts:
            attached = cells[number - 1].get("attachments") if number <= len(cells) else None
            for target in _targets(cell_text(text)):
                if target not in found and len(found) < MOST_PICTURES:
                    data = _bytes(target, attached, (submission.folder / document.name).parent, submission.folder)
                    path = f"{FOLDER}/{grade_id}-{len(found) + 1}"
                    if data and (name := _write_anew(data, folder / path)):
                        found[target] = f"{FOLDER}/{name}"
    return found


def _targets(text: str) -> Iterator[str]:
    for match in _TARGETS.finditer(text):
        yield next(group for group in match.groups() if group is not None)


def _bytes(target: str, attached: Any, beside: Path, root: Path) -> bytes | None:
    """What a target names: an attachment of the cell, data in the address itself, or a file of the submission."""
    plain = unquote(unescape(target))
    if plain.startswith("attachment:"):
        bundle = attached.get(plain.removeprefix("attachment:")) if isinstance(attached, dict) else None
        kinds = bundle.items() if isinstance(bundle, dict) else ()
        return next((data for kind, text in kinds if str(kind).startswith("image/") and (data := _decoded(text))), None)
    if match := re.match(r"data:image/[\w.+-]+;base64,", target):
        return _decoded(target[match.end() :])
    try:
        path = (beside / plain).resolve()
        if re.match(r"\w+:", plain) or not path.is_relative_to(root.resolve()) or not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        return path.read_bytes()
    except (OSError, ValueError):
        return None


def _decoded(text: Any) -> bytes | None:
    text = cell_text(text)
    try:
        return base64.b64decode(text) if len(text) <= MOST_BYTES * 4 // 3 else None
    except (binascii.Error, ValueError):
        return None


def _write_anew(data: bytes, path: Path) -> str | None:
    """Decode a picture and encode it again: nothing but its pixels is left. Returns the file's name, None for what is no picture."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return None
            pixels = picture.convert("RGBA")
            pixels.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            small = io.BytesIO()
            pixels.save(small, "PNG")
            photograph = picture.format == "JPEG" or small.tell() > MOST_KEPT
            if photograph:
                small = io.BytesIO()
                Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels).convert("RGB").save(small, "JPEG", quality=85)
        path = path.with_name(path.name + (".jpg" if photograph else ".png"))
        with replacing(path) as partial:
            partial.write_bytes(small.getvalue())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if disk_is_full(error):
            raise
        return None
    return path.name
