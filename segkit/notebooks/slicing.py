"""Find a definition in a student's notebooks and scripts, and cut out just what it needs.

A definition is run with the imports, functions, classes and assignments that it uses, directly or through others, and with the
statements that change one of these. Everything else (training, checks, displays) is not run, so reading a definition takes no
time and has no side effects.
"""

from typing import Any
import ast
import builtins
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import PurePosixPath

from segkit.notebooks.indexing import Index, Position
from segkit.notebooks.names import binds_anything, bound_names, downloads, is_unfinished, needs, read_file, run_file, sets_path, star_modules, taken_name
from segkit.notebooks.reading import Cell, Document, python_source

__all__ = ["Chunk", "Definition", "Program", "Workbook"]

# the usual imports of notebooks; used when the import cell itself was lost
CONVENTIONS = {
    "torch": "import torch", "nn": "from torch import nn", "F": "import torch.nn.functional as F",
    "np": "import numpy as np", "numpy": "import numpy", "torchvision": "import torchvision",
    "Image": "from PIL import Image", "PIL": "import PIL", "Path": "from pathlib import Path", "math": "import math",
    "os": "import os", "Tensor": "from torch import Tensor",
}  # fmt: skip


@dataclass(frozen=True)
class Chunk:
    """Statements of one cell: the cell's whole source, and the positions of the statements to run."""

    label: str
    source: str
    statements: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """All that must be run, in order, to have ``name``.

    Attributes:
        name: What it defines.
        where: Cell of the definition, as messages name it.
        chunks: What to run.
        modules: The student's own scripts that the chunks import, and the texts that they name: path relative to the work -> content.
        notes: What was done beyond the plain reading (a lost import that was filled in).
        folder: Folder of the notebook, relative to the work: the current folder while the program runs.
    """

    name: str
    where: str
    chunks: tuple[Chunk, ...]
    modules: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folder: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the code itself: comments, blank lines, file and cell names do not count."""
        parts = [self.name]
        for chunk in self.chunks:
            try:
                body = ast.parse(chunk.source).body
                parts += [ast.unparse(body[index]) for index in chunk.statements]
            except (RecursionError, ValueError, MemoryError):  # a sum of a thousand terms, a number of thousands of digits: its text will do
                parts.append(chunk.source)
        parts += [f"{path}\n{source}" for path, source in sorted(self.modules.items())]
        parts += [self.folder] if self.modules else []
        return hashlib.sha256("\n\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as it crosses the pipe between judge and worker."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Program":
        """Return the program that ``to_json`` wrote."""
        chunks = tuple(Chunk(c["label"], c["source"], tuple(c["statements"])) for c in content["chunks"])
        return cls(content["name"], content["where"], chunks, dict(content["modules"]), tuple(content["notes"]),
                   content["folder"])  # fmt: skip


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
        texts: Small texts beside them, by path, which code may read.
    """

    def __init__(
        self, documents: list[Document], cells: dict[str, str], errors: list[str] | None = None,
        originals: tuple[str, ...] = (), texts: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.cells = dict(cells)
        self.texts = dict(texts or {})
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
        for statement in (statement for cell in document.cells for statement in cell.parsed[0]):
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
        functions = [d for d in everywhere if d.owner is None]
        cells = [d for d in functions if d.cell.number]  # a run has these; an export beside them, or a library, only what it imports
        for candidates in (graded, cells, functions, self._of_one_class(everywhere), self._imported_as(name)):
            finished = [d for d in candidates if not d.unfinished]
            if finished:
                self._note_choice(name, finished)
                return finished[-1]
        unfinished = graded or everywhere
        return unfinished[-1] if unfinished else None

    def _imported_as(self, name: str) -> list[Definition]:
        """Places where a notebook imports a name from a script of the work: ``from models import Net as FCN32s``."""
        return [
            Definition(name, document, cell, index)
            for document in self.documents for cell in document.cells if cell.number
            for index, statement in enumerate(cell.parsed[0])
            if isinstance(statement, (ast.ImportFrom, ast.Try)) and name in bound_names(statement) and self.index.is_own(document, statement)
        ]  # fmt: skip

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

    def texts_named(self, statements: Iterable[ast.stmt] | None = None) -> dict[str, str]:
        """The texts whose file names stand in strings of these statements; of all, if None."""
        if statements is None:
            statements = (statement for document in self.documents for cell in document.cells for statement in cell.parsed[0])
        named = _file_names(statements) if self.texts else set()
        return {path: text for path, text in self.texts.items() if PurePosixPath(path).name in named}

    # ---------------------------------------------------------------------------------------- cutting out a program
    @cached_property
    def index(self) -> Index:
        """Which statement does what to which name, for all definitions that are cut out."""
        return Index(self.documents)

    def program(self, definition: Definition) -> Program:
        """Cut out what must be run to have a definition."""
        return _Slicer(self, definition).program()


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


class _Slicer:
    """Collects the statements that one definition needs, over all documents."""

    def __init__(self, workbook: Workbook, definition: Definition) -> None:
        self.workbook, self.definition, self.index = workbook, definition, workbook.index
        self.chosen: dict[int, set[Position]] = {}
        self.extra: list[Chunk] = []
        self.renamed: list[Chunk] = []
        self.notes: list[str] = []
        self.done: set[tuple[Any, ...]] = set()
        self.pending: list[tuple[int, Position]] = []  # chosen statements whose needs are still to be chosen; a list, since a chain may have any length
        document = workbook.documents.index(definition.document)
        self.target = (document, (definition.document.cells.index(definition.cell), definition.index))

    def program(self) -> Program:
        document, position = self.target
        self._choose(document, position)
        self._choose_changes(document, self.definition.owner or self.definition.name)
        self._follow()
        self._choose_stars()
        modules = self._modules()
        if modules:
            self._choose_paths()
            self._add_folders(modules)
        self._choose_future()
        self._note_downloads(modules)
        others = [index for index in sorted(self.chosen) if index != document]
        chunks = [*self.extra]
        for index in [*others, document]:
            chunks += self.renamed if index == document else []  # Y = take("X"): between X's file and the user of Y
            cells = self.workbook.documents[index].cells
            for number in sorted({cell for cell, _ in self.chosen[index]}):
                statements = tuple(sorted(p for cell, p in self.chosen[index] if cell == number))
                chunks.append(Chunk(cells[number].label, cells[number].source, statements))
        name = self.definition.owner or self.definition.name
        folder = PurePosixPath(self.definition.document.name).parent
        modules |= self.workbook.texts_named(self._all_chosen(modules))
        return Program(name, self.definition.where, tuple(chunks), modules, tuple(self.notes), str(folder) if folder.name else "")

    def _follow(self) -> None:
        while self.pending:
            self._choose_needs(*self.pending.pop())

    def _all_chosen(self, modules: dict[str, str]) -> Iterator[ast.stmt]:
        """All statements that will be run, those of imported scripts included."""
        for document, positions in self.chosen.items():
            yield from (self.index.statement(document, position) for position in positions)
        scripts = (document for document in self.workbook.documents if document.name in modules)
        yield from (statement for document in scripts for cell in document.cells for statement in cell.parsed[0])

    def _all_of(self, document: int, wanted: Callable[[ast.stmt], bool]) -> None:
        for number, cell in enumerate(self.workbook.documents[document].cells):
            for index, statement in enumerate(cell.parsed[0]):
                if wanted(statement):
                    self._choose(document, (number, index))

    def _choose_stars(self) -> None:
        """Choose every ``from torch.nn import *``: it may bind, or hide, any name."""
        for document in list(self.chosen):
            self._all_of(document, partial(self._binds_all, self.workbook.documents[document]))
        self._follow()

    def _choose_paths(self) -> None:
        """Choose what changes the import path if scripts are imported, also an ``import setpath`` that is there for its effect."""
        for document in list(self.chosen):
            self._all_of(document, sets_path)
            self._all_of(document, partial(self._imports_script, self.workbook.documents[document]))
        self._follow()

    def _add_folders(self, modules: dict[str, str]) -> None:
        """Import also from the folders of the work that paths of the student's machine mean: ``/content/drive/MyDrive/hw/src``."""
        folders = {str(PurePosixPath(name).parent) for name in modules} - {"."}
        paths = [self.index.statement(d, p) for d, positions in self.chosen.items() for p in sorted(positions)]
        texts = [node.value for s in paths if sets_path(s) for node in ast.walk(s) if isinstance(node, ast.Constant)]
        meant = {f for f in folders for text in texts if isinstance(text, str) and f"/{text}/".replace("\\", "/").endswith(f"/{f}/")}
        home = PurePosixPath(self.definition.document.name).parent
        for folder in sorted(meant):
            line = f"import os, sys; sys.path.append(os.path.abspath({os.path.relpath(folder, home)!r}))"
            self.extra.append(Chunk(line, line, (0, 1)))

    def _binds_all(self, own: Document, statement: ast.stmt) -> bool:
        return any(self.index.module(own, module) is None for module in star_modules(statement))

    def _imports_script(self, own: Document, statement: ast.stmt) -> bool:
        return isinstance(statement, ast.Import) and any(self.index.module(own, alias.name) is not None for alias in statement.names)

    def _note_downloads(self, modules: dict[str, str]) -> None:
        """Note for each call that would fetch or read weights that nothing was fetched."""
        places = [(self.workbook.documents[d].cells[p[0]].label, self.index.statement(d, p)) for d in sorted(self.chosen)
                  for p in sorted(self.chosen[d])]  # fmt: skip
        places += [(cell.label, s) for d in self.workbook.documents if d.name in modules for cell in d.cells for s in cell.parsed[0]]
        for label, statement in places:
            for call in downloads(statement)[:2]:
                file = read_file(call)
                why = f"{file[:200]} is not there" if file else "there is no network"
                how = "read" if file else "fetched"
                note = f"{label}, line {call.lineno}: {why} where work is graded; the weights that are {how} there stay undrawn"
                self.notes += [note] if note not in self.notes and len(self.notes) < 20 else []

    def _choose_future(self) -> None:
        """Choose ``from __future__ import annotations``: it affects everything below it, although its name is not used."""
        for document, chosen in self.chosen.items():
            for number, cell in enumerate(self.workbook.documents[document].cells):
                for index, statement in enumerate(cell.parsed[0]):
                    if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                        chosen.add((number, index))

    def _choose(self, document: int, position: Position) -> None:
        chosen = self.chosen.setdefault(document, set())
        if position not in chosen:
            chosen.add(position)
            self.pending.append((document, position))

    def _choose_needs(self, document: int, position: Position) -> None:
        wanted = needs(self.index.statement(document, position))
        for name in sorted(wanted.now):
            self._resolve(name, document, position, deferred=False)
        for name in sorted(wanted.later - wanted.now):
            self._resolve(name, document, position, deferred=True)

    def _choose_changes(self, document: int, name: str) -> None:
        if ("changes of", name, document) in self.done:
            return
        self.done.add(("changes of", name, document))
        places = self.index.bindings[document].get(name, [])
        imports = [s for s in (self.index.statement(document, place) for place in places) if isinstance(s, (ast.Import, ast.ImportFrom))]
        module = any(isinstance(s, ast.Import) or not self.index.is_own(self.workbook.documents[document], s) for s in imports)
        calls = [] if module else self.index.calls[document].get(name, [])
        for position in self.index.changes[document].get(name, []) + calls + self.index.fillings[document].get(name, []):
            self._choose(document, position)
        plain = [s for s in (self.index.statement(document, place) for place in places) if isinstance(s, (ast.Assign, ast.AnnAssign))]
        for other in sorted(self.index.aliases[document].get(name, ())) if plain else ():
            self._choose_changes(document, other)

    def _resolve(self, name: str, document: int, position: Position, deferred: bool) -> None:
        """Choose the statement that binds ``name`` for a use at ``position``."""
        if (name, document, position) in self.done:
            return
        self.done.add((name, document, position))
        places = self.index.bindings[document].get(name) or self.index.fillings[document].get(name, [])
        limit = max(position, self.target[1]) if deferred and document == self.target[0] else position
        before = [place for place in places if place < limit]
        after = [place for place in places if place > limit]
        if before or (after and deferred):
            place = before[-1] if before else after[0]
            statement = self.index.statement(document, place)
            taken, run = taken_name(statement), run_file(statement)
            source = self.index.file(self.workbook.documents[document], run) if run else None
            if source is not None:
                self._include(source, name)
            elif taken is None or not self._take(taken, name):
                self._choose(document, place)
            self._choose_changes(document, name)
        elif not hasattr(builtins, name):
            itself = place_of(places, position) is not None
            if not itself:
                self._all_of(document, partial(binds_anything, by=("globals", "locals")))
            if not self._elsewhere(name, document) and not itself:
                self._fill_in(name)
                self._all_of(document, partial(binds_anything, by=("exec",)))

    def _include(self, source: int, name: str) -> bool:
        """Choose what binds a name in a file that is run here, or in another notebook."""
        place = next((p for p in reversed(self.index.bindings[source].get(name, [])) if not taken_name(self.index.statement(source, p))), None)
        if place is None or (name, source) in self.done:
            return place is not None
        self.done.add((name, source))
        run = run_file(self.index.statement(source, place))
        further = self.index.file(self.workbook.documents[source], run) if run else None
        if further is not None:
            return self._include(further, name)
        self._choose(source, place)
        self._choose_changes(source, name)
        return True

    def _take(self, wanted: str, name: str) -> bool:
        """Follow ``name = take(wanted)`` to the notebook that defines it."""
        source = self.workbook.find(wanted)
        if source is None:
            return False
        document = self.workbook.documents.index(source.document)
        self._choose(document, (source.document.cells.index(source.cell), source.index))
        self._choose_changes(document, wanted)
        if wanted != name:
            self.renamed.append(Chunk(f"{name} = {wanted}", f"{name} = {wanted}", (0,)))
        return True

    def _elsewhere(self, name: str, document: int) -> bool:
        """Look in the other documents, the nearest earlier one first."""
        order = [*range(document - 1, -1, -1), *range(document + 1, len(self.index.bindings))]
        for other in order:
            if self.workbook.documents[other].name.endswith(".py"):
                continue  # names of a script are available only through an import
            if self._include(other, name):
                return True
        return False

    def _fill_in(self, name: str) -> None:
        if name in CONVENTIONS:
            line = CONVENTIONS[name]
            self.extra.append(Chunk(line, line, (0,)))
            if any(star_modules(statement) for cell in self.definition.document.cells for statement in cell.parsed[0]):
                return  # most likely that brings it
            self.notes.append(f"{self.definition.name} uses {name}, which no cell imports: graded with `{line}`")

    def _modules(self) -> dict[str, str]:
        """The student's scripts, if a chosen statement imports one of them."""
        scripts = {d.name: d.cells[0].source for d in self.workbook.documents if d.name.endswith(".py")}
        roots = {part.removesuffix(".py") for name in scripts for part in name.split("/")}
        notebooks = {PurePosixPath(d.name).stem: d for d in self.workbook.documents if d.name.endswith(".ipynb")}
        asked: set[str] = set()
        for document, positions in self.chosen.items():
            for position in positions:
                asked.update(_imported(self.index.statement(document, position)))
        for stem in sorted(asked & (notebooks.keys() - roots)):  # as nbimporter and import_ipynb have it
            scripts[str(PurePosixPath(notebooks[stem].name).with_suffix(".py"))] = _definitions_of(notebooks[stem])
            roots.add(stem)
        return scripts if asked & (roots | {"", "importlib", "runpy"}) else {}


def _imported(statement: ast.stmt) -> set[str]:
    """First parts of the modules that a statement imports, also deep inside; empty for a relative one."""
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add("" if node.level else (node.module or "").partition(".")[0])
        elif isinstance(node, ast.Name) and node.id in ("__import__", "exec"):
            found.add("importlib")  # what it reads or imports may be any script
    return found


def _file_names(statements: Iterable[ast.stmt]) -> set[str]:
    """Names of files that strings of these statements may mean: the last part of each, whatever stands before it."""
    strings = (node.value for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Constant))
    return {text[-300:].replace("\\", "/").rpartition("/")[2] for text in strings if isinstance(text, str)}


def _definitions_of(document: Document) -> str:
    """The imports, definitions and assignments of a notebook, as a script."""
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
    parts = []
    for cell in document.cells:
        lines = cell.source.split("\n")
        for statement in cell.parsed[0]:
            if isinstance(statement, kinds):
                first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
                parts += lines[first - 1 : statement.end_lineno]
    return "\n".join(parts)


def place_of(places: list[Position], position: Position) -> Position | None:
    """The position itself if it is among the places: a function that calls itself needs no other binding."""
    return position if position in places else None
