"""Files of one submission in the folder of results."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autograder.course.rubric import Rubric
from autograder.report import read_answers, read_pictures, write_student_page
from autograder.report.result_schema import validate
from segkit.atomic import disk_is_full, replacing

__all__ = ["going_on", "remove_leftovers", "restore", "titles_of", "writable", "write_result"]

# what a killed run may leave half-written, each under a name of its own
LEFTOVERS = ("*/.*.partial", "*/pictures/.*.partial", "*/.report.html.*", ".index.html.*", ".summary.csv.*", ".regrade.csv.*",
             ".gates/*.lock")  # fmt: skip


def write_result(result: dict[str, Any], folder: Path, rubric: Rubric) -> None:
    """Write ``result.json`` (whole or not at all) and ``report.html``; texts go through ``writable``.

    Raises:
        OSError: They could not be written; a full disk is a ``segkit.atomic.DiskFullError`` or has the code of one.
    """
    result = writable(result)
    validate(result)
    with replacing(folder / "result.json") as partial:
        partial.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    write_student_page(
        result, folder, titles=rubric.causes, checks=titles_of(rubric), pictures=read_pictures(folder), answers=read_answers(folder)
    )


def writable(value: Any) -> Any:
    """A result, or a part of one, without lone surrogates: no file can hold them. They are shown as U+FFFD.

    They come from names of files that are no UTF-8, and from whatever a student's code says.
    """
    if isinstance(value, str):
        return re.sub(r"[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {writable(key): writable(part) for key, part in value.items()}
    return [writable(part) for part in value] if isinstance(value, (list, tuple)) else value


@contextmanager
def going_on(say: Callable[[str], None], before: str, after: str = "") -> Iterator[None]:
    """Report an error within this context and continue with the class. A full disk ends the run.

    Args:
        say: Prints a line.
        before: Of the line, the error follows.
        after: The end of the line.
    """
    try:
        yield
    except Exception as error:
        if disk_is_full(error):
            raise
        say(writable(f"{before}{type(error).__name__}: {error}{after}"))


def titles_of(rubric: Rubric) -> dict[str, dict[str, Any]]:
    """Titles and points of the checks, as the pages want them."""
    return {name: {"title": check.title, "points": check.points} for name, check in rubric.checks.items()}


def restore(result: dict[str, Any], folder: Path, rubric: Rubric, before: Callable[[], None] = lambda: None) -> bool:
    """Write a result of an earlier run again where its files are missing or hold something else; returns whether they did.

    Args:
        result: The result.
        folder: Where its files should lie.
        rubric: For titles and causes.
        before: Called before files are written.
    """
    try:
        same = json.loads((folder / "result.json").read_text(encoding="utf-8")) == result
    except (OSError, ValueError):
        same = False
    if same and (folder / "report.html").is_file():
        return False
    before()
    write_result(result, folder, rubric)
    return True


def remove_leftovers(out: Path) -> None:
    """Remove what a killed run left half-written. Only for whoever holds the folder."""
    for pattern in LEFTOVERS:
        for path in out.glob(pattern):
            path.unlink(missing_ok=True)
