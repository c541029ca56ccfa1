"""What can be changed in a student's definition: the changes of the exam's generator, each put into the student's own text."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from autograder.exam.generated import Change as Made
from autograder.exam.generated import changes_of
from segkit.notebooks import Program

__all__ = ["Change", "Changes", "Place", "changed", "places_of"]

DEEPER = (ast.expr, ast.stmt, ast.keyword, ast.comprehension, ast.arguments, ast.arg, ast.withitem)
MOST_LINES = 6  # of the student's text that a question quotes


@dataclass(frozen=True)
class Place:
    """A piece of a student's code that may be changed.

    Attributes:
        label: Cell or script, as messages name it: ``"4_fcn8s.ipynb, cell 16"``.
        source: The whole cell or script.
        statements: The top-level statements of it that are changed, by their positions.
    """

    label: str
    source: str
    statements: tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """One change of a place.

    Attributes:
        number: Among all changes of the place.
        place: What is changed.
        line: Line of the change in the cell, from 1.
        kind: ``crop`` (both ends of a slice), ``constant``, ``truth``, ``operator``, ``comparison``, ``condition``, ``argument`` (is left
            out), ``exchanged``, ``call`` (left out), ``assigned`` (``=`` for ``+=``) or ``removed`` (a statement).
        old: What stands there: an expression or a statement, in the student's own words where it is short.
        new: What would stand there; empty for a statement that is removed.
        keyword: Name of the argument whose value is changed; else empty.
        before: The student's lines.
        after: The same lines, changed.
        source: The whole changed cell.
    """

    number: int
    place: Place
    line: int
    kind: str
    old: str
    new: str
    keyword: str
    before: str
    after: str
    source: str


def places_of(program: Program, name: str) -> list[Place]:
    """Where a definition stands: its cell, or the script that it is imported from.

    Args:
        program: The definition, and all it needs.
        name: What the assignment calls it.
    """
    places = [Place(chunk.label, chunk.source, chunk.statements) for chunk in program.chunks if chunk.label == program.where]
    sources = {path: text for path, text in program.modules.items() if path.endswith(".py")}
    places += [Place(path, text, tuple(range(len(_body(text))))) for path, text in sources.items()]
    found = []
    for place in places:
        body = _body(place.source)
        defined = {n: one for n in place.statements if isinstance(one := body[n], ast.FunctionDef | ast.ClassDef)}
        if any(name in (one.name, *_methods(one)) for one in defined.values()):  # with the helpers that stand beside it
            found.append(replace(place, statements=tuple(defined)))
    return found


def _methods(statement: ast.stmt) -> list[str]:
    return [node.name for node in getattr(statement, "body", ()) if isinstance(node, ast.FunctionDef)]


def _body(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def changed(program: Program, change: Change) -> Program:
    """A program in which a change was made, wherever it holds that cell or script."""
    place = change.place
    chunks = tuple(
        replace(chunk, source=change.source) if (chunk.label, chunk.source) == (place.label, place.source) else chunk
        for chunk in program.chunks
    )
    modules = {path: change.source if (path, text) == (place.label, place.source) else text for path, text in program.modules.items()}
    return replace(program, chunks=chunks, modules=modules)


class Changes:
    """All first-order changes of a place, within its chosen statements. They are many: each is written when it is asked for.

    Attributes:
        lines: Number of a change -> its line in the cell.
        crops: Numbers of those that move a slice.
    """

    def __init__(self, place: Place) -> None:
        usual, crops = changes_of(place.source), _crops(place.source)
        self.place, self._made, self.crops = place, [*usual, *crops], range(len(usual), len(usual) + len(crops))
        self._body = _body(place.source)
        chosen = [range(self._body[n].lineno, (self._body[n].end_lineno or 0) + 1) for n in place.statements]
        lines = {number: int(made.what.split()[1].rstrip(":")) for number, made in enumerate(self._made)}
        self.lines = {number: line for number, line in lines.items() if any(line in one for one in chosen)}

    def promises(self, number: int) -> bool:
        """Whether a change is of a kind that one can reason about: where a slice begins, or a named argument."""
        return number in self.crops or "left out" in self._made[number].what or self._made[number].what.endswith(("-> True", "-> False"))

    def write(self, number: int) -> Change | None:
        """A change in the student's own text; None where the text cannot say it (inside of an f-string, say)."""
        tree, at = ast.parse(self._made[number].source), self.lines[number]
        for place in self.place.statements:
            old, new = self._body[place], tree.body[place]
            if old.lineno <= at <= (old.end_lineno or 0) and _differ(old, new):
                return _written(self.place, number, *_difference(old, new), tree)
        return None


def _crops(source: str) -> list[Made]:
    """Slices ``a : a + n`` that begin one earlier or later: both ends, so that as much is cut out."""
    tree, found = ast.parse(source), []
    for node in [node for node in ast.walk(tree) if isinstance(node, ast.Slice)]:
        lower, upper = node.lower, node.upper
        if isinstance(lower, ast.Constant) and type(lower.value) is int and isinstance(upper, ast.BinOp) and isinstance(upper.op, ast.Add):
            sides = [side for side in (upper.left, upper.right) if isinstance(side, ast.Constant) and side.value == lower.value]
            for step in (-1, 1) if sides else ():
                ends, value = [lower, *sides[:1]], lower.value
                for end in ends:
                    end.value = value + step
                found.append(Made(f"line {lower.lineno}: a slice from {value} -> {value + step}", ast.unparse(tree) + "\n"))
                for end in ends:
                    end.value = value
    return found


def _difference(old: ast.AST, new: ast.AST) -> tuple[ast.AST, ast.AST]:
    """The smallest nodes with a place in the text that differ."""
    if type(old) is not type(new):
        return old, new
    differing: list[tuple[Any, Any]] = []
    for (_, one), (_, other) in zip(ast.iter_fields(old), ast.iter_fields(new), strict=True):
        if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            differing += [pair for pair in zip(one, other, strict=True) if _differ(*pair)]
        elif _differ(one, other):
            differing.append((one, other))
    if len(differing) == 1 and isinstance(differing[0][0], DEEPER):
        return _difference(*differing[0]) if isinstance(differing[0][1], ast.AST) else (old, new)
    return old, new


def _differ(one: Any, other: Any) -> bool:
    if isinstance(one, ast.AST) and isinstance(other, ast.AST):
        return ast.dump(one) != ast.dump(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(_differ(*pair) for pair in zip(one, other, strict=True))
    return type(one) is not type(other) or bool(one != other)


def _written(place: Place, number: int, old: Any, new: Any, wanted: ast.Module) -> Change | None:
    """The change in the student's text; None where the text cannot say it (inside of an f-string, say)."""
    if not hasattr(old, "lineno") or (kind := _kind(old, new)) is None:
        return None
    stood = ast.get_source_segment(place.source, old) or ast.unparse(old)
    text = ast.unparse(new) if kind != "crop" else re.sub(rf"\b{old.lower.value}\b", str(new.lower.value), stood)
    for written in (text, f"({text})"):
        source = _replaced(place.source, old, written)
        if (body := _body(source)) and ast.dump(ast.Module(body, [])) == ast.dump(wanted):
            break
    else:
        return None
    first, last = old.lineno, old.end_lineno
    more = source.count("\n") - place.source.count("\n")
    quoted = min(last, first + MOST_LINES - 1)
    before, after = place.source.split("\n")[first - 1 : quoted], source.split("\n")[first - 1 : min(last + more, quoted)]
    kept = "" if kind == "removed" else text
    return Change(
        number, place, first, kind, _argument(old, new) if kind == "argument" else stood, kept, _keyword(place, old), _dedented(before),
        _dedented(after), source,
    )  # fmt: skip


def _replaced(source: str, node: Any, text: str) -> str:
    """A source in which a node's text is another one. Columns of a syntax tree count bytes."""
    lines = [line.encode() for line in source.split("\n")]
    head, tail = lines[node.lineno - 1][: node.col_offset], lines[node.end_lineno - 1][node.end_col_offset :]
    middle = head.decode() + text + tail.decode()
    return "\n".join([*source.split("\n")[: node.lineno - 1], middle, *source.split("\n")[node.end_lineno :]])


def _kind(old: ast.AST, new: ast.AST) -> str | None:
    match old, new:
        case ast.Slice(), ast.Slice():
            return "crop"
        case ast.Constant(value=bool()), _:
            return "truth"
        case ast.Constant(), ast.Constant():
            return "constant"
        case ast.BinOp(), ast.BinOp():
            return "operator"
        case ast.Compare(), ast.Compare():
            return "comparison"
        case _, ast.UnaryOp(op=ast.Not()):
            return "condition"
        case ast.AugAssign(), ast.Assign():
            return "assigned"
        case ast.Call(), ast.Call() if len(old.keywords) > len(new.keywords) and ast.dump(old.func) == ast.dump(new.func):
            return "argument"
        case ast.Call(), ast.Call() if sorted(map(ast.dump, old.args)) == sorted(map(ast.dump, new.args)):
            return "exchanged"
        case ast.Call(), ast.expr():
            return "call"
        case ast.stmt(), ast.Pass():
            return "removed"
    return None


def _argument(old: ast.Call, new: ast.Call) -> str:
    """The keyword argument that a call lost, as ``name=value``."""
    kept = [ast.dump(keyword) for keyword in new.keywords]
    lost = next(keyword for keyword in old.keywords if ast.dump(keyword) not in kept)
    return f"{lost.arg}={ast.unparse(lost.value)}" if lost.arg else f"**{ast.unparse(lost.value)}"


def _keyword(place: Place, node: ast.AST) -> str:
    """Name of the keyword argument that a node is the value of."""
    wanted = getattr(node, "lineno", 0), getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0)
    for one in (one for statement in _body(place.source) for one in ast.walk(statement)):
        if isinstance(one, ast.keyword) and (one.value.lineno, one.value.col_offset, one.value.end_col_offset) == wanted:
            return one.arg or ""
    return ""


def _dedented(lines: Sequence[str]) -> str:
    least = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[least:] for line in lines)
