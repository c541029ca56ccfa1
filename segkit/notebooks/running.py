"""Execute the program of a definition, and show errors at the notebook, cell and line of the student's own code."""

import __future__

import ast
import asyncio
import contextlib
import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from segkit.notebooks.names import bound_names
from segkit.notebooks.program import Program

__all__ = ["Unrunnable", "at_home", "execute", "first_failure", "namesake", "student_traceback", "value_of"]

# in the namespace of a program: name -> why the statement failed that would have bound it; "": one that binds nothing, cfg.update(...)
FAILED = "__what_failed__"
NOT_THERE = "is not there where work is graded"


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
    if isinstance(error, NameError) and (first := first_failure(error)):
        return "\n".join([*frames[-limit:], f"{error.name} is missing, because this failed before:", first])[:4000]
    try:
        text = str(error)
    except Exception:  # a student's exception class may itself be broken
        text = "(its text cannot be shown)"
    name = type(error).__name__
    if hint := namesake(error):
        text += f": {hint}"
    elif isinstance(error, ModuleNotFoundError) and error.name:
        text += _about_module(error.name)
    if isinstance(error, FileNotFoundError) and NOT_THERE not in text:
        here = f"{Path.cwd()}{os.sep}"  # of this machine
        text = (f"{text.replace(here, '').rstrip('.')}: it {NOT_THERE}; of what is handed in, code gets notebooks, scripts, and the "
                "small texts (.json, .yaml, .csv, .txt ...) whose names it says. Write what it needs into a cell")  # fmt: skip
    if isinstance(error, SyntaxError) and error.filename:
        frames = [f"{error.filename}, line {error.lineno}:  {(error.text or '').strip()}"]
        text = error.msg
    summary = f"{name}: {text}" if text else name
    before = _failures(error, "")
    earlier = ["This failed before, and may be why:", before[:1500]] if before else []
    return "\n".join([*frames[-limit:], summary[:2000], *earlier])


def namesake(error: BaseException) -> str:
    """What to do where one name hides another: a module a student's script, or a student's function what it imported; or empty."""
    if type(error) in (TypeError, RecursionError):
        return _calls_itself(error)
    if type(error) not in (ImportError, ModuleNotFoundError, AttributeError):
        return ""
    asked = error.obj if isinstance(error, AttributeError) else error.name  # type: ignore[attr-defined]
    module = sys.modules.get(asked.partition(".")[0]) if type(asked) is str else asked
    if type(module) is not type(sys):
        return ""
    name = str(vars(module).get("__name__")).partition(".")[0]
    script = Path.cwd() / f"{name}.py"
    if not script.is_file() or vars(module).get("__file__") == str(script):
        return ""
    return f"your {name}.py is never imported, for Python or a package has a module of that name: rename it"


def _calls_itself(error: BaseException) -> str:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_name
        own = getattr(frame.f_globals.get(name), "__code__", None) is frame.f_code
        if own and (isinstance(error, RecursionError) or str(error).startswith(f"{name}() ")):
            return f"{name} calls itself here: it hides what was imported under its name, so import that under another one"
    return ""


def _about_module(name: str) -> str:
    root = str(name).partition(".")[0]
    return f": {root} is not installed where work is graded, and no {root}.py was handed in"


def first_failure(error: BaseException) -> str | None:
    """Why a name is not there: what failed first where it should have been bound, told in place of the bare NameError.

    Args:
        error: Any error; where nothing is known of why, there is nothing to tell.
    """
    name = error.name if isinstance(error, NameError) else None
    return _failures(error, name, "*") if isinstance(name, str) else None


def _failures(error: BaseException, *names: str) -> str | None:
    """What failed in the namespaces that an error went through, of the first of these names; ``""``: a statement that binds none."""
    found, walk = None, error.__traceback__
    while walk is not None:
        failed = walk.tb_frame.f_globals.get(FAILED)
        if type(failed) is dict:
            found = next((failed[name] for name in names if failed.get(name)), found)
        walk = walk.tb_next
    return found if isinstance(found, str) else None


class _Shell:
    """What ``get_ipython()`` gives here: magics do nothing; the slice has what ``%run`` would bring."""

    def run_line_magic(self, name: str, line: str, *rest: Any) -> None:
        if name == "cd":
            os.chdir(line)

    magic = run_cell_magic = system = lambda self, *rest, **options: None

    def getoutput(self, *rest: Any, **options: Any) -> list[str]:
        return []


@contextlib.contextmanager
def at_home(root: str | Path, program: Program, fresh: bool = False) -> Iterator[None]:
    """Run a program as its notebook's kernel would: in the notebook's folder, importing from there, then from the whole work.

    Args:
        root: Folder of the work.
        program: What will be run.
        fresh: Whether its scripts are imported anew: another notebook's folder may have had one of the same name.
    """
    root, before, arguments = Path(root).resolve(), Path.cwd(), sys.argv
    home = root / program.folder if (root / program.folder).is_dir() else root
    if fresh:
        _forget_scripts(root, program)
    theirs = [path for path in sys.path if Path(path).is_relative_to(root)]  # entries of earlier definitions; this one's folder comes first
    # the whole work comes last, so that a student's torch.py hides nothing; `root in sys.path` is False, as for the student
    above = [f"{root}{os.sep}"] if root != home else []
    sys.path[:] = [path for path in sys.path if path not in theirs] + list(dict.fromkeys((str(home), *above, *theirs)))
    os.chdir(home)
    sys.argv = ["ipykernel_launcher.py"]
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            here = Path.cwd()
            # paths that the program appended are relative to this folder, also for later imports
            moved = [path for path in sys.path if path and not Path(path).is_absolute() and (here / path).is_dir()]
            sys.path[:] = [str(here / path) if path in moved else path for path in sys.path]
        os.chdir(before)
        sys.argv = arguments


def _forget_scripts(root: Path, program: Program) -> None:
    """Forget the modules that were imported from a program's scripts."""
    scripts = {root / name for name in program.modules}
    scripts |= {folder for script in scripts for folder in script.parents if root in folder.parents}  # a namespace package has no file
    for name, module in list(sys.modules.items()):
        if type(module) is type(sys):
            places = [vars(module).get("__file__"), *(vars(module).get("__path__") or ())]
            if any(isinstance(place, str) and Path(place) in scripts for place in places):
                del sys.modules[name]


def _single(statement: ast.stmt) -> list[ast.stmt]:
    """Split an import of several names, so that a missing one does not prevent the others."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)) or len(statement.names) < 2:
        return [statement]
    parts: list[ast.stmt] = []
    for alias in statement.names:
        part = ast.Import([alias]) if isinstance(statement, ast.Import) else ast.ImportFrom(statement.module, [alias], statement.level)
        parts.append(ast.copy_location(part, statement))
    return parts


def execute(program: Program, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a definition and what it needs, and return the namespace.

    Args:
        program: From ``Workbook.program``.
        namespace: Where to run it; a new one named like a notebook's where it is left out.

    Raises:
        Unrunnable: If the definition itself fails, or the name is not defined afterwards. A failing helper is ignored here:
            if the definition needs it, the error of the definition tells.
    """
    space: dict[str, Any] = namespace if namespace is not None else {"__name__": "__main__", "__builtins__": __builtins__}
    space.setdefault("get_ipython", _Shell)
    space.setdefault("display", lambda *values, **options: None)  # a kernel has it without an import
    failed: dict[str, str] = space.setdefault(FAILED, {})
    labels, last, flags = {chunk.label for chunk in program.chunks}, "", 0
    for chunk in program.chunks:
        _remember(chunk.label, chunk.source)
        body = ast.parse(chunk.source, chunk.label).body
        if chunk.label.endswith(".py"):
            space["__package__"] = ".".join(PurePosixPath(chunk.label).parent.parts)
        for statement in [part for index in chunk.statements for part in _single(body[index])]:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                for alias in statement.names:
                    flags |= getattr(getattr(__future__, alias.name, None), "compiler_flag", 0)
            try:
                _run(statement, chunk.label, flags, space)
            except (Exception, SystemExit) as error:
                last = student_traceback(error, labels)
                stars = isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*"
                for name in ["*"] if stars else bound_names(statement) or [""]:
                    failed.setdefault(name, first_failure(error) or last)
    if program.name not in space:
        reason = last or failed.get(program.name) or f"{program.name} is not defined after running {program.where}"
        raise Unrunnable(reason)
    return space


def _run(statement: ast.stmt, label: str, flags: int, space: dict[str, Any]) -> None:
    """The one place where a student's top-level code runs."""
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    # some syntax errors (return outside of a function) show only here
    code = compile(ast.Module([statement], []), label, "exec", flags=flags, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        with ThreadPoolExecutor(1) as thread:  # a notebook has a loop that runs already
            thread.submit(asyncio.run, eval(code, space)).result()
    else:
        exec(code, space)


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
