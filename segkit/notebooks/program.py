"""What is cut out of a student's files to have one definition: statements, the scripts that they import, and the texts that they name."""

import ast
import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["Chunk", "Program"]


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
            except (RecursionError, ValueError, MemoryError):  # a sum of a thousand terms, a number of thousands of digits
                parts.append(chunk.source)  # will do as well
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
