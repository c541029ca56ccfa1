"""The printed pages: questions for a student, the same with the measured answers for the examiner, and both of the whole class."""

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from autograder.report.rendering import render_page, write_page
from autograder.viva.sitting import Sheet
from autograder.viva.sizes import SIDES
from autograder.viva.wording import asked, supposed

__all__ = ["write_pages"]


def write_pages(folder: Path, sheets: Mapping[str, Sheet], title: str, command: Sequence[str]) -> None:
    """Write ``questions/NAME.html`` and ``answers/NAME.html`` of each student, and both of the class beside these folders.

    Args:
        folder: Where.
        sheets: Folder of a student -> the sheet, in the order in which they are printed.
        title: Of the assignment.
        command: Words of the command that measures an answer again, without student and change.

    Raises:
        OSError: A page could not be written.
    """
    for what, answers in (("questions", False), ("answers", True)):
        for name, sheet in sheets.items():
            write_page(folder / what / f"{name}.html", _page([(name, sheet)], title, command, answers))
        write_page(folder / f"{what}.html", _page(list(sheets.items()), title, command, answers))


def _page(sheets: Sequence[tuple[str, Sheet]], title: str, command: Sequence[str], answers: bool) -> str:
    return render_page(
        "viva.html.j2",
        title=title,
        answers=answers,
        command=shlex.join(command),
        sheets=[{**sheet, "folder": name} for name, sheet in sheets],
        supposed=supposed,
        asked=partial(asked, first=SIDES.start, last=SIDES.stop - 1),
        quoted=shlex.quote,
    )
