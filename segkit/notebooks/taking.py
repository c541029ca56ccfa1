"""Use in one notebook what was defined in another: ``FCN32s = take("FCN32s")``."""

import time
from functools import partial
from pathlib import Path
from typing import Any

from segkit.assignment import facts
from segkit.notebooks.files import MAX_FILES, has_notebook_name, is_script, own_files, own_texts, script_name, shown_path, spare_files
from segkit.notebooks.reading import MAX_WORDS_OF_ALL, Document, DocumentError, read_document, words
from segkit.notebooks.running import Unrunnable, at_home, value_of
from segkit.notebooks.workbook import Workbook

__all__ = ["UnfinishedError", "ago", "open_folder", "solution_cells", "take"]

MAX_BYTES_OF_ALL = 2**30  # of notebooks and scripts, outputs included


class UnfinishedError(Exception):
    """A definition is missing or still the stub of the release; the text names the cell to finish."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the text alone, for the kit's own lines tell a student nothing."""
        return [f"{type(self).__name__}: {self}"]


def solution_cells(folder: str | Path = ".") -> dict[str, str]:
    """Return the grade ids of the solution cells and the name that each must define, from ``assignment.json``."""
    cells = facts(folder).get("solution_cells", {})
    return {str(grade_id): str(name) for grade_id, name in cells.items()}


def notebook_names(folder: str | Path = ".") -> tuple[str, ...]:
    """Return the names of the notebooks as they were handed out, from ``assignment.json``."""
    return tuple(map(str, facts(folder).get("notebooks", ())))


def open_folder(folder: str | Path = ".", cells: dict[str, str] | None = None, originals: tuple[str, ...] = ()) -> Workbook:
    """Read all notebooks and scripts of a folder that are the student's own; ``take``, ``submit`` and the grader all choose here.

    Args:
        folder: Where the work is. Hidden folders and those that came with the release are skipped.
        cells: Grade id -> name of the solution cells; from ``assignment.json``, as ``originals`` are, where it is left out.
        originals: File names of the notebooks as they were handed out; of two copies that name counts.

    Returns:
        The workbook; files that cannot be read are listed in its ``errors``.
    """
    folder = Path(folder)
    if cells is None:
        cells, originals = solution_cells(folder), originals or notebook_names(folder)
    documents, errors = _read(folder, own_files(folder), cells)
    texts = partial(own_texts, folder)
    book = Workbook(documents, cells, errors, originals, texts)
    if all(_is_done(book, name) for name in cells.values()):
        return book
    spare = _needed(*_read(folder, spare_files(folder), cells), book, originals)
    return Workbook([*documents, *spare], cells, errors, originals, texts) if spare else book


def _read(folder: Path, names: list[Path], cells: dict[str, str]) -> tuple[list[Document], list[str]]:
    """Read files; also what could not be read. Files that are not named like a notebook, and turn out to be none, are skipped."""
    documents, errors, spent, size = [], [], 0, 0
    for path in sorted(names, key=is_script):  # notebooks first
        if spent > MAX_WORDS_OF_ALL or size > MAX_BYTES_OF_ALL:
            text = f"expected at most {MAX_WORDS_OF_ALL} words and signs of code, and {MAX_BYTES_OF_ALL // 2**20} MiB, in all notebooks and"
            errors.append(f"{text} scripts, but got more: {shown_path(path)} and what comes behind it were not read")
            break
        size += _size(folder / path)
        name = script_name(path) if is_script(path) else path.as_posix()
        try:
            document = read_document(folder / path, name, frozenset(cells))
        except DocumentError as error:
            spent += error.words
            errors += [str(error)] if is_script(path) or has_notebook_name(path) else []
            continue
        spent += sum(words(cell.source) for cell in document.cells)
        if name != path.as_posix() or not (is_script(path) or path.suffix == ".ipynb"):
            document.notes.append(f"{shown_path(path)} was read as a {'script' if is_script(path) else 'notebook'}, by its content")
        documents.append(document)
    if len(names) == MAX_FILES:
        errors.append(f"more than {MAX_FILES} notebooks and scripts: the rest was not read (notebooks come first, then the least nested)")
    return documents, errors


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_done(book: Workbook, name: str) -> bool:
    definition = book.find(name)
    return definition is not None and not definition.unfinished


def _needed(documents: list[Document], errors: list[str], book: Workbook, originals: tuple[str, ...]) -> list[Document]:
    """From folders with the release's names and from archives: the files that define what no other file does, and scripts beside them."""
    other = Workbook(documents, book.cells, errors, originals)
    wanted = [name for name in book.cells.values() if not _is_done(book, name)]
    found = [(name, definition) for name in wanted if (definition := other.find(name)) is not None]
    books = {id(definition.document) for name, definition in found if book.find(name) is None or not definition.unfinished}
    places = {document.name.rpartition("/")[0] for document in documents if id(document) in books}
    kept = [d for d in documents if id(d) in books or (d.name.endswith(".py") and d.name.rpartition("/")[0] in places)]
    for document in kept:
        document.notes.append(f"{document.name} was read: what it defines was found nowhere else")
    return kept


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
            value = value_of(program, name)
    except Unrunnable as error:
        raise UnfinishedError(f"{name} from {definition.where} cannot be run:\n{error}") from None
    print(f"{name}  from {definition.where}, saved {ago(time.time() - definition.modified)}")
    return value
