"""The lines that visible checks print, and how an exception of a student's code becomes one of them."""

import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Report", "describe_error", "describe_value"]

_KIT = Path(__file__).resolve().parent.parent
_SELF = frozenset({"site-packages", "dist-packages"})
WIDTH = 30


class Report:
    """Result of one check cell: prints each line at once on stdout and is true while nothing failed.

    Attributes:
        lines: The printed lines.
        causes: The texts of the faults, in order.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.causes: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.lines) and not self.causes

    def _ipython_display_(self) -> None:
        """Nothing: the lines are printed already, and a notebook would show the object below them."""

    def _print(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)

    def ok(self, name: str, detail: str = "") -> bool:
        """Print an ``[ok]`` line."""
        self._print(f"[ok] {name:<{WIDTH}} {detail}".rstrip())
        return True

    def note(self, name: str, detail: str) -> None:
        """Print a line that is no fault: something to know."""
        self._print(f"[  ] {name:<{WIDTH}} {detail}")

    def fault(self, name: str, expected: Any, got: Any, cause: str = "") -> bool:
        """Print a ``[!!]`` line: what was expected, what came, and the likely cause."""
        text = f"[!!] {name:<{WIDTH}} expected {expected}, got {got}"
        if cause:
            text += f". Likely cause: {cause}"
        self.causes.append(cause or f"{name}: expected {expected}, got {got}")
        self._print(text)
        return False

    def expect(self, holds: bool, name: str, expected: Any, got: Any, cause: str = "", detail: str = "") -> bool:
        """Print ``[ok]`` where ``holds``, else the fault. Returns ``holds``."""
        if holds:
            return self.ok(name, detail)
        return self.fault(name, expected, got, cause)

    def run(self, name: str, call: Callable[[], Any], hints: dict[str, str] | None = None) -> tuple[bool, Any]:
        """Call student code; an exception becomes a fault line.

        Args:
            name: Name of the line.
            call: Function without arguments.
            hints: Part of an exception's text -> likely cause.

        Returns:
            ``(True, result)``, or ``(False, None)`` where the code raised.
        """
        try:
            return True, call()
        except NotImplementedError:
            self.fault(name, "a result", "nothing yet", "the cell above is still to be written: fill it in, run it, then run this cell")
        except (Exception, SystemExit) as error:
            where, what = describe_error(error)
            cause = next((text for part, text in (hints or {}).items() if part in f"{type(error).__name__}: {error}"), "")
            self.fault(name, "a result", f"{what} {where}".rstrip(), cause)
        return False, None


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
