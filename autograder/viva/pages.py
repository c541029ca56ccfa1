"""The printed pages: questions for a student, the same with the measured answers for the examiner, and both of the whole class."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from autograder.report.labels import clean_text
from autograder.report.rendering import TEMPLATES, write_page
from autograder.viva.sitting import Sheet
from autograder.viva.sizes import SIDES
from autograder.viva.wording import asked, supposed

__all__ = ["write_pages"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'none'; base-uri 'none'; form-action 'none'"


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
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    page = _environment().get_template("viva.html.j2")
    return page.render(style=Markup(style), policy=POLICY, title=title, answers=answers, command=shlex.join(command),
                       sheets=[{**sheet, "folder": name} for name, sheet in sheets])  # fmt: skip


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent / "templates", TEMPLATES]), autoescape=True,
        undefined=jinja2.StrictUndefined, finalize=_finalize, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[[Any], str]] = {
        "supposed": supposed, "asked": lambda question: asked(question, SIDES.start, SIDES.stop - 1), "quoted": shlex.quote,
    }  # fmt: skip
    environment.filters |= filters
    return environment


def _finalize(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
