"""Turn a raw hand-in into a clean folder ``submitted/<student>/<assignment>``."""

import os
import shutil
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode

from autograder.gradebook.cells import grade_id_of, is_answer, is_test, make_cell, resolve_duplicates
from autograder.gradebook.repair import Unreadable, repair
from segkit.checkpoint_files import has_checkpoint_name
from segkit.notebooks import FOREIGN
from segkit.notebooks.files import SPARE, enterable, has_notebook_name, is_notebook, is_script, script_name
from segkit.notebooks.reading import MAX_FILE, shown

__all__ = ["Collected", "collect_folder"]

MAX_OTHER = 64 * 2**20
MAX_CHECKPOINT = 1200 * 2**20
MAX_TOTAL = 4 * 2**30
MAX_FILES = 500


@dataclass
class Collected:
    """What became of one hand-in.

    Attributes:
        target: the clean folder.
        notes: what was repaired, renamed, or left out, one line each.
    """

    target: Path
    notes: list[str] = field(default_factory=list)


@dataclass
class _Book:
    """A student's notebook: where it was, what it holds, what it was known as."""

    path: Path
    relative: Path
    notebook: NotebookNode
    known_as: str | None = None


def collect_folder(
    folder: Path, target: Path, sources: dict[str, NotebookNode], read: Iterable[str] = (), checkpoints: Iterable[Path] = ()
) -> Collected:
    """Write a clean copy of a hand-in.

    Args:
        folder: the raw hand-in; it is not changed.
        target: a folder that is not there yet.
        sources: file name -> notebook as it was handed out.
        read: names of the files that count, as the reader of submissions found; some lie in a folder of the release's name.
        checkpoints: those that count, whatever they are called.

    Returns:
        What was done. Every notebook of the assignment is there afterwards, if only with its check cells, so that
        nbgrader grades all of them.
    """
    done = Collected(target)
    target.mkdir(parents=True)
    weights = {path.resolve() for path in checkpoints}
    files = _own_files(folder, set(read), weights, done.notes)
    books = []
    for path in [file for file in files if _is_book(file)]:
        try:
            notebook, notes = repair(path)
            done.notes += notes
            books.append(_Book(path, path.relative_to(folder), notebook))
        except Unreadable as error:
            if has_notebook_name(path):
                done.notes.append(f"{error}; kept as {path.name}.unreadable")
                _copy(path, target / f"{path.relative_to(folder)}.unreadable")
    opened = {book.path for book in books}
    _name_books(books, sources, set(read), done.notes)
    for book in books:
        source = sources.get(book.known_as or "")
        if source is not None:
            done.notes += [f"{book.known_as}: {note}" for note in resolve_duplicates(book.notebook, source)]
        place = target / (book.known_as or book.relative)
        place.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(book.notebook, place)
        shutil.copystat(book.path, place)
    _fill_in(books, target, sources, done.notes)
    for path in [file for file in files if file not in opened and not has_notebook_name(file)]:
        _copy(path, target / path.relative_to(folder), link=path.resolve() in weights)
    done.notes = [shown(note, 1000) for note in done.notes]
    return done


def _is_book(path: Path) -> bool:
    return not is_script(path) and is_notebook(path)


def _own_files(folder: Path, read: set[str], weights: set[Path], notes: list[str]) -> list[Path]:
    """Regular files of the student, without links, tools' leftovers and what came with the release."""
    found: list[Path] = []
    total = 0
    for place, folders, files in os.walk(folder):
        here = Path(place)
        links = [name for name in [*folders, *files] if (here / name).is_symlink()]
        notes += [f"{(here / name).relative_to(folder)}: a link, left out" for name in links]
        folders[:] = sorted(f for f in folders if f not in FOREIGN - SPARE and enterable(here / f))
        inside = here.relative_to(folder).parts
        left_out = not SPARE.isdisjoint(inside) and inside[:1] != ("checkpoints",)
        for name in sorted(set(files) - set(links)):
            path = here / name
            relative = path.relative_to(folder).as_posix()
            wanted = path.resolve() in weights
            if left_out and not wanted and relative not in read and script_name(Path(relative)) not in read:
                continue
            if name.startswith(".") or not path.is_file():
                notes += [] if name.startswith(".") else [f"{relative}: not a regular file, left out"]
                continue
            size = path.stat().st_size
            limit = MAX_CHECKPOINT if wanted or has_checkpoint_name(path) else MAX_FILE if _is_book(path) else MAX_OTHER
            total += size if size <= limit else 0
            if size > limit or total > MAX_TOTAL or (len(found) >= MAX_FILES and not (wanted or _is_book(path) or is_script(path))):
                notes.append(f"{relative}: too large or too many ({size / 2**20:.0f} MiB), left out")
                continue
            found.append(path)
    return found


def _copy(path: Path, place: Path, link: bool = False) -> None:
    """Copy a file; checkpoints as a hard link where the disk allows it, since a class has hundreds of gigabytes of them."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if link or has_checkpoint_name(path):
        try:
            os.link(path, place)
            return
        except OSError:
            pass
    shutil.copyfile(path, place)
    shutil.copystat(path, place)


def _name_books(books: list[_Book], sources: dict[str, NotebookNode], read: set[str], notes: list[str]) -> None:
    """Find out which notebook of the assignment each file is. Of several, the original name counts, else the newest."""
    claims: dict[str, list[_Book]] = {}
    for book in books:
        if (name := known_name(book.notebook, book.path.name, sources)) is not None:
            claims.setdefault(name, []).append(book)
    for name, claimed in claims.items():
        # the same order as in reading a submission: what counted there, original name, least nested, newest
        claimed.sort(key=lambda b: (b.relative.as_posix() not in read, b.path.name != name, len(b.relative.parts), -b.path.stat().st_mtime))
        claimed[0].known_as = name
        if claimed[0].relative.as_posix() != name:
            notes.append(f"{claimed[0].relative} was known by its cells and is {name} now")
        for other in claimed[1:]:
            notes.append(f"{other.relative} has the cells of {name} too; {claimed[0].relative} counts")
    for book in books:  # no other file may have a name of the release
        if book.known_as is None and book.relative.as_posix() in sources:
            book.relative = book.relative.with_name(f"{book.path.stem}-other.ipynb")


def known_name(notebook: NotebookNode, file: str, sources: dict[str, NotebookNode]) -> str | None:
    """The notebook of the assignment that a file is, or None: by grade ids, else by texts of cells, else by its name.

    A file that holds most of two or more notebooks (everything in one) is none of them.
    """
    ids = {grade_id_of(cell) for cell in notebook.cells} - {None}
    shares = {name: _share(ids, {grade_id_of(cell) for cell in source.cells} - {None}) for name, source in sources.items()}
    full = [name for name, share in shares.items() if share > 0.5]
    if len(full) > 1:
        return None
    if not any(shares.values()):
        texts = {cell.source.strip() for cell in notebook.cells}
        shares = {name: _share(texts, {c.source.strip() for c in source.cells}) for name, source in sources.items()}
    best = max(shares, key=lambda name: (shares[name], name == file), default=None)
    if best is not None and shares[best] > 0.2:
        return best
    return file if file in sources else (best if best is not None and shares[best] > 0 and ids else None)


def _share(found: AbstractSet[str | None], wanted: AbstractSet[str | None]) -> float:
    return len(found & wanted) / len(wanted) if wanted else 0.0


def _fill_in(books: list[_Book], target: Path, sources: dict[str, NotebookNode], notes: list[str]) -> None:
    """Write the notebooks that are not there, with their check cells and answers and without solution cells.

    A stub of a solution cell would compete with the student's own definition in another file.
    """
    answers: dict[str | None, str] = {}
    for book in books:
        answers |= {grade_id_of(cell): cell.source for cell in book.notebook.cells if grade_id_of(cell)}
    there = {book.known_as for book in books}
    for name, source in sources.items():
        if name in there:
            continue
        notebook = nbformat.v4.new_notebook(metadata=source.metadata)
        for cell in source.cells:
            if is_test(cell) or is_answer(cell):
                text = answers.get(grade_id_of(cell), cell.source) if is_answer(cell) else cell.source
                notebook.cells.append(make_cell(cell.cell_type, text, cell.metadata, cell.get("id")))
        nbformat.write(notebook, target / name)
        notes.append(f"{name} is not among the files: written with its check cells only")
