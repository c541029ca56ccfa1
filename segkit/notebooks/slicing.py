"""Cut out of a student's notebooks and scripts just what a definition needs.

A definition is run with the imports, functions, classes and assignments that it uses, directly or through others, and with the
statements that change one of these. Everything else (training, checks, displays) is not run, so reading a definition takes no
time and has no side effects.
"""

import ast
import builtins
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from segkit.notebooks.indexing import Position
from segkit.notebooks.names import binds_anything, downloads, needs, read_file, run_file, sets_path, star_modules, taken_name
from segkit.notebooks.program import Chunk, Program
from segkit.notebooks.reading import Document

if TYPE_CHECKING:
    from segkit.notebooks.workbook import Definition, Workbook

__all__ = ["Slicer"]

# the usual imports of notebooks; used when the import cell itself was lost
CONVENTIONS = {
    "torch": "import torch", "nn": "from torch import nn", "F": "import torch.nn.functional as F",
    "np": "import numpy as np", "numpy": "import numpy", "torchvision": "import torchvision",
    "Image": "from PIL import Image", "PIL": "import PIL", "Path": "from pathlib import Path", "math": "import math",
    "os": "import os", "Tensor": "from torch import Tensor",
}  # fmt: skip


class Slicer:
    """Collects the statements that one definition needs, over all documents."""

    def __init__(self, workbook: "Workbook", definition: "Definition") -> None:
        self.workbook, self.definition, self.index = workbook, definition, workbook.index
        self.chosen: dict[int, set[Position]] = {}
        self.extra: list[Chunk] = []
        self.renamed: list[Chunk] = []
        self.notes: list[str] = []
        self.done: set[tuple[Any, ...]] = set()
        # chosen statements whose needs are still to be chosen; a list, since a chain may have any length
        self.pending: list[tuple[int, Position]] = []
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
        yield from (statement for document in scripts for statement in document.statements)

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
        places = reversed(self.index.bindings[source].get(name, []))
        place = next((place for place in places if not taken_name(self.index.statement(source, place))), None)
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
            if any(map(star_modules, self.definition.document.statements)):
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
