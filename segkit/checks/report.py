"""The lines that visible checks print, and how an exception of a student's code becomes one of them.

A check names one root cause. What comes after its first fault mostly follows from that, so it waits: it is neither run nor printed.
"""

import linecache
import os
import re
import shutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.notebooks.running import first_failure, namesake

__all__ = ["Line", "Report", "arguments_hint", "as_shown", "describe_error", "describe_value", "reading_width"]

_KIT = Path(__file__).resolve().parent.parent
_SELF = frozenset({"site-packages", "dist-packages"})
WIDTH = 30
MARKS = {"ok": "[ok]", "fault": "[!!]", "note": "[  ]", "unfinished": "[--]"}
# bold green and bold red: readable on light and on dark, in a terminal and as Jupyter shows them
COLOURS = {"ok": "\x1b[1;32m", "fault": "\x1b[1;31m", "note": "", "unfinished": "", "emphasis": "\x1b[1m", "end": "\x1b[0m"}
REST = "waits for the line above: repair it, and run this cell again"


@dataclass(frozen=True)
class Line:
    """One line of a report, as data.

    Attributes:
        kind: ``"ok"``, ``"fault"``, ``"note"`` (something to know, no fault), or ``"unfinished"``.
        name: What was looked at.
        detail: What was found; of a fault, what was expected and what came.
        cause: Likely cause of a fault, in words; empty where none is known.
        code: The cause's stable code, as the grader names it (``label.shift``); empty where it has none.
    """

    kind: str
    name: str
    detail: str = ""
    cause: str = ""
    code: str = ""

    def __str__(self) -> str:
        text = f"{MARKS[self.kind]} {self.name:<{WIDTH}} {self.detail}".rstrip()
        return f"{text}. Likely cause: {self.cause}" if self.cause else text


class Report:
    """Result of one check cell: prints each line at once on stdout and is true while nothing failed.

    Attributes:
        found: The lines as data, the one root cause among them last.
        lines: The same as plain text.
    """

    def __init__(self) -> None:
        self.found: list[Line] = []
        self._waits = False

    def __bool__(self) -> bool:
        return bool(self.found) and self.fault_line is None

    def _ipython_display_(self) -> None:
        """Nothing: the lines are printed already, and a notebook would show the object below them."""

    @property
    def lines(self) -> list[str]:
        """The printed lines without colour, one string each."""
        return [str(line) for line in self.found]

    @property
    def fault_line(self) -> Line | None:
        """The root cause, or None while all is well."""
        return next((line for line in self.found if line.kind == "fault"), None)

    @property
    def causes(self) -> list[str]:
        """Text of the root cause: a list of one, or empty."""
        line = self.fault_line
        return [line.cause or f"{line.name}: {line.detail}"] if line else []

    def _print(self, line: Line) -> None:
        if self.fault_line is None:
            self.found.append(line)
            print(as_shown(line), flush=True)
        elif not self._waits:
            self._waits = True
            self.found.append(Line("note", "the rest of this check", REST))
            print(as_shown(self.found[-1]), flush=True)

    def ok(self, name: str, detail: str = "") -> bool:
        """Print an ``[ok]`` line."""
        self._print(Line("ok", name, detail))
        return True

    def note(self, name: str, detail: str) -> None:
        """Print a line that is no fault: something to know."""
        self._print(Line("note", name, detail))

    def fault(self, name: str, expected: Any, got: Any, cause: str = "", code: str = "") -> bool:
        """Print a ``[!!]`` line: what was expected, what came, and the likely cause. Nothing but a hint follows it."""
        return self.wrong(name, f"expected {expected}, got {got}", cause, code)

    def wrong(self, name: str, detail: str, cause: str = "", code: str = "") -> bool:
        """Print a ``[!!]`` line in words of its own, where what came is in the cause, or in an error's text."""
        self._print(Line("fault", name, detail, cause, code))
        return False

    def expect(self, holds: bool, name: str, expected: Any, got: Any, cause: str = "", detail: str = "", code: str = "") -> bool:
        """Print ``[ok]`` where ``holds``, else the fault. Returns ``holds``."""
        if holds:
            return self.ok(name, detail)
        return self.fault(name, expected, got, cause, code)

    def run(self, name: str, call: Callable[[], Any], hints: dict[str, str] | None = None, code: str = "code.raises") -> tuple[bool, Any]:
        """Call student code; an exception becomes a fault line. After a fault nothing is called any more.

        Args:
            name: Name of the line.
            call: Function without arguments.
            hints: Part of an exception's text -> likely cause.
            code: Stable code of the fault where the code raises.

        Returns:
            ``(True, result)``, or ``(False, None)`` where the code raised, or was not called.
        """
        if self.fault_line is not None:
            self.note(name, "")
            return False, None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # 0 / 0 is asked for here; a warning would go to stderr
                return True, call()
        except NotImplementedError:
            self.fault(name, "a result", "nothing yet", "the cell above is still to be written: fill it in, run it, then run this cell",
                       "code.unfinished")  # fmt: skip
        except (Exception, SystemExit) as error:
            # here, for it imports torch, and lines are also printed where there is none
            from segkit.student_errors import StudentError, device_cause

            where, what = describe_error(error)
            cause = next((text for part, text in (hints or {}).items() if part in f"{type(error).__name__}: {error}"), "")
            if told := device_cause(error):
                cause, code = told, "code.device"
            elif hint := namesake(error):
                cause = hint
            elif isinstance(error, TypeError) and not where:
                cause, code = "it takes other arguments than this check gives: compare its first line with the text above", "code.signature"
            if isinstance(error, StudentError):  # its text is a sentence already, and names cells, but not those of a running notebook
                where = "" if ", cell " in what or error.__context__ is None else describe_error(error.__context__)[0]
                self.wrong(name, f"expected a result, but {what.partition(': ')[2]} {where}".rstrip(), cause, code)
            else:
                self.fault(name, "a result", f"{what} {where}".rstrip(), cause, code)
        return False, None


def arguments_hint(function: Any, signature: str) -> dict[str, str]:
    """A hint for whatever error a function raises that takes its arguments in another order than it is given them; or none."""
    from segkit.student_errors import in_another_order  # here, for it imports torch

    code = getattr(function, "__code__", None)
    words = in_another_order(code.co_varnames[: code.co_argcount], signature) if code else ""
    return {"": words} if words else {}


def as_shown(line: Line) -> str:
    """A line as stdout can show it: coloured and wrapped where a person reads, one plain line where it is captured."""
    width = reading_width()
    text = _pretty(line, width) if width else str(line)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding, "replace")


def reading_width() -> int:
    """Columns of the notebook or terminal that shows colour; 0 for a file, a pipe, ``NO_COLOR`` or a dumb terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return 0
    if type(sys.stdout).__module__.partition(".")[0] in ("ipykernel", "google"):  # a notebook, Colab's too
        return 100
    try:
        return min(100, shutil.get_terminal_size((100, 24)).columns) if sys.stdout.isatty() else 0
    except (AttributeError, ValueError):  # something in the place of stdout, or closed
        return 0


def _pretty(line: Line, width: int) -> str:
    """A line with a coloured mark, wrapped with a hanging indent; the cause on lines of its own."""
    indent = " " * 5
    head = f"{MARKS[line.kind]} {_clean(line.name):<{WIDTH}} {_clean(line.detail)}".rstrip()
    parts = [textwrap.fill(head, width, subsequent_indent=indent, break_on_hyphens=False)]
    if line.cause:
        parts.append(textwrap.fill(f"Likely cause: {_clean(line.cause)}", width, initial_indent=indent, subsequent_indent=indent,
                                   break_on_hyphens=False))  # fmt: skip
        parts[-1] = parts[-1].replace("Likely cause:", f"{COLOURS['emphasis']}Likely cause:{COLOURS['end']}", 1)
    mark = MARKS[line.kind]
    if COLOURS[line.kind]:
        parts[0] = parts[0].replace(mark, f"{COLOURS[line.kind]}{mark}{COLOURS['end']}", 1)
    return "\n".join(parts)


def _clean(text: str) -> str:
    """Without control characters: an error's text is the student's, and may hold escapes of its own."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)


def describe_error(error: BaseException) -> tuple[str, str]:
    """Return where in the student's own code an exception arose, and what it says, each as one line.

    Args:
        error: The exception, with its traceback.

    Returns:
        ``("in 2_fcn32s.ipynb, cell 9, line 4: `x = self.fc6(x)`", "RuntimeError: ...")``; the first is empty where no
        line of the student's is in the traceback.
    """
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    if before := first_failure(error):
        what += f" (this failed before: {' '.join(before.split())[:400]})"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    if not own:
        return "", what
    frame = own[-1]
    line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return f"in {_cell_name(frame.filename)}, line {frame.lineno}: `{line}`", what


def _is_own(filename: str) -> bool:
    path = Path(filename)
    if filename.startswith("<frozen") or _SELF & set(path.parts):
        return False
    if "ipykernel_" in filename or ".ipynb" in filename or filename.startswith("<"):
        return True
    import sysconfig

    library = sysconfig.get_paths()["stdlib"]
    return not filename.startswith((str(_KIT), library))


def _cell_name(filename: str) -> str:
    """The cell as the notebook shows it (``In [7]``), where a running IPython knows it."""
    try:
        from IPython import get_ipython

        number = get_ipython().compile._filename_map[filename]
        return f"cell In [{number}]"
    except Exception:
        return Path(filename).name if "ipykernel_" not in filename else "this notebook"


def describe_value(value: Any) -> str:
    """A value in one short phrase: type, shape, dtype."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        kind = "tensor" if type(value).__module__.startswith("torch") else "array"
        return f"{kind} {tuple(value.shape)} {str(value.dtype).replace('torch.', '')}"
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text[:80]}"
