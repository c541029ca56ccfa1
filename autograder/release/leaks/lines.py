"""The lines that a release must not contain, collected from the sources, so that nobody maintains a list by hand.

A line counts if it has 25 characters or more and is in no file that students get anyway. Shorter lines ("return x")
prove nothing.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nbformat.notebooknode import NotebookNode

__all__ = ["MIN_LINE", "Secret", "Secrets", "collect_secrets", "split_solution", "squeeze"]

MIN_LINE = 25  # characters of a stripped line; shorter lines may be equal by chance
BEGIN = re.compile(r"BEGIN (SOLUTION|MARK SCHEME|HIDDEN TESTS)")
END = re.compile(r"END (SOLUTION|MARK SCHEME|HIDDEN TESTS)")
SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Secret:
    """One line that must not be released.

    Attributes:
        text: the line, stripped.
        origin: where it stands in the sources, for the report.
        kind: ``solution``, ``hidden check`` or ``reference``.
    """

    text: str
    origin: str
    kind: str


@dataclass
class Secrets:
    """All secret lines, by their form without white space."""

    lines: dict[str, Secret] = field(default_factory=dict)

    def add(self, text: str, origin: str, kind: str) -> None:
        """Remember a line; of several origins the first counts."""
        self.lines.setdefault(squeeze(text), Secret(text.strip(), origin, kind))


def squeeze(text: str) -> str:
    """Text without any white space: a solution with other line breaks or indentation is still the solution."""
    return SPACES.sub("", text)


def split_solution(cell: NotebookNode) -> tuple[list[str], list[str]]:
    """Split a source cell into the lines students see and the lines they must not see.

    Args:
        cell: a cell of a source notebook.

    Returns:
        (public lines, secret lines). A solution cell without any marker is secret as a whole, since nbgrader replaces
        all of it by the stub; so is a manual answer.
    """
    own = cell.metadata.get("nbgrader", {})
    lines = cell.source.split("\n")
    marked = any("BEGIN SOLUTION" in line for line in lines)
    if own.get("solution") and not marked:
        return [], [line for line in lines if not BEGIN.search(line) and not END.search(line)]
    public: list[str] = []
    secret: list[str] = []
    inside = False
    for line in lines:
        if BEGIN.search(line):
            inside = True
        elif END.search(line):
            inside = False
        else:
            (secret if inside else public).append(line)
    return public, secret


def collect_secrets(
    notebooks: dict[str, NotebookNode],
    checks: Iterable[Path],
    reference: Iterable[Path],
    student_files: Iterable[Path],
) -> Secrets:
    """Collect every line that must not be released.

    Args:
        notebooks: file name -> source notebook with solutions.
        checks: files of the hidden checks.
        reference: files of ``segkit.reference``.
        student_files: Python files of the student edition; their lines are public.

    Returns:
        The secret lines. A solution line is secret unless it stands outside solution regions in a notebook (a copy
        of it in a Python file of the edition is a leak, not an excuse); lines of checks and reference are secret
        unless they stand in the edition or outside solution regions.
    """
    public_cells = "\n".join(_public_text(notebooks.values()))
    public = squeeze(public_cells)
    secrets = Secrets()
    for name, notebook in notebooks.items():
        for number, cell in enumerate(notebook.cells, start=1):
            for line in _long(split_solution(cell)[1]):
                if squeeze(line) not in public:
                    secrets.add(line, f"{name}, cell {number}", "solution")
    given = public + squeeze("\n".join(_read(path) for path in student_files))
    for kind, files in (("hidden check", checks), ("reference", reference)):
        for path in files:
            for number, line in _numbered(_read(path)):
                if squeeze(line) not in given and not _says_nothing(line):
                    secrets.add(line, f"{path.name}, line {number}", kind)
    return secrets


def _public_text(notebooks: Iterable[NotebookNode]) -> Iterator[str]:
    for notebook in notebooks:
        for cell in notebook.cells:
            yield "\n".join(split_solution(cell)[0])


def _long(lines: Iterable[str]) -> Iterator[str]:
    return (line.strip() for line in lines if len(line.strip()) >= MIN_LINE)


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line.strip()) >= MIN_LINE:
            yield number, line.strip()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _says_nothing(line: str) -> bool:
    """Whether a line is an import of a public package, which anybody would write the same way."""
    try:
        tree = ast.parse(line).body
    except SyntaxError:
        return False
    names: list[str] = []
    for node in tree:
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or ".")
        elif isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        else:
            return False
    return not any(name.startswith((".", "autograder", "segkit.reference")) for name in names)
