"""Files of one submission in the folder of results."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autograder.batch.changes import read_changes
from autograder.course.rubric import Rubric
from autograder.marking import MarksError, marked
from autograder.report import late_of, read_answers, read_pictures, same_page, write_class_page, write_student_page, write_summary
from autograder.report.result_schema import ResultSchemaError, read_result, validate
from segkit.atomic import disk_is_full, replacing

__all__ = ["going_on", "remove_leftovers", "restore", "titles_of", "with_marks", "writable", "write_again", "write_report", "write_result"]

# what a killed run may leave half-written, each under a name of its own
LEFTOVERS = ("*/.*.partial", "*/pictures/.*.partial", "*/.report.html.*", ".index.html.*", ".summary.csv.*", ".regrade.csv.*",
             ".gates/*.lock")  # fmt: skip


def write_result(result: dict[str, Any], folder: Path, rubric: Rubric) -> None:
    """Write ``result.json`` (whole or not at all) and ``report.html``, which shows marks too; texts go through ``writable``.

    Raises:
        OSError: They could not be written; a full disk is a ``segkit.atomic.DiskFullError`` or has the code of one.
    """
    result = writable(result)
    validate(result)
    with replacing(folder / "result.json") as partial:
        partial.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    write_report(with_marks(result, folder), folder, rubric)


def write_report(result: dict[str, Any], folder: Path, rubric: Rubric) -> None:
    """Write ``report.html`` of a result with its marks."""
    write_student_page(
        result,
        folder,
        titles=rubric.causes,
        checks=titles_of(rubric),
        pictures=read_pictures(folder),
        answers=read_answers(folder),
        late=late_of(folder),
    )


def with_marks(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A result with what a person gave; as the judge left it where the marks cannot be used, which the run has said at its beginning."""
    try:
        return marked(folder.parent, {folder.name: result}).results[folder.name]
    except MarksError:
        return result


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
    if same:
        shown = with_marks(result, folder)
        if same_page(shown, folder):
            return False
        if (folder / "report.html").is_file():  # marks were given since: that is no loss
            write_report(shown, folder, rubric)
            return False
    before()
    write_result(result, folder, rubric)
    return True


def write_again(out: Path, rubric: Rubric) -> list[str]:
    """Write reports, summary and class page of a graded folder again, with its marks.

    Args:
        out: The folder.
        rubric: For titles and causes.

    Returns:
        What somebody should look at.

    Raises:
        MarksError: The marks cannot be used.
        OSError: A page could not be written.
    """
    results, lines = {}, []
    for path in sorted(out.glob("*/result.json")):
        try:
            results[path.parent.name] = read_result(path)
        except ResultSchemaError as error:
            lines.append(f"{path}: left out: {error}")
    found = marked(out, results, whole=not lines)
    for name, result in found.results.items():
        if not same_page(result, out / name):
            write_report(result, out / name, rubric)
    write_summary(list(found.results.values()), out)
    write_class_page(list(found.results.values()), out, titles=rubric.causes, checks=titles_of(rubric), changes=read_changes(out))
    return [*lines, *found.faults, *found.notices]


def remove_leftovers(out: Path) -> None:
    """Remove what a killed run left half-written. Only for whoever holds the folder."""
    for pattern in LEFTOVERS:
        for path in out.glob(pattern):
            path.unlink(missing_ok=True)
