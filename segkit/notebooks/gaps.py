"""What a notebook shows where something is still to be written or to be run: one line that names the cell, in place of a traceback."""

import ast
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from segkit.notebooks.files import own_files
from segkit.notebooks.names import bound_names
from segkit.notebooks.reading import DocumentError, cell_text, notebook_content, python_source, raw_cells

__all__ = ["tell_gaps"]


def tell_gaps(shell: Any, folder: Path) -> None:
    """Let a kernel say which exercise is still to be written, and which cell to run first; all other errors stay as they are.

    Args:
        shell: IPython's.
        folder: Where the notebooks lie.
    """

    def tell(
        shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType | None, tb_offset: int | None = None
    ) -> None:
        text = _unwritten(error, shell.user_ns) or _not_run(error, shell, folder)
        if text:
            shell._showtraceback(kind, error, [f"{kind.__name__}: {text}"])
        else:
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    shell.set_custom_exc((NotImplementedError, NameError), tell)


def _unwritten(error: BaseException, space: dict[str, Any]) -> str:
    """Of what a release leaves in a solution cell: whose it is; empty for any other error."""
    last = _last_frame(error)
    if type(error) is not NotImplementedError or str(error) or last.f_globals is not space or last.f_code.co_name == "<module>":
        return ""
    return f"{last.f_code.co_qualname} is still to be written: fill in its cell, run it, then run this cell."


def _not_run(error: BaseException, shell: Any, folder: Path) -> str:
    """Of a name that a cell of the notebook makes: which one; empty for any other error."""
    if type(error) is not NameError or _last_frame(error).f_globals is not shell.user_ns:
        return ""
    found = _maker(error.name or "", [source.strip() for source in shell.history_manager.input_hist_raw if source.strip()], folder)
    return found and f"{error.name} is not there yet. {found}, and has not run to its end: run that cell first."


def _last_frame(error: BaseException) -> Any:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame


def _maker(name: str, ran: list[str], folder: Path) -> str:
    """The cell that makes a name, by the heading above it: in the notebook that has most of what was run, above the cell run last."""
    notebooks = [list(_cells(folder / path)) for path in own_files(folder) if path.suffix == ".ipynb"]
    cells = max(notebooks, key=lambda cells: len({source for _, source in cells} & set(ran)), default=[])
    end = next((place for place, (_, source) in enumerate(cells) if ran and source == ran[-1]), len(cells))
    for heading, source in reversed(cells[:end]):
        for statement in _statements(source):
            if name in bound_names(statement):
                return f'The cell under "{heading}" makes it, by `{source.splitlines()[statement.lineno - 1].strip()}`'
    return ""


def _cells(path: Path) -> Iterator[tuple[str, str]]:
    """The code cells of a notebook: heading above, and source."""
    heading = path.name
    try:
        raw = raw_cells(notebook_content(path, path.name)[0], path.name)
    except DocumentError:
        return
    for cell in raw:
        text = cell_text(cell.get("source"))
        if cell.get("cell_type") == "code":
            yield heading, text.strip()
        elif cell.get("cell_type") == "markdown":
            heading = next((line.lstrip("# ") for line in reversed(text.splitlines()) if line.startswith("#")), heading)


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(python_source(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
