"""Pictures of predictions, small enough to live inside the page as data URIs."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["data_uri", "galleries", "read_pictures"]

LONGEST_SIDE = 640
KINDS = ("image", "label", "prediction")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def read_pictures(folder: Path) -> list[dict[str, Any]]:
    """The list in ``folder/pictures.json``; empty where there is none or it cannot be read.

    An error here must not prevent the report: a page without pictures is still useful.
    """
    try:
        entries = json.loads((Path(folder) / "pictures.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def galleries(pictures: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """Group pictures by check and read them in.

    Args:
        pictures: entries of ``pictures.json``: ``check``, ``name``, ``note``, and paths relative to ``folder`` under
            ``image``, ``label`` and ``prediction``. An entry may carry ``legend``, a list of
            ``{"name": class, "color": "#rrggbb" or [r, g, b]}``; the first one of a check counts.
        folder: folder of the submission.

    Returns:
        check id -> ``{"rows": [{"name", "note", "cells": [{"kind", "uri"}]}], "legend": [{"name", "color"}]}``;
        ``uri`` is None for a picture that is missing or broken.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in pictures:
        gallery = found.setdefault(str(entry.get("check", "")), {"rows": [], "legend": []})
        gallery["legend"] = gallery["legend"] or _legend(entry.get("legend"))
        if any(entry.get(kind) for kind in KINDS):
            cells = [{"kind": kind, "uri": data_uri(folder, entry.get(kind))} for kind in KINDS]
            gallery["rows"].append({"name": str(entry.get("name") or ""), "note": str(entry.get("note") or ""), "cells": cells})
    return found


def data_uri(folder: Path, path: str | None, longest_side: int = LONGEST_SIDE) -> str | None:
    """A picture file as a data URI, scaled down where it is larger than a page needs.

    Args:
        folder: folder of the submission; files outside it are not read.
        path: path relative to ``folder``.
        longest_side: limit in pixels.

    Returns:
        ``data:image/png;base64,...`` (label maps keep their palette) or jpeg; None if it cannot be read.
    """
    root = Path(folder).resolve()
    file = (root / str(path or "")).resolve()
    if not path or not file.is_relative_to(root):
        return None
    try:
        with Image.open(file) as picture:
            return _encode(picture, longest_side)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _encode(picture: Image.Image, longest_side: int) -> str:
    # A photograph may be smoothed and lose a little; in a label map every pixel is a class and must stay one.
    photograph = picture.format == "JPEG"
    scale = longest_side / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS if photograph else Image.Resampling.NEAREST)
    data = io.BytesIO()
    if photograph:
        picture.convert("RGB").save(data, "JPEG", quality=82)
    else:
        picture.save(data, "PNG", optimize=True)
    kind = "jpeg" if photograph else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"


def _legend(entries: Any) -> list[dict[str, Any]]:
    """Only real colours reach the style attribute of the page."""
    legend = []
    for entry in entries if isinstance(entries, list | tuple) else []:
        if not isinstance(entry, Mapping):
            continue
        color = entry.get("color")
        if isinstance(color, list | tuple) and len(color) == 3 and all(isinstance(value, int) for value in color):
            color = "#{:02x}{:02x}{:02x}".format(*(min(max(value, 0), 255) for value in color))
        if isinstance(color, str) and _COLOUR.fullmatch(color):
            legend.append({"name": str(entry.get("name", "")), "color": color})
    return legend
