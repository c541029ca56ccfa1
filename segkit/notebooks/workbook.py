"""All notebooks and scripts of one student, and which of their definitions of a name counts."""

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from segkit.notebooks.files import TEXTS
from segkit.notebooks.indexing import Index
from segkit.notebooks.names import bound_names, is_unfinished, taken_name
from segkit.notebooks.program import Program
from segkit.notebooks.reading import Cell, Document, python_source
from segkit.notebooks.slicing import Slicer

__all__ = ["Definition", "Workbook"]


@dataclass(frozen=True, eq=False)
class Definition:
    """Where a name is defined.

    Attributes:
        name: The name.
        document: File it stands in.
        cell: Its cell.
        index: Position of the statement among the cell's top-level statements.
        owner: Class of which it is a method, or None.
    """

    name: str
    document: Document
    cell: Cell
    index: int
    owner: str | None = None

    @property
    def statement(self) -> ast.stmt:
        return self.cell.parsed[0][self.index]

    @property
    def unfinished(self) -> bool:
        """Whether it is still a stub, wholly or in part."""
        return is_unfinished(self.statement)

    @property
    def where(self) -> str:
        return self.cell.label

    @property
    def modified(self) -> float:
        """When its file was saved, seconds since the epoch."""
        return self.document.modified


class Workbook:
    """All notebooks and scripts of one student, in which definitions can be found.

    Args:
        documents: Notebooks and scripts, in any order.
        cells: Grade id of each solution cell -> the name it must define, in the order of the assignment.
        errors: Files that could not be read, one text each.
        originals: File names of the notebooks as they were handed out.
        texts: Reads the small texts beside them, by path, once code names one.
    """

    def __init__(
        self, documents: list[Document], cells: dict[str, str], errors: list[str] | None = None,
        originals: tuple[str, ...] = (), texts: Callable[[], dict[str, str]] = dict,
    ) -> None:  # fmt: skip
        self.cells = dict(cells)
        self._read_texts = texts
        self.errors = list(errors or [])
        self.notes = [note for document in documents for note in document.notes]
        self.copies: list[Document] = []  # of a notebook that counts; not searched
        self.documents = self._in_order(_with_written(self._without_copies(documents, originals)))

    def _without_copies(self, documents: list[Document], originals: tuple[str, ...]) -> list[Document]:
        """Of notebooks with the same solution cells keep the one that is finished furthest, then the original name, then the newest."""
        groups: dict[frozenset[str], list[Document]] = {}
        kept = []
        for document in documents:
            ids = document.grade_ids & set(self.cells)
            groups.setdefault(ids, []).append(document) if ids else kept.append(document)
        for copies in groups.values():
            if len(copies) == 1:
                kept += copies
                continue
            # the least nested of equals, then the newest; a zip keeps times to two seconds, and must not lead to another choice
            copies.sort(key=lambda d: (
                -self._finished(d), PurePosixPath(d.name).name not in originals, d.name.count("/"), -(d.modified // 2), d.name,
            ))  # fmt: skip
            kept.append(copies[0])
            self.copies += copies[1:]
            for other in copies[1:]:
                self.notes.append(f"{other.name} has the same cells as {copies[0].name}: {copies[0].name} was read")
        return kept

    def _finished(self, document: Document) -> int:
        """How many solutions a document holds finished: work in "Copy of 1_data.ipynb" counts before the untouched 1_data.ipynb."""
        finished: set[str] = set()
        for statement in document.statements:
            if not taken_name(statement) and not is_unfinished(statement):
                finished.update(bound_names(statement))
        return len(finished & set(self.cells.values()))

    def _in_order(self, documents: list[Document]) -> list[Document]:
        order = {grade_id: index for index, grade_id in enumerate(self.cells)}

        def key(document: Document) -> tuple[Any, ...]:
            known = [order[grade_id] for grade_id in document.grade_ids if grade_id in order]
            return (document.name.endswith(".py"), min(known, default=len(order)), document.name)

        return sorted(documents, key=key)

    def syntax_errors(self) -> list[str]:
        """Cells that are no Python, one line each."""
        return [cell.parsed[1] for document in self.documents for cell in document.cells if cell.parsed[1]]

    def syntax_error_in(self, grade_id: str) -> str | None:
        """The syntax error of a solution cell, if it has one."""
        found = [c.parsed[1] for d in self.documents for c in d.cells if c.grade_id == grade_id and c.parsed[1]]
        return found[-1] if found else None

    def cell_of(self, grade_id: str) -> Cell | None:
        """The last cell with a grade id, or None if it was deleted."""
        found = [cell for document in self.documents for cell in document.cells if cell.grade_id == grade_id]
        return found[-1] if found else None

    # ---------------------------------------------------------------------------------------- finding a definition
    @cached_property
    def _definitions(self) -> dict[str, list[Definition]]:
        """Name -> all places that define it, in notebook order; work taken from another notebook and imports do not count."""
        found: dict[str, list[Definition]] = {}
        for document in self.documents:
            for cell in document.cells:
                for index, statement in enumerate(cell.parsed[0]):
                    if isinstance(statement, (ast.Import, ast.ImportFrom)) or taken_name(statement):
                        continue
                    owners = _method_owners(statement) | dict.fromkeys(bound_names(statement))
                    for name, owner in owners.items():
                        found.setdefault(name, []).append(Definition(name, document, cell, index, owner))
        return found

    def find(self, name: str, grade_id: str | None = None) -> Definition | None:
        """Find what counts as the definition of a name.

        By grade id first, then by name anywhere; the last in notebook order counts, and a finished one before a stub.

        Args:
            name: The name.
            grade_id: Grade id of its solution cell; known names have theirs from the assignment.
        """
        grade_id = grade_id or next((g for g, defined in self.cells.items() if defined == name), None)
        everywhere = self._definitions.get(name, [])
        graded = [d for d in everywhere if grade_id and d.cell.grade_id == grade_id]
        for candidates in self._candidates(name, graded, everywhere):
            finished = [d for d in candidates if not d.unfinished]
            if finished:
                self._note_choice(name, finished)
                return finished[-1]
        unfinished = graded or everywhere
        return unfinished[-1] if unfinished else None

    def _candidates(self, name: str, graded: list[Definition], everywhere: list[Definition]) -> Iterator[list[Definition]]:
        """Definitions that may count, the likeliest group first; a later group is looked for only where those before have none."""
        functions = [d for d in everywhere if d.owner is None]
        yield graded
        yield [d for d in functions if d.cell.number]  # a run has these; an export beside them, or a library, only what it imports
        yield functions
        yield self._of_one_class(everywhere)
        yield self._imported_as(name)

    def _imported_as(self, name: str) -> list[Definition]:
        """Places where a notebook imports a name from a script of the work: ``from models import Net as FCN32s``."""
        imports = [
            Definition(name, document, cell, index)
            for document in self.documents for cell in document.cells if cell.number
            for index, statement in enumerate(cell.parsed[0])
            if isinstance(statement, (ast.ImportFrom, ast.Try)) and name in bound_names(statement)
        ]  # fmt: skip
        return [definition for definition in imports if self.index.is_own(definition.document, definition.statement)]

    def _of_one_class(self, methods: list[Definition]) -> list[Definition]:
        """Among methods of several classes, those of the class that the assignment names first, since they do not overwrite each other."""
        order: dict[str | None, int] = {name: index for index, name in enumerate(self.cells.values())}
        first = min((order.get(d.owner, len(order)) for d in methods if not d.unfinished), default=None)
        return [d for d in methods if order.get(d.owner, len(order)) == first]

    def _note_choice(self, name: str, candidates: list[Definition]) -> None:
        if len(candidates) > 1:
            others = ", ".join(d.where for d in candidates[:-1][:6]) + (", ..." if len(candidates) > 7 else "")
            note = f"{name} is defined {len(candidates)} times: the last one counts, {candidates[-1].where} (also: {others})"
            if note not in self.notes:
                self.notes.append(note)

    @cached_property
    def texts(self) -> dict[str, str]:
        """The small texts, which code may read."""
        return self._read_texts()

    def texts_named(self, statements: Iterable[ast.stmt] | None = None) -> dict[str, str]:
        """The texts whose file names stand in strings of these statements; of all, if None."""
        if statements is None:
            statements = (statement for document in self.documents if self.texts for statement in document.statements)
        strings = (node.value for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Constant))
        names = {text[-300:].replace("\\", "/").rpartition("/")[2] for text in strings if isinstance(text, str) and text.endswith(TEXTS)}
        return {path: text for path, text in self.texts.items() if PurePosixPath(path).name in names} if names else {}

    # ---------------------------------------------------------------------------------------- cutting out a program
    @cached_property
    def index(self) -> Index:
        """Which statement does what to which name, for all definitions that are cut out."""
        return Index(self.documents)

    def program(self, definition: Definition) -> Program:
        """Cut out what must be run to have a definition."""
        return Slicer(self, definition).program()


def _with_written(documents: list[Document]) -> list[Document]:
    """Add the scripts that notebooks write: they stand in the place of files of the same name, as after a run."""
    written = {}
    for document in documents:
        folder = PurePosixPath(document.name).parent
        for path, parts in document.written.items():
            name = str(folder / path)
            written[name] = Document(name, [Cell(name, 0, python_source("\n".join(parts)))], modified=document.modified)
    return [d for d in documents if d.name not in written] + list(written.values())


def _method_owners(statement: ast.stmt) -> dict[str, str]:
    """Method -> class that gets it from this statement, by its body or by ``Class.name = ...``."""
    if isinstance(statement, ast.ClassDef):
        steps = statement.body
        methods = [node.name for node in steps if isinstance(node, ast.FunctionDef)]
        assigned = [target.id for node in steps if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)]
        return dict.fromkeys([*methods, *assigned], statement.name)
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    attributes = [target for target in targets if isinstance(target, ast.Attribute)]
    return {target.attr: target.value.id for target in reversed(attributes) if isinstance(target.value, ast.Name)}
