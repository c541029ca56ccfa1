"""What a course says to the kit: ``assignment.json``, which the release builder writes from the rubric.

``facts`` gives the whole of it, for any assignment. ``load`` gives the numbers of fully convolutional networks that a course may
set: the padding of ``conv1_1`` and the crop offsets that follow from it. Notebooks and visible checks read them, so that a course
with another padding needs no other text.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["AssignmentError", "Crops", "facts", "find", "load"]

FILE_NAME = "assignment.json"
IN_THE_REPOSITORY = Path("notebooks", "fcn")  # whose numbers count at the root of the full kit, where no assignment is named


class AssignmentError(Exception):
    """``assignment.json`` is missing or damaged."""


@dataclass(frozen=True)
class Crops:
    """Where the crops of fully convolutional networks begin.

    Attributes:
        padding: Padding of ``conv1_1`` in pixels.
        crops: Offsets by name (``fcn32s``, ``fcn16s``, ``fcn8s``, ``pool4``, ``pool3``), in pixels.
    """

    padding: int
    crops: dict[str, int]


def find(folder: str | Path = ".") -> Path:
    """Return the path of ``assignment.json``: in ``folder``, beside the package, or in the repository's notebooks.

    Raises:
        AssignmentError: If it is in none of these places.
    """
    beside = Path(__file__).resolve().parent.parent
    places = [Path(folder) / FILE_NAME, beside / FILE_NAME, beside / IN_THE_REPOSITORY / FILE_NAME]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place.parent) for place in places)
    raise AssignmentError(
        f"{FILE_NAME} not found (looked in {looked}). It belongs beside the notebooks: unpack the zip that you were given again, whole, "
        "or start Jupyter in the folder that holds the notebooks."
    )


def facts(folder: str | Path = ".") -> dict[str, Any]:
    """Return the whole content of ``assignment.json``.

    Args:
        folder: Where to look first; then beside the package.

    Raises:
        AssignmentError: If the file is missing, or no JSON object.
    """
    path = find(folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict):
            return content
        why = f"expected an object, got a {type(content).__name__}"
    except (ValueError, OSError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
    raise AssignmentError(f"{path} cannot be read ({why}). Take the file from the zip that you were given again.")


def load(folder: str | Path = ".") -> Crops:
    """Read padding and crops from ``assignment.json``.

    Args:
        folder: Where to look first; then beside the package.

    Raises:
        AssignmentError: If the file is missing, is no JSON, or lacks a number.
    """
    from segkit.upsampling import crop_offsets  # imports torch, which whoever asks for a course's facts alone need not wait for

    content = facts(folder)
    try:
        crops = {name: int(content["crops"][name]) for name in crop_offsets()}
        return Crops(int(content["padding"]), crops)
    except (ValueError, KeyError, TypeError) as error:
        raise AssignmentError(
            f"{find(folder)} cannot be read ({type(error).__name__}: {error}). Expected the keys padding and crops; "
            "take the file from the zip that you were given again."
        ) from error
