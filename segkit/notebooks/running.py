"""Execute the program of a definition, and show errors at the notebook, cell and line of the student's own code."""

import __future__

import ast
import linecache
import traceback
from types import TracebackType
from typing import Any

from segkit.notebooks.slicing import Program

__all__ = ["Unrunnable", "execute", "student_traceback", "value_of"]


class Unrunnable(Exception):
    """A definition could not be run; the text names notebook, cell and line, and the error."""


def _remember(label: str, source: str) -> None:
    """Let tracebacks quote the lines of a cell. ``mtime=None`` keeps the entry when linecache looks for changed files."""
    linecache.cache[label] = (len(source), None, source.splitlines(keepends=True), label)


def student_traceback(error: BaseException, labels: set[str] | None = None, limit: int = 4) -> str:
    """Describe an error by the frames of the student's own cells, innermost last.

    Args:
        error: What was raised.
        labels: Labels of the student's cells; frames of other files are left out. None: frames of notebooks and of the
            files that linecache knows by a label.
        limit: At most so many frames.

    Returns:
        Lines such as ``2_fcn32s.ipynb, cell 9, line 12, in forward:  x = self.pool1(x)`` and then the error itself.
    """
    frames = []
    walk: TracebackType | None = error.__traceback__
    for frame in traceback.extract_tb(walk):
        own = frame.filename in labels if labels is not None else ", cell " in frame.filename
        if own:
            where = "" if frame.name == "<module>" else f", in {frame.name}"
            frames.append(f"{frame.filename}, line {frame.lineno}{where}:  {(frame.line or '').strip()}")
    try:
        text = str(error)
    except Exception:  # a student's exception class may itself be broken
        text = "(its text cannot be shown)"
    name = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        frames = [f"{error.filename}, line {error.lineno}:  {(error.text or '').strip()}"]
        text = error.msg
    summary = f"{name}: {text}" if text else name
    return "\n".join([*frames[-limit:], summary[:2000]])


def execute(program: Program, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a definition and what it needs, and return the namespace.

    Args:
        program: From ``Workbook.program``.
        namespace: Where to run it; a new one named like a notebook's where it is left out.

    Raises:
        Unrunnable: If the definition itself fails, or the name is not defined afterwards. A failing helper is passed over:
            if the definition needs it, that will show.
    """
    space = namespace if namespace is not None else {"__name__": "__main__", "__builtins__": __builtins__}
    labels = {chunk.label for chunk in program.chunks}
    flags, failures = 0, []
    for chunk in program.chunks:
        _remember(chunk.label, chunk.source)
        body = ast.parse(chunk.source, chunk.label).body
        for index in chunk.statements:
            statement = body[index]
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                for alias in statement.names:
                    flags |= getattr(getattr(__future__, alias.name, None), "compiler_flag", 0)
            try:
                # some syntax errors (return outside of a function) show only here
                code = compile(ast.Module([statement], []), chunk.label, "exec", flags=flags, dont_inherit=True)
                exec(code, space)  # the one place where a student's top-level code runs
            except (Exception, SystemExit) as error:
                failures.append(student_traceback(error, labels))
    if program.name not in space:
        # the last failure is that of the definition, those before may be why
        reason = "\n".join(failures[-3:]) if failures else f"{program.name} is not defined after running {program.where}"
        raise Unrunnable(reason)
    return space


def value_of(program: Program, name: str) -> Any:
    """Run a definition and return what it defines; a method of a class comes as a function whose first argument is the object.

    Args:
        program: From ``Workbook.program``.
        name: The name of the definition.

    Raises:
        Unrunnable: See ``execute``.
    """
    found = execute(program)[program.name]
    if program.name != name and not hasattr(found, name):
        raise Unrunnable(f"{program.name} has no {name} after running {program.where}")
    return found if program.name == name else getattr(found, name)
