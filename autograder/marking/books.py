"""One person's marks: a TOML file, validated where it is read, so that a slip has a line and a way out."""

import datetime
import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

__all__ = [
    "BY_RUBRIC",
    "Book",
    "Criterion",
    "Mark",
    "MarksError",
    "Override",
    "keep_right",
    "line_of",
    "moment",
    "read_book",
    "right_content",
]

SCHEMA_FILE = Path(__file__).with_name("marks.schema.json")
MAX_FAULTS = 10
MOST_KEPT = 16
_RIGHT: dict[str, dict[str, Any]] = {}  # texts that were validated, the last ones: a class asks for a file once for each student
BY_RUBRIC = "rubric"
"""Of the criteria that come from the rubric; everybody's own words replace theirs."""


class MarksError(Exception):
    """Marks that cannot be used; the text says file, line, what was expected and found, and what to do."""


@dataclass(frozen=True)
class Mark:
    """What a person gave for an answer.

    Attributes:
        points: As a number; None where criteria say it, or where nothing was given yet.
        criteria: Names of the criteria that are met; None where none was looked at.
        half: Names of those that are met by half.
        adjust: Points on top of what the criteria give.
        reason: Why they are adjusted.
        comment: For the student.
        of: Hash of the answer that was marked; empty where nobody wrote it down.
        when: When it was given.
        saw: Person -> the moment of that person's mark that was on the screen when this one was given.
    """

    points: float | None = None
    criteria: tuple[str, ...] | None = None
    half: tuple[str, ...] = ()
    adjust: float = 0.0
    reason: str = ""
    comment: str = ""
    of: str = ""
    when: datetime.datetime | None = None
    saw: Mapping[str, datetime.datetime] = field(default_factory=dict)

    @property
    def given(self) -> bool:
        """Whether there are points in it; a comment alone gives none."""
        return self.points is not None or self.criteria is not None


@dataclass(frozen=True)
class Override:
    """Points that a person gave for an automatic check in the place of the judge's.

    Attributes:
        points: The points.
        reason: Why.
        was: The judge's points at that time; None where they are not known, or where there were none.
        when, saw: As in ``Mark``.
    """

    points: float
    reason: str
    when: datetime.datetime
    was: float | None = None
    saw: Mapping[str, datetime.datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Criterion:
    """A share of a question's points with a name: what is asked for, and what it is worth (less than nothing for a mistake)."""

    text: str
    points: float
    when: datetime.datetime | None = None
    saw: Mapping[str, datetime.datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Book:
    """All that one person gave.

    Attributes:
        path: The file.
        text: Its text, for lines in messages.
        by: The person.
        answers: Student -> check -> mark.
        overrides: Student -> check -> override.
        criteria: Check -> name -> criterion.
    """

    path: Path
    text: str
    by: str
    answers: Mapping[str, Mapping[str, Mark]]
    overrides: Mapping[str, Mapping[str, Override]]
    criteria: Mapping[str, Mapping[str, Criterion]]

    def where(self, *place: str) -> str:
        """``marks.toml, line 12``: where something stands."""
        return f"{self.path}, line {line_of(self.text, place)}"


def moment(value: datetime.date) -> datetime.datetime:
    """A date or time of a TOML file as a moment; without an offset it means this machine's time."""
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    return value.astimezone(datetime.UTC)


def read_book(path: Path) -> Book:
    """Read the marks of one person.

    Raises:
        MarksError: They cannot be used.
    """
    text, content = right_content(path)
    return Book(
        path, text, content["by"].strip(),
        answers=_typed_tables(content.get("answers", {}), Mark), overrides=_typed_tables(content.get("overrides", {}), Override),
        criteria=_typed_tables(content.get("criteria", {}), Criterion),
    )  # fmt: skip


def right_content(path: Path) -> tuple[str, dict[str, Any]]:
    """Text and content of a file that says nothing wrong; the content is shared, and not to be changed.

    Raises:
        MarksError: It does.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MarksError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise MarksError(f"{path} is no UTF-8: {error}. Save it as UTF-8.") from error
    if text not in _RIGHT:
        try:
            content = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            hint = "A text needs quotes, and so does a name with more than A-Z, a-z, 0-9, _ and - in it; a table may stand there once."
            raise MarksError(f"{path} is no TOML: {error}. {hint}") from error
        _demand_right(content, text, path)
        keep_right(text, content)
    return text, _RIGHT[text]


def keep_right(text: str, content: dict[str, Any], changed: Mapping[str, Any] | None = None) -> None:
    """Remember that a text says nothing wrong, so that it need not be looked at again.

    Args:
        text: The text.
        content: Its content.
        changed: What of it is new, as a content of its own; the rest was right before.

    Raises:
        MarksError: What is new is wrong.
    """
    if changed is not None:
        _demand_right(changed, "", Path("this"))
    while len(_RIGHT) >= MOST_KEPT:
        _RIGHT.pop(next(iter(_RIGHT)), None)
    _RIGHT[text] = content


def _demand_right(content: Any, text: str, path: Path) -> None:
    faults = [*_form_faults(content, text, path)] or [*_sense_faults(content, text, path)]
    if faults:
        more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
        raise MarksError("\n".join([*faults[:MAX_FAULTS], *more]))


def _typed_tables(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], kind: type[Any]) -> dict[str, dict[str, Any]]:
    return {outer: {inner: kind(**_typed(one)) for inner, one in entries.items()} for outer, entries in tables.items()}


def _typed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """TOML's lists and moments as the classes above hold them."""
    found: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    found |= {name: float(found[name]) for name in ("points", "adjust", "was") if name in found}
    if "when" in found:
        found["when"] = moment(found["when"])
    if "saw" in found:
        found["saw"] = {person: moment(value) for person, value in found["saw"].items()}
    return found


@cache
def _validator() -> Any:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    # TOML has dates of its own
    kinds = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("moment", lambda _, value: isinstance(value, datetime.date))
    return jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=kinds)(schema)


def _form_faults(content: Any, text: str, path: Path) -> Iterator[str]:
    for error in sorted(_validator().iter_errors(content), key=lambda error: [str(step) for step in error.absolute_path]):
        place = [str(step) for step in error.absolute_path]
        yield _fault(error, place, f"{path}, line {line_of(text, place)}: {'.'.join(place) or 'the file'}")


def _fault(error: Any, place: Sequence[str], where: str) -> str:
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [name for name in error.instance if name not in known]
        meant = [match for name in unknown for match in difflib.get_close_matches(name, known, 1)]
        hint = f"; {meant[0]} was meant?" if meant else ""
        if any(isinstance(error.instance[name], dict) for name in unknown):
            hint = f'; a name with a dot in it needs quotes: "{place[-1]}.{unknown[0]}"' if place else hint
        return f"{where}: expected {', '.join(known)} and nothing else, found {', '.join(unknown)}{hint}"
    if error.validator in ("required", "dependentRequired"):
        missing = re.findall(r"'(\w+)'", error.message)[0]
        words = {"by": 'by = "your name" at its top', "reason": 'reason = "why"'}.get(missing, missing)
        return f"{where}: {words} is missing; add it"
    found = repr(error.instance) if not isinstance(error.instance, datetime.date) else str(error.instance)
    return f"{where}: expected {error.schema.get('description', error.message)}; found {found[:80]}"


def _sense_faults(content: Mapping[str, Any], text: str, path: Path) -> Iterator[str]:
    """What a schema cannot say."""
    for student, checks in content.get("answers", {}).items():
        for check, mark in checks.items():
            faults = []
            if "points" in mark and mark.keys() & {"criteria", "half", "adjust"}:
                faults.append("expected points, or criteria with half and adjust, found both; take one of them away")
            if mark.keys() & {"half", "adjust"} and "criteria" not in mark and "points" not in mark:
                faults.append("half and adjust stand beside criteria; add criteria = [] where none is met in full")
            if twice := sorted(set(mark.get("criteria", ())) & set(mark.get("half", ()))):
                faults.append(f"{', '.join(twice)} stands in criteria and in half; take it out of one of them")
            place = ("answers", student, check)
            yield from (f"{path}, line {line_of(text, place)}: {'.'.join(place)}: {fault}" for fault in faults)


def line_of(text: str, place: Sequence[str]) -> int:
    """The line of a TOML text at which a place stands, or the table that should hold it; 1 where nothing fits.

    Args:
        text: The file's text.
        place: Keys from the top, such as ``("answers", "alice", "question_1", "points")``.
    """
    best, depth, table = 1, 0, tuple[str, ...]()
    for number, line in enumerate(text.splitlines(), 1):
        key = re.match(r"\s*(\[[^\n]*\]|[^=#\[]+=)", line)
        try:
            tree = tomllib.loads(f"{key[1]}0" if key and key[1].endswith("=") else key[1]) if key else {}
        except tomllib.TOMLDecodeError:
            continue
        here = _chain(tree)
        if key and key[1].startswith("["):
            table = here
        else:
            here = (*table, *here)
        same = min(len(here), len(place))
        if same > depth and here[:same] == tuple(place[:same]):
            best, depth = number, same
    return best


def _chain(tree: Any) -> tuple[str, ...]:
    found = []
    while isinstance(tree, dict) and tree:
        name, tree = next(iter(tree.items()))
        found.append(name)
    return tuple(found)
