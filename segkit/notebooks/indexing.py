"""What the statements of a student's files do to names: bind them, change their objects, call their methods, have a function fill them."""

import ast
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath

from segkit.notebooks.names import (
    Filled,
    aliases,
    bound_names,
    called_names,
    changed_names,
    decorated_class,
    decorating_calls,
    filled_by,
    filled_in,
    filling_calls,
    run_file,
    star_modules,
)  # fmt: skip
from segkit.notebooks.reading import Document

__all__ = ["Index", "Places", "Position"]

MAX_CALLS = 20  # of functions by functions, for what one of them fills
MAX_NAMES = 1_000_000  # taken over from other files, over all statements

Position = tuple[int, int]  # cell, statement
Places = dict[str, list[Position]]


class Index:
    """An index of files, made once for all that is cut out of them.

    Args:
        documents: The files; each is known by its place among them.

    Attributes:
        bindings: For each file: name -> where it is bound.
        changes: The same for what changes the object of a name: ``cfg["pad"] = 100``.
        calls: The same for calls of its methods: ``cfg.update(pad=100)``.
        aliases: Name -> other names of its object or a part of it: ``part = cfg["a"]``.
        fillings: The same for functions that fill it: ``configure(cfg)``.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents
        self._tails = _tails(documents)
        self._names: dict[int, frozenset[str]] = {}
        self._taken_over = 0
        statements = (s for d in documents for s in d.statements)
        self._functions = {s.name: s for s in statements if isinstance(s, ast.FunctionDef)}
        self._known: dict[str, Filled] = {}
        self._asked: list[str] = []  # functions that are being analysed, each called by the previous one
        self.bindings = [_places(d, partial(self._bound, d)) for d in documents]
        self.changes = [_places(d, changed_names) for d in documents]
        self.calls = [_places(d, called_names) for d in documents]
        self.aliases = [_aliases(d) for d in documents]
        self.fillings = [_places(d, partial(self._filled, d)) for d in documents]

    def statement(self, document: int, position: Position) -> ast.stmt:
        """The statement at a place."""
        return self.documents[document].cells[position[0]].parsed[0][position[1]]

    def file(self, document: Document, path: str) -> int | None:
        """The document that a path means for a notebook: in its own folder first, then anywhere."""
        path = unicodedata.normalize("NFC", path.replace("\\", "/").removeprefix("./"))
        folder = PurePosixPath(document.name).parent
        for tail in (str(folder / path), path, PurePosixPath(path).name):
            for ending in ("", ".py", ".ipynb"):
                if tail + ending in self._tails:
                    return self._tails[tail + ending]
        return None

    def module(self, document: Document, module: str) -> int | None:
        """The student's script that a module's name means."""
        path = module.lstrip(".").replace(".", "/")
        for tail in (f"{PurePosixPath(document.name).parent}/{path}.py", f"{path}.py", f"{path}/__init__.py"):
            if tail in self._tails:
                return self._tails[tail]
        return None

    def is_own(self, document: Document, statement: ast.stmt) -> bool:
        """Whether a statement imports something out of a script of the student."""
        imports = [node for node in ast.walk(statement) if isinstance(node, ast.ImportFrom)]
        return any(self.module(document, "." * node.level + (node.module or "")) is not None for node in imports)

    def _bound(self, document: Document, statement: ast.stmt) -> list[str]:
        """Names that a statement binds, including those that it imports from other files of the student."""
        names = bound_names(statement)
        run = run_file(statement)
        others = [self.file(document, run) if run else None, *(self.module(document, m) for m in star_modules(statement))]
        for other in others:
            if other is not None and self._taken_over < MAX_NAMES:
                names += sorted(self._names_of(other))
                self._taken_over += len(self._names_of(other))
        return names

    def _names_of(self, index: int) -> frozenset[str]:
        if index not in self._names:
            self._names[index] = frozenset()  # two files that import each other
            document = self.documents[index]
            found = [name for statement in document.statements for name in self._bound(document, statement)]
            self._names[index] = frozenset(found)
        return self._names[index]

    def _filled(self, document: Document, statement: ast.stmt) -> list[str]:
        """Names whose object a statement has filled by a function: ``configure(cfg)``, ``np.put(table, ids, values)``, ``@register``."""
        calls = filling_calls(statement) + decorating_calls(statement)
        known = [(call, self._fills(call)) for call in calls]
        modules = [getattr(getattr(call.func, "value", None), "id", "") for call, fills in known if fills and fills.others]
        modules = [name for name in modules if name and self.module(document, name) is not None]  # settings.choose(42)
        return [name for call, fills in known for name in filled_by(call, fills)] + decorated_class(statement) + modules

    def _fills(self, call: ast.Call) -> Filled | None:
        """What one of the student's own functions fills; None for a library's."""
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name not in self._known and name in self._functions and len(self._asked) < MAX_CALLS:
            self._known[name] = Filled()  # a function that calls itself
            self._asked.append(name)
            self._known[name] = filled_in(self._functions[name], self._fills)
            self._asked.pop()
        return self._known.get(name)


def _places(document: Document, names: Callable[[ast.stmt], list[str]]) -> Places:
    """Name -> the statements that a function finds it in."""
    places: Places = {}
    for number, cell in enumerate(document.cells):
        for position, statement in enumerate(cell.parsed[0]):
            for name in names(statement):
                places.setdefault(name, []).append((number, position))
    return places


def _aliases(document: Document) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, other in (pair for statement in document.statements for pair in aliases(statement)):
        found.setdefault(name, set()).add(other)
    return found


def _tails(documents: Sequence[Document]) -> dict[str, int]:
    """Every ending of the documents' paths -> the document; of several the one nearest to the top."""
    tails: dict[str, int] = {}
    for index in sorted(range(len(documents)), key=lambda i: documents[i].name.count("/")):
        parts = documents[index].name.split("/")[-12:]
        for first in range(len(parts)):
            tails.setdefault("/".join(parts[first:]), index)
    return tails
