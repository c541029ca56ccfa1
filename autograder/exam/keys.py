"""What an entry's outcome depends on, as a hash: an entry is sat again when its key changes, and only then.

A key is made of what is handed in, of the checks that grade it (the code of the check and what it imports, the check's part of the
rubric, the code of the solutions that it needs), and of what every outcome goes through: the judge, the sandbox, the exam itself.
Points, titles, words of the class page and prose in notebooks are in no key, for no outcome depends on them: the exam asks which
parts of a check are lost (``CheckRubric.earned`` makes points of that, and has tests of its own).

Only code and relative paths count: comments, docstrings, blank lines, line endings and the folder of the checkout do not. What is
hashed are lines of the files themselves (not what ``ast.unparse`` of one version of Python makes of them).
"""

import ast
import dataclasses
import hashlib
import io
import json
import tempfile
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from autograder.course.assignment import open_assignment
from autograder.exam.building import solved_notebooks
from autograder.exam.entries import Entry
from autograder.exam.seen import check_cells
from autograder.judge.checking import places_of_checks
from segkit.checks import WHERE
from segkit.handin import alternatives
from segkit.notebooks import Workbook
from segkit.notebooks.reading import notebook_document

__all__ = ["Keys"]

# Modules that every outcome goes through: an entry is graded by these, and by what they import.
EVERYWHERE = ("autograder.exam.sitting", "autograder.gradebook.plugin")
# What the visible checks go through that students run before they hand in.
VISIBLE = ("autograder.exam.seen", "autograder.exam.building")
# Of all that is imported, what no outcome goes through: pages, files and tables that are made of results, command lines, and the list
# that names the data sets of all assignments.
BESIDE = (
    "autograder.batch", "autograder.cli", "autograder.demo", "autograder.export", "autograder.handins.bulk", "autograder.marking",
    "autograder.report", "segkit.datasets.registry",
)  # fmt: skip
# Of the rubric, what no outcome depends on.
PRESENTATION = frozenset({"title", "causes", "due"})
# Of the rubric, what counts where it is used: the lines of an entry's checks, and of the solutions that these need.
APART = frozenset({"checks", "solution_cells"})
CHECK_PRESENTATION = frozenset({"title", "points", "parts", "bonus", "visible"})


class Keys:
    """Keys of the entries of one assignment's exam.

    Args:
        material: The assignment's folder.
        notebooks: Folder of its source notebooks.
        root: The repository.
    """

    def __init__(self, material: Path, notebooks: Path, root: Path) -> None:
        self.material, self.notebooks, self.root = material, notebooks, root
        self.rubric = tomllib.loads((material / "rubric.toml").read_text(encoding="utf-8"))
        self._checks: dict[str, str] = {}

    def of(self, entry: Entry) -> str:
        """Key of an entry: 32 hexadecimal digits."""
        parts = [self._handed_in(entry), self._everywhere]
        if entry.kind == "visible":
            parts = [self._handed_in(entry), self._visible(entry)]
        elif entry.kind == "leaks":
            parts += [self._release, self._code]
        else:
            parts += [self._base, *(self._check(name) for name in sorted(set(entry.checks)))]
            parts += [self._code] if entry.build else []
        return _hash(*parts)[:32]

    def caught(self, entry: Entry) -> dict[str, str]:
        """Of a generated mutant: check -> key of being caught by it. One check must catch it; what the others say is nothing to it."""
        return {name: self.of(dataclasses.replace(entry, checks=(name,))) for name in entry.checks} if entry.kind == "generated" else {}

    def ways(self, entry: Entry) -> str:
        """Key of that in which the ways of grading can differ: the hand-in and the grader, whatever its checks say."""
        return _hash(self._handed_in(entry), self._everywhere)[:16]

    # ------------------------------------------------------------------------------------------- what is handed in
    def _handed_in(self, entry: Entry) -> str:
        content = {name: value for name, value in vars(entry).items() if name not in ("name", "about", "origin", "control")}
        return json.dumps(content, sort_keys=True, default=str) + self._building_code(entry)

    def _building_code(self, entry: Entry) -> str:
        """Code of the module that an entry's building function lies in; the other entries' functions left out."""
        module, _, function = entry.build.partition(":")
        path = self.material / "corpus" / f"{module.rpartition('.')[2]}.py"
        path = path if path.is_file() else self._known.get(module, path)  # a form that all assignments share
        if not entry.build or not path.is_file():
            return ""
        functions = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)]
        registrars = {node.name: _registrar(node) for node in functions}
        mine = registrars.get(function)
        return self._code_of(path, {name for name, registrar in registrars.items() if registrar and registrar == mine} - {function})

    # ---------------------------------------------------------------------------------------------- what it goes through
    @cached_property
    def _everywhere(self) -> str:
        """The judge, the sandbox, the exam: with all that they import."""
        return _hash(*(self._content(path) for path in sorted(self._machinery)))

    @cached_property
    def _machinery(self) -> set[Path]:
        sandbox = (self.root / "autograder" / "sandbox").rglob("*.py")  # workers load some of it by path
        nbgrader = self.root / "nbgrader_config.py"
        return {*self._modules([*EVERYWHERE, *_imports_of(_text(nbgrader))]), *sandbox, nbgrader}

    def _visible(self, entry: Entry) -> str:
        """The cells that check what an entry changes, the visible checks and solutions that they use, and how they are run."""
        defines = {grade_id: cell["defines"] for grade_id, cell in self.rubric["solution_cells"].items()}
        cells = [source for grade_id in entry.cells for source in check_cells(self._solved, defines[grade_id])]
        names = {node.id for source in cells for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        imported = [name for source in cells for name in _imports_of(source)]
        solutions = [self._solutions.get(grade_id, "") for grade_id, name in defines.items() if name in names]
        modules = self._modules([*VISIBLE, *imported, *(f"segkit.checks.{WHERE[name]}" for name in names & WHERE.keys())])
        return _hash(self._own_facts, *cells, *solutions, *(self._content(path) for path in modules))

    @cached_property
    def _own_facts(self) -> str:
        """What visible checks may read in ``assignment.json``: what an assignment adds to the rubric's own facts."""
        assignment = open_assignment(self.material)
        return json.dumps({name: value for name, value in assignment.facts.items() if name not in assignment.rubric.facts}, sort_keys=True)

    @cached_property
    def _solved(self) -> dict[str, Any]:
        return solved_notebooks(self.notebooks)

    @cached_property
    def _release(self) -> str:
        """What the leak check is made of, and what it looks for."""
        reference = (self.root / "segkit" / "reference").rglob("*.py")
        paths = [*self._modules(("autograder.exam.leaks",)), *self.material.rglob("*.py"), *reference]
        return _hash(*(_text(path) for path in sorted(set(paths))))  # a leak may be a comment

    @cached_property
    def _base(self) -> str:
        """What of the assignment counts in all its checks: settings of the rubric, and the hooks."""
        settings = {name: value for name, value in self.rubric.items() if name not in PRESENTATION | APART}
        return _hash(json.dumps(settings, sort_keys=True, default=str), self._code_of(self.material / "prepare.py"))

    @cached_property
    def _code(self) -> str:
        """All solution cells and all code of the source notebooks. Prose and comments are left out, and so are graded cells."""
        cells = [
            [code, cell["metadata"].get("nbgrader", {}).get("grade_id")]
            for notebook in self._solved.values() for cell in notebook["cells"]
            if cell["cell_type"] == "code" and (code := _code(cell["source"]))
        ]  # fmt: skip
        return _hash(json.dumps([cells, self.rubric["solution_cells"]]))

    # ------------------------------------------------------------------------------------------------------ one check
    def _check(self, name: str) -> str:
        if name not in self._checks:
            content = self.rubric["checks"][name]
            settings = {key: value for key, value in content.items() if key not in CHECK_PRESENTATION}
            parts = sorted(content.get("parts", {"all": 0}))
            needs = [need for several in content.get("needs", ()) for need in alternatives(several)]
            needed = [need for need in needs if need in self.rubric["solution_cells"]]
            cells = [self.rubric["solution_cells"][need] for need in needed]
            solutions = [self._solutions.get(need, "") for need in needed]
            self._checks[name] = _hash(json.dumps([name, settings, parts, cells], sort_keys=True), self._check_code(name), *solutions)
        return self._checks[name]

    def _check_code(self, name: str) -> str:
        """Code of a check: its function, what it uses of its file, and all that this imports of the assignment and its kind."""
        if name not in self._places:
            return ""
        path, function = self._places[name]
        functions = [node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)]
        return self._code_of(path, {name for name in functions if name.startswith("test_")} - {function}) + self._tables

    @cached_property
    def _tables(self) -> str:
        """Hash of what checks may read from files beside them."""
        folder = self.material / "checks"
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))
        return _hash(*(f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths))

    @cached_property
    def _places(self) -> dict[str, tuple[Path, str]]:
        """Id of a check -> its file and function."""
        with tempfile.TemporaryDirectory() as place:
            settings = Path(place, "pytest.ini")
            settings.write_text("[pytest]\n", encoding="utf-8")
            return places_of_checks(self.material / "checks", settings)

    def _code_of(self, path: Path, without: Iterable[str] = ()) -> str:
        """Hash of a file, some of its functions left out, and of all that it imports of the kit."""
        if not path.is_file():
            return ""
        statements = _statements(ast.parse(path.read_bytes()), set(without))
        modules = self._modules(name for statement in statements for name in _imports(statement))
        return _hash(_code(_text(path), statements), *(self._content(other) for other in modules if other not in self._machinery))

    @cached_property
    def _solutions(self) -> dict[str, str]:
        """Grade id -> hash of the code that a worker would get of the reference solution."""
        cells = {grade_id: cell["defines"] for grade_id, cell in self.rubric["solution_cells"].items()}
        documents = [notebook_document(content, name, frozenset(cells)) for name, content in self._solved.items()]
        book = Workbook(documents, cells, [], tuple(self.rubric["notebooks"]))
        found = {grade_id: book.find(name, grade_id) for grade_id, name in cells.items()}
        return {grade_id: book.program(definition).digest for grade_id, definition in found.items() if definition is not None}

    # ------------------------------------------------------------------------------------------------------ modules
    def _modules(self, names: Iterable[str]) -> list[Path]:
        """Files of the kit's modules of these names, and of all that they import, in order."""
        waiting, found = list(names), set()
        while waiting:
            name = waiting.pop()
            if name in found or name not in self._known or name.startswith(BESIDE):
                continue
            found.add(name)
            waiting += _imports_of(_text(self._known[name]))
        return sorted(self._known[name] for name in found)

    @cached_property
    def _known(self) -> dict[str, Path]:
        """Name of a module of the kit -> its file."""
        return {
            _module(path, self.root): path
            for package in ("autograder", "segkit") for path in (self.root / package).rglob("*.py")
        }  # fmt: skip

    def _content(self, path: Path) -> str:
        name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name
        return f"{name}\0{_code(_text(path))}"


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(f"{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _text(path: Path) -> str:
    return path.read_bytes().replace(b"\r\n", b"\n").decode("utf-8", "surrogateescape")


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.AST) -> Iterator[str]:
    """Everything that code may import: ``from a.b import c`` may mean a, a.b or a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


@lru_cache(maxsize=4096)
def _imports_of(text: str) -> tuple[str, ...]:
    return tuple(_imports(ast.parse(text)))


def _registrar(node: ast.FunctionDef) -> str:
    """Name of the decorator that makes a function an entry, or an empty string."""
    calls = [decorator.func for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
    return ast.unparse(calls[0]) if calls else ""


def _statements(tree: ast.Module, without: set[str]) -> list[ast.stmt]:
    """Statements of a module without some of its functions, and without the imports that nothing else then uses."""
    kept = [node for node in tree.body if getattr(node, "name", None) not in without]
    used = {node.id for statement in kept for node in ast.walk(statement) if isinstance(node, ast.Name)}
    for node in kept:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in used]
    return [node for node in kept if not isinstance(node, ast.Import | ast.ImportFrom) or node.names]


@lru_cache(maxsize=4096)
def _lines(text: str) -> tuple[str, ...]:
    """Lines of a program, those of comments and docstrings emptied. Raises SyntaxError."""
    lines = text.split("\n")
    words: set[int] = set()
    inside: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            words.update(range(node.body[0].lineno - 1, node.body[0].end_lineno or 0))
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            inside.update(range(node.lineno, node.end_lineno or 0))  # a blank line in a string is one
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line, column = token.start
        if token.type == tokenize.COMMENT and lines[line - 1]:
            lines[line - 1] = lines[line - 1][:column]
    lines = [f"{line}\\n" if number in inside else line.rstrip() for number, line in enumerate(lines)]
    return tuple("" if number in words else line for number, line in enumerate(lines))


def _code(text: str, statements: list[ast.stmt] | None = None) -> str:
    """Code without comments, docstrings and blank lines; what is no Python (a cell with magics) stays as it is.

    Args:
        text: The program.
        statements: Those of its statements that count; all, if None.
    """
    try:
        lines = _lines(text)
    except (SyntaxError, tokenize.TokenError):
        return text
    if statements is None:
        return "\n".join(filter(None, lines))
    return "\n".join(line for statement in statements for line in _lines_of(statement, lines))


def _lines_of(statement: ast.stmt, lines: tuple[str, ...]) -> Iterator[str]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        yield ast.unparse(statement)  # some of its names may be left out
        return
    first = min([statement.lineno, *(decorator.lineno for decorator in getattr(statement, "decorator_list", ()))])
    yield from filter(None, lines[first - 1 : statement.end_lineno])
