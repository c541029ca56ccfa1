"""Mutants made by a tool: every first-order change of the solution cells. None may keep full points but those known as equivalent.

Changes: a number plus or minus one, a flipped truth value, another operator or comparison, two arguments exchanged, a
statement deleted, a call of one argument replaced by that argument, a keyword argument left out, a negated condition.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.exam.building import solution_cell, solved_notebooks
from autograder.exam.entries import Corpus, CorpusError, Entry

__all__ = ["Change", "changes_of", "equivalent_reason", "generate"]

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt,), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One change of a cell.

    Attributes:
        what: In words, with the line as it stood before.
        source: The whole changed cell.
    """

    what: str
    source: str


@dataclass(frozen=True)
class _Site:
    """A place in a tree that can be changed: its path, the change in words, and what is put there."""

    path: tuple
    what: str
    value: ast.AST


def _at(tree: ast.AST, path: tuple):
    node: Any = tree
    for step in path:
        node = node[step] if isinstance(step, int) else getattr(node, step)
    return node


def _walk(node: ast.AST, path: tuple = ()) -> Iterator[tuple[tuple, ast.AST]]:
    """All nodes with their paths, docstrings left out."""
    yield path, node
    for name, value in ast.iter_fields(node):
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ast.AST) and not _is_docstring(item):
                    yield from _walk(item, (*path, name, index))
        elif isinstance(value, ast.AST):
            yield from _walk(value, (*path, name))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _put(tree: ast.AST, path: tuple, value: ast.AST) -> ast.AST:
    """Put something in the place of a node; returns what stood there."""
    parent, last = _at(tree, path[:-1]), path[-1]
    before = parent[last] if isinstance(last, int) else getattr(parent, last)
    if isinstance(last, int):
        parent[last] = value
    else:
        setattr(parent, last, value)
    return before


def _constants(path: tuple, node: ast.Constant) -> Iterator[_Site]:
    if isinstance(node.value, bool):
        yield _Site(path, f"{node.value} -> {not node.value}", ast.Constant(not node.value))
    elif isinstance(node.value, (int, float)):
        for step in (1, -1):
            yield _Site(path, f"{node.value} -> {node.value + step}", ast.Constant(node.value + step))


def _calls(path: tuple, node: ast.Call) -> Iterator[_Site]:
    text = ast.unparse(node)
    for index in range(len(node.args) - 1):
        args = list(node.args)
        if ast.dump(args[index]) != ast.dump(args[index + 1]):
            args[index], args[index + 1] = args[index + 1], args[index]
            changed = ast.Call(node.func, args, node.keywords)
            yield _Site(path, f"{text} -> {ast.unparse(changed)}", changed)
    for index, keyword in enumerate(node.keywords):
        changed = ast.Call(node.func, node.args, [k for n, k in enumerate(node.keywords) if n != index])
        yield _Site(path, f"{ast.unparse(node.func)}: {keyword.arg}={ast.unparse(keyword.value)} left out", changed)
    if len(node.args) == 1 and not node.keywords:
        yield _Site(path, f"{text} -> {ast.unparse(node.args[0])}", node.args[0])
    if isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Name):
        yield _Site(path, f"{text} -> {ast.unparse(node.func.value)}", node.func.value)


def _operators(path: tuple, node: ast.AST) -> Iterator[_Site]:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        changed = ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        yield _Site(path, f"{ast.unparse(node)} -> {ast.unparse(changed)}", changed)
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        yield _Site(path, f"{ast.unparse(node)} -> =", ast.Assign([node.target], node.value, lineno=0))
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        for operator in COMPARISONS[type(node.ops[0])]:
            compared = ast.Compare(node.left, [operator()], node.comparators)
            yield _Site(path, f"{ast.unparse(node)} -> {ast.unparse(compared)}", compared)
    if isinstance(node, ast.If):
        yield _Site((*path, "test"), f"if {ast.unparse(node.test)} -> if not", ast.UnaryOp(ast.Not(), node.test))  # fmt: skip


def _deletions(path: tuple, node: ast.AST) -> Iterator[_Site]:
    removable = (ast.Assign, ast.AugAssign, ast.Return, ast.Expr, ast.For, ast.If)
    if path and isinstance(path[-1], int) and isinstance(node, removable) and len(path) > 2:
        yield _Site(path, f"deleted: {ast.unparse(node).splitlines()[0]}", ast.Pass())


def _sites(tree: ast.Module) -> Iterator[_Site]:
    for path, node in _walk(tree):
        if isinstance(node, ast.Constant):
            yield from _constants(path, node)
        if isinstance(node, ast.Call):
            yield from _calls(path, node)
        yield from _operators(path, node)
        yield from _deletions(path, node)


def changes_of(source: str) -> list[Change]:
    """All first-order changes of a cell that give another valid program.

    Args:
        source: The cell.
    """
    tree = ast.parse(source)
    found, seen = [], {ast.unparse(tree)}
    for site in list(_sites(tree)):
        before = _put(tree, site.path, site.value)
        text = ast.unparse(tree)
        _put(tree, site.path, before)
        if text not in seen:
            seen.add(text)
            line = getattr(_line_of(tree, site.path), "lineno", 0)
            found.append(Change(f"line {line}: {site.what}", text + "\n"))
    return found


def _line_of(tree: ast.AST, path: tuple) -> ast.AST:
    node: Any = tree
    best = tree
    for step in path:
        node = node[step] if isinstance(step, int) else getattr(node, step)
        if hasattr(node, "lineno"):
            best = node
    return best


def equivalent_reason(corpus: Corpus, cell: str, what: str) -> str | None:
    """Why a change changes nothing that a student must do, if the corpus says so."""
    words = what.partition(": ")[2]
    for known in corpus.equivalent:
        if known["cell"] == cell and (known["change"] == words or (known.get("anywhere") and known["change"] in words)):
            return known["reason"]
    return None


def generate(corpus: Corpus, source: Path, cells: Sequence[str] = (), every: int = 1) -> list[Entry]:
    """Entries of the generated mutants.

    A mutant needs only to lose points somewhere; it is graded check by check until it does, the cheapest first (that is the
    order of ``touches``).

    Args:
        corpus: The assignment's corpus.
        source: Folder of the source notebooks.
        cells: Grade ids; empty for all.
        every: Take one of so many, chosen by a hash, so that a sample spreads over the cell.
    """
    notebooks, entries = solved_notebooks(source), []
    for cell in cells or corpus.touches:
        notebook, position = solution_cell(notebooks, cell)
        try:
            changes = changes_of(notebook["cells"][position]["source"])
        except SyntaxError as error:
            raise CorpusError(f"The solution cell {cell!r} is no plain Python (line {error.lineno}): take magics out of it.") from None
        for number, change in enumerate(changes):
            if every > 1 and int(hashlib.sha256(change.source.encode()).hexdigest(), 16) % every:
                continue
            reason = equivalent_reason(corpus, cell, change.what)
            entries.append(_entry(cell, number, change, corpus.touches, reason))
    return entries


def _entry(cell: str, number: int, change: Change, touches: Mapping[str, Sequence[str]], reason: str | None) -> Entry:
    about = change.what if reason is None else f"{change.what} [equivalent: {reason}]"
    return Entry("generated", f"{cell}-{number:03d}", about, sources={cell: change.source}, checks=tuple(touches[cell]),
                 equivalent=reason or "")  # fmt: skip
