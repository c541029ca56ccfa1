"""What a complete exam has found so far, line by line, so that a killed one goes on where it was."""

import ast
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autograder.exam.entries import Entry
from autograder.exam.sitting import Outcome

__all__ = ["Journal", "entry_key", "journal_key"]


def entry_key(entry: Entry, corpus: Path) -> str:
    """Hash of an entry: all that it says, and the code that builds it.

    Args:
        entry: The entry.
        corpus: Folder of the corpus.
    """
    content = json.dumps(dataclasses.asdict(entry), sort_keys=True, default=str)
    return hashlib.sha256((content + _building_code(entry, corpus)).encode()).hexdigest()


def _building_code(entry: Entry, corpus: Path) -> str:
    """Code of the module that an entry's building function lies in; the other entries' functions left out."""
    module, _, function = entry.build.partition(":")
    path = corpus / f"{module.rpartition('.')[2]}.py"
    if not entry.build or not path.is_file():
        return ""
    tree = ast.parse(path.read_bytes())
    registered = {node.name: _registrar(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
    mine = registered.get(function)
    others = {name for name, registrar in registered.items() if registrar and registrar == mine and name != function}
    tree.body = [node for node in tree.body if getattr(node, "name", None) not in others]
    return ast.unparse(tree)


def _registrar(node: ast.FunctionDef) -> str:
    """Name of the decorator that made a function an entry, or an empty string."""
    calls = [decorator.func for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
    return ast.unparse(calls[0]) if calls else ""


class Journal:
    """Outcomes of an exam in a file, one JSON object a line, appended as they come.

    Args:
        path: The file; made if it is not there.
        key: Hash of what all outcomes depend on, and of how the exam is sat.
        corpus: Folder of the corpus.
        fresh: Ignore what the file holds.

    Attributes:
        retried: Names of entries whose earlier outcome was a surprise: they are sat again, and that is said.
    """

    def __init__(self, path: Path, key: str, corpus: Path, fresh: bool = False) -> None:
        self.path, self.key, self.corpus = path, key, corpus
        self.retried: list[str] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        self._known = self._read()
        self._file = path.open("ab")
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # the exam was killed in the middle of a line

    def _read(self) -> dict[str, dict[str, Any]]:
        """Outcomes of this key by entry; torn lines and those of other keys are left out."""
        found: dict[str, dict[str, Any]] = {}
        if not self.path.is_file():
            return found
        for line in self.path.read_bytes().splitlines():
            try:
                content = json.loads(line)
                if content["key"] == self.key:
                    found[content["entry"]] = dict(content["outcome"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def known(self, entries: Iterable[Entry]) -> dict[int, Outcome]:
        """Outcomes that need not be found again: position among ``entries`` -> outcome. Surprises are not among them."""
        found = {}
        for position, entry in enumerate(entries):
            content = self._known.get(entry_key(entry, self.corpus))
            if content is None:
                continue
            if content.get("problem"):
                self.retried.append(f"{entry.kind}/{entry.name}")
                continue
            found[position] = Outcome(entry, **content)
        return found

    def add(self, outcome: Outcome) -> None:
        """Append an outcome; it is on the disk when this returns."""
        content = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome) if field.name != "entry"}
        line = {"key": self.key, "name": f"{outcome.entry.kind}/{outcome.entry.name}",
                "entry": entry_key(outcome.entry, self.corpus), "outcome": content}  # fmt: skip
        self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def journal_key(parts: Mapping[str, str], how: Mapping[str, Any]) -> str:
    """Key of a journal: the parts that all outcomes depend on (entries are keyed one by one) and how the exam is sat."""
    relevant = {name: digest for name, digest in parts.items() if name != "corpus"}
    return hashlib.sha256(json.dumps([relevant, dict(how)], sort_keys=True).encode()).hexdigest()
