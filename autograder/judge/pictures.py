"""Pictures for the report: photo, label and prediction of some pictures of a gate's test list."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from autograder.judge.context import Context
from segkit.atomic import replacing

__all__ = ["write_pictures"]

PER_CHECK = 3


def write_pictures(folder: Path, context: Context) -> None:
    """Write ``pictures.json`` and ``pictures/``; nothing for the instructor's own pictures, which no student may see with labels.

    Args:
        folder: The submission's result folder.
        context: Holds predictions, colours and the legend.

    Raises:
        DiskFullError: There was no room; no half file is left.
    """
    data = context.data
    if data is None or data.split == "own":
        return
    target = folder / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    entries = []
    for check, maps in context.predictions.items():
        for name in list(maps)[:PER_CHECK]:
            stem = f"{check}-{name}"
            with replacing(target / f"{name}.jpg") as partial:
                Image.fromarray(data.photo(name)).save(partial, "JPEG", quality=85)
            _save_map(data.label(name), context.colours, target / f"{name}-label.png")
            _save_map(maps[name], context.colours, target / f"{stem}.png")
            entries.append({
                "check": check, "name": name, "image": f"pictures/{name}.jpg", "label": f"pictures/{name}-label.png",
                "prediction": f"pictures/{stem}.png", "note": _right(data.label(name), maps[name], len(context.colours) - 1),
                "legend": context.legend,
            })  # fmt: skip
    with replacing(folder / "pictures.json") as partial:
        partial.write_text(json.dumps(entries, indent=1), encoding="utf-8")


def _right(label: Any, prediction: Any, n_class: int) -> str:
    """How much of a picture is right, in words; nothing where it has no known pixel."""
    known = (label >= 0) & (label < n_class)
    return f"{(label == prediction)[known].mean():.0%} of its pixels right" if known.any() else ""


def _save_map(label: Any, colours: Any, path: Path) -> None:
    """Save a label map in the classes' colours; whatever is no class takes the last colour."""
    last = len(colours) - 1
    clipped = label.copy()
    clipped[(label < 0) | (label > last)] = last
    picture = Image.fromarray(clipped.astype("uint8"))
    picture.putpalette([int(value) for colour in colours for value in colour])
    with replacing(path) as partial:
        picture.save(partial, "PNG", optimize=True)
