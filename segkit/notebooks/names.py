"""Which names a top-level statement binds, needs and changes: the facts on which slicing rests."""

import ast
import symtable
from dataclasses import dataclass

__all__ = ["Needs", "bound_names", "changed_names", "is_unfinished", "needs", "taken_name"]

COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}


@dataclass(frozen=True)
class Needs:
    """Global names a statement uses: at once (``now``), or when a function it defines is called (``later``)."""

    now: frozenset[str]
    later: frozenset[str]


def _target_names(target: ast.expr) -> list[str]:
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, (ast.Tuple, ast.List)):
        return [name for element in target.elts for name in _target_names(element)]
    return _target_names(target.value) if isinstance(target, ast.Starred) else []


def bound_names(statement: ast.stmt) -> list[str]:
    """Names that a statement binds by definition, import or plain assignment; loops bind nothing here, they are not run."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign):
        return [name for target in statement.targets for name in _target_names(target)]
    if isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        return _target_names(statement.target) if statement.value is not None else []
    names, pending = [], [statement]
    while pending:  # no recursion: a chain of a thousand elif is nested a thousand deep
        compound = pending.pop()
        if isinstance(compound, (ast.If, ast.Try, ast.With)):
            blocks = [compound.body, getattr(compound, "orelse", []), getattr(compound, "finalbody", [])]
            blocks += [handler.body for handler in getattr(compound, "handlers", [])]
            pending += reversed([inner for block in blocks for inner in block])
        elif compound is not statement:
            names += bound_names(compound)
    return names


def changed_names(statement: ast.stmt) -> list[str]:
    """Names whose object a statement changes by an attribute or item: ``FCN32s.forward = forward`` changes FCN32s."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if not isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        return []
    names = []
    for target in targets:
        root = target
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        if root is not target and isinstance(root, ast.Name):
            names.append(root.id)
    return names


def _collect(table: symtable.SymbolTable, deferred: bool, now: set[str], later: set[str]) -> None:
    module = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (module or symbol.is_global()):
            (later if deferred else now).add(symbol.get_name())
    for child in table.get_children():
        function = child.get_type() == "function" and child.get_name() not in COMPREHENSIONS
        _collect(child, deferred or function, now, later)


def needs(statement: ast.stmt) -> Needs:
    """Global names a statement uses; local variables of functions of the same name do not count."""
    try:
        now: set[str] = set()
        later: set[str] = set()
        _collect(symtable.symtable(ast.unparse(statement), "statement", "exec"), False, now, later)
    except (SyntaxError, RecursionError, ValueError, MemoryError):
        return Needs(frozenset(), frozenset())
    if isinstance(statement, ast.AugAssign):
        now.update(_target_names(statement.target))
    return Needs(frozenset(now), frozenset(later))


def taken_name(statement: ast.stmt) -> str | None:
    """The name ``X`` in ``Y = take("X")``: work that comes from another notebook."""
    value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
    if not isinstance(value, ast.Call) or not value.args or not isinstance(value.args[0], ast.Constant):
        return None
    called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", None)
    argument = value.args[0].value
    return argument if called == "take" and isinstance(argument, str) else None


def _raises_unfinished(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Raise) or statement.exc is None:
        return False
    raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def is_unfinished(statement: ast.stmt) -> bool:
    """Whether a function or class still holds the release's stub: ``raise NotImplementedError()`` as a plain step."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for step in node.body:
                if isinstance(step, ast.Return):
                    break  # a forgotten stub behind the answer is never reached
                if _raises_unfinished(step):
                    return True
    return _raises_unfinished(statement)
