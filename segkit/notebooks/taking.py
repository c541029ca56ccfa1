"""Use in one notebook what was defined in another: ``FCN32s = take("FCN32s")``."""

import json
import time
from pathlib import Path
from typing import Any

from segkit.assignment import find
from segkit.notebooks.files import MAX_FILES, own_files
from segkit.notebooks.reading import DocumentError, read_document
from segkit.notebooks.running import Unrunnable, at_home, execute
from segkit.notebooks.slicing import Workbook

__all__ = ["UnfinishedError", "ago", "open_folder", "solution_cells", "take"]


class UnfinishedError(Exception):
    """A definition is missing or still the stub of the release; the text names the cell to finish."""


def solution_cells(folder: str | Path = ".") -> dict[str, str]:
    """Return the grade ids of the solution cells and the name that each must define, from ``assignment.json``."""
    content = json.loads(find(folder).read_text(encoding="utf-8"))
    cells = content.get("solution_cells", {})
    return {str(grade_id): str(name) for grade_id, name in cells.items()}


def open_folder(
    folder: str | Path = ".", cells: dict[str, str] | None = None, originals: tuple[str, ...] = ()
) -> Workbook:
    """Read all notebooks and scripts of a folder that are the student's own.

    Args:
        folder: Where the work is. Hidden folders and those that came with the release are passed over.
        cells: Grade id -> name of the solution cells; from ``assignment.json`` where it is left out.
        originals: File names of the notebooks as they were handed out; of two copies that name counts.

    Returns:
        The workbook; files that cannot be read are listed in its ``errors``.
    """
    folder = Path(folder)
    cells = solution_cells(folder) if cells is None else cells
    documents, errors, names = [], [], own_files(folder)
    for name in names:
        try:
            documents.append(read_document(folder / name, name.as_posix(), frozenset(cells)))
        except DocumentError as error:
            errors.append(str(error))
    if len(names) == MAX_FILES:
        errors.append(f"more than {MAX_FILES} notebooks and scripts: the rest was not read")
    return Workbook(documents, cells, errors, originals)


def ago(seconds: float) -> str:
    """Say how long ago something was, in the largest fitting unit: ``14 minutes ago``."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def take(name: str, folder: str | Path = ".") -> Any:
    """Return what another notebook of this folder defines, and print where it came from and when that was saved.

    Args:
        name: The name, such as ``"FCN32s"``.
        folder: Folder of the notebooks.

    Raises:
        UnfinishedError: If no notebook defines the name, its cell is still a stub, or the cell fails.
    """
    workbook = open_folder(folder)
    definition = workbook.find(name)
    if definition is None:
        broken = "".join(f"\n  {error}" for error in workbook.errors + workbook.syntax_errors())
        raise UnfinishedError(f"{name} is defined in no notebook or script of {Path(folder).resolve()}.{broken}")
    if definition.unfinished:
        raise UnfinishedError(
            f"{name} is not finished yet: complete the cell in {definition.where} (in {Path(folder).resolve()}), save that notebook, "
            "then run this cell again."
        )
    try:
        program = workbook.program(definition)
        with at_home(folder, program):
            value = execute(program)[name]
    except Unrunnable as error:
        raise UnfinishedError(f"{name} from {definition.where} cannot be run:\n{error}") from None
    print(f"{name}  from {definition.where}, saved {ago(time.time() - definition.modified)}")
    return value
