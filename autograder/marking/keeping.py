"""Writing one person's marks: whole at every change, in a file that nobody else writes."""

import copy
import datetime
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from autograder.course.rubric import Rubric
from autograder.handins.roster import folder_name
from autograder.marking.books import BY_RUBRIC, MarksError, keep_right, read_book, right_content
from autograder.marking.marks import FOLDER, marks_files
from autograder.report.labels import clean_text
from autograder.sandbox.locks import file_lock
from segkit.atomic import replacing

__all__ = ["Keeper", "write_rubric_criteria"]

HEAD = "# Written by `python -m autograder mark`; what it holds: docs/marking.md. To change it by hand, close the marking room first.\n"


class Keeper:
    """The file of one person.

    Args:
        graded: The graded folder.
        person: Who gives marks.

    Raises:
        MarksError: The file cannot be used, or the name is somebody else's.
    """

    def __init__(self, graded: Path, person: str) -> None:
        self.person = person.strip()
        if not self.person or self.person == BY_RUBRIC or len(self.person) > 80:
            raise MarksError(f"--as {person!r}: expected a name of at most 80 letters, other than {BY_RUBRIC!r}.")
        self.path = graded / FOLDER / f"{folder_name(self.person)}.toml"
        for path in marks_files(graded):
            by = read_book(path).by
            if (path == self.path) != (by == self.person):
                what = (
                    f"{path} is of {by!r}"
                    if path == self.path
                    else f"{path} is yours already, but not the file that is written ({self.path})"
                )
                raise MarksError(f"{what}; rename it, or mark under another name (--as NAME).")

    def put_mark(self, student: str, check: str, mark: Mapping[str, Any] | None, saw: Mapping[str, datetime.datetime]) -> None:
        """Keep a mark of an answer, or take it back.

        Args:
            student: Whose answer.
            check: Of which question.
            mark: Keys of ``Mark``, without ``when`` and ``saw``; None takes it back.
            saw: The marks of others that were on the screen.
        """
        self._put("answers", student, check, mark, saw)

    def put_override(self, student: str, check: str, override: Mapping[str, Any] | None, saw: Mapping[str, datetime.datetime]) -> None:
        """Keep other points of an automatic check, or take them back (see ``put_mark``)."""
        self._put("overrides", student, check, override, saw)

    def put_criterion(self, check: str, name: str, text: str, points: float, saw: Mapping[str, datetime.datetime]) -> None:
        """Keep a criterion of a question."""
        self._put("criteria", check, name, {"text": text, "points": points}, saw)

    def _put(self, table: str, outer: str, inner: str, entry: Mapping[str, Any] | None, saw: Mapping[str, datetime.datetime]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(self.path.with_name(f".{self.path.name}.lock")):
            content: dict[str, Any] = copy.deepcopy(right_content(self.path)[1]) if self.path.is_file() else {"by": self.person}
            entries = content.setdefault(table, {}).setdefault(outer, {})
            before = entries.pop(inner, {})
            if entry is not None:
                seen = {**before.get("saw", {}), **saw}
                kept = {name: _plain(value) for name, value in entry.items() if value is not None and value != ""}
                entries[inner] = {**kept, "when": _now(before.get("when")), **({"saw": seen} if seen else {})}
            if not entries:
                del content[table][outer]
            _write(
                self.path,
                content,
                {"by": self.person, table: {outer: {inner: entries[inner]}}} if entry is not None else {"by": self.person},
            )


def _write(path: Path, content: dict[str, Any], changed: Mapping[str, Any] | None = None) -> None:
    """Write a file whole, or not at all where something new in it is wrong."""
    text = HEAD + tomli_w.dumps(content, multiline_strings=True)
    keep_right(text, content, content if changed is None else changed)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value).rstrip()
    return list(value) if isinstance(value, tuple) else value


def _now(before: Any) -> datetime.datetime:
    """This moment; later than the mark that it replaces, whatever the clock says."""
    now = datetime.datetime.now(datetime.UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    earlier = isinstance(before, datetime.datetime) and before.tzinfo is not None and before >= now
    return before + datetime.timedelta(milliseconds=1) if earlier else now


def write_rubric_criteria(graded: Path, rubric: Rubric) -> Path:
    """Write the parts of the rubric as criteria, to begin with; a part that the rubric no longer has stays, since marks may use it.

    Args:
        graded: The graded folder.
        rubric: Its rubric.
    """
    path = graded / FOLDER / f"{BY_RUBRIC}.toml"
    kept = read_book(path).criteria if path.is_file() else {}
    criteria: dict[str, dict[str, Any]] = {
        check: {name: {key: value for key, value in asdict(one).items() if key in ("text", "points")} for name, one in named.items()}
        for check, named in kept.items()
    }
    for check in rubric.checks.values():
        if check.manual:
            parts = {re.sub(r"[^A-Za-z0-9_-]", "_", name)[:60]: (name, points) for name, points in check.parts.items()}
            own = {key: {"text": _words(name), "points": points} for key, (name, points) in parts.items()}
            criteria[check.id] = own | {key: one for key, one in criteria.get(check.id, {}).items() if key not in own}
    content = {"by": BY_RUBRIC, "criteria": criteria}
    if not path.is_file() or tomllib.loads(path.read_text(encoding="utf-8-sig")) != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path.with_name(f".{path.name}.lock")):
            _write(path, content)
    return path


def _words(name: str) -> str:
    return "what was asked for" if name == "all" else name.replace("_", " ")
