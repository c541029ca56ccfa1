"""The rubric of an assignment: check ids, points, parts, thresholds, names of causes. One TOML file says it all."""

import datetime
import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CheckRubric", "Rubric", "RubricError", "SolutionCell", "read_rubric", "round_down"]

ID = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")  # what results and gradebooks take
TOP = frozenset({"assignment", "notebooks", "checkpoints", "dataset", "due"})  # keys that stand above all tables


class RubricError(Exception):
    """The rubric is missing, no TOML, or says something impossible."""


@dataclass(frozen=True)
class SolutionCell:
    """A cell that a student completes: its grade id, the name it must define, and the notebook it was handed out in."""

    grade_id: str
    defines: str
    notebook: str


@dataclass(frozen=True)
class CheckRubric:
    """One check.

    Attributes:
        id: Check id, ``"fcn32s.crop"``.
        title: What it establishes, for people.
        points: Points at full marks.
        parts: Name of each part -> its points; they add up to ``points``.
        manual: Whether a person grades it.
        bonus: Whether its points come on top: they count in a score, and not in the maximum.
        needs: What a submission must hold for it: grade ids of solution cells, ``checkpoint NAME``, ``answer GRADE_ID``; of
            ``A or B`` one will do.
        visible: The call of ``segkit.checks`` that tells students before they hand in, ``check_scores(scores)`` or, of an assignment's
            own module there, ``satellite.check_embed(embed)``; empty for none.
        settings: Everything else the rubric says of it (thresholds, sizes).
    """

    id: str
    title: str
    points: float
    parts: Mapping[str, float]
    manual: bool = False
    bonus: bool = False
    needs: tuple[str, ...] = ()
    visible: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def in_total(self) -> float:
        """What it adds to the maximum: nothing, if it is a bonus."""
        return 0.0 if self.bonus else self.points

    def earned(self, lost: Mapping[str, float]) -> float:
        """Points that are left when parts are lost, rounded down to halves; any loss at all costs half a point.

        Args:
            lost: Name of a part -> share of it that is lost, in [0, 1].
        """
        if not lost:
            return self.points
        return min(round_down(sum(worth * (1 - lost.get(part, 0.0)) for part, worth in self.parts.items())), self.points - 0.5)


@dataclass(frozen=True)
class Rubric:
    """The whole rubric.

    Attributes:
        assignment: Its name.
        title: For people.
        checks: By id, in the order of the rubric.
        cells: Solution cells in the order of the assignment.
        notebooks: File names of the notebooks as handed out.
        checkpoints: Names of the checkpoints a submission may hold.
        causes: Stable cause code -> words for the class page; may use ``{dy}`` and the like from ``measured``.
        dataset: Name of its data set in ``segkit.datasets``; empty for none.
        aliases: Specified layer name -> other names that are accepted.
        settings: Everything else (such as the padding).
        due: When the work is due; without an offset from UTC in the zone that whoever grades states. None where the rubric does not say.
    """

    assignment: str
    title: str
    checks: Mapping[str, CheckRubric]
    cells: tuple[SolutionCell, ...]
    notebooks: tuple[str, ...]
    checkpoints: tuple[str, ...]
    causes: Mapping[str, str]
    aliases: Mapping[str, list[str]]
    settings: Mapping[str, Any]
    due: datetime.datetime | None = None
    dataset: str = ""

    @property
    def max_score(self) -> float:
        return sum(check.in_total for check in self.checks.values())

    @property
    def defines(self) -> dict[str, str]:
        """Grade id -> name, as ``segkit.notebooks.Workbook`` wants it."""
        return {cell.grade_id: cell.defines for cell in self.cells}

    @property
    def facts(self) -> dict[str, Any]:
        """What the students' ``assignment.json`` says of every assignment; ``segkit submit`` works by it. Nothing of it is hidden."""
        bonus = [check.id for check in self.checks.values() if check.bonus]
        limits = {check.id: _numbers(check.settings) for check in self.checks.values()}
        return {
            "assignment": self.assignment,
            **({"dataset": self.dataset} if self.dataset else {}),
            "solution_cells": self.defines,
            "notebooks": list(self.notebooks),
            "checkpoints": list(self.checkpoints),
            "checks": {check.id: check.points for check in self.checks.values()},
            "needs": {check.id: list(check.needs) for check in self.checks.values()},
            "visible": {check.id: check.visible for check in self.checks.values() if check.visible},
            "limits": {name: numbers for name, numbers in limits.items() if numbers},
            **({"bonus": bonus} if bonus else {}),
        }


def _numbers(settings: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The thresholds of a gate, by split."""
    return {name: dict(value) for name, value in settings.items() if isinstance(value, Mapping) and set(value) == {"full", "zero"}}


def round_down(points: float) -> float:
    """Round down to half points; a hair below a half through float error counts as the half."""
    return math.floor(points * 2 + 1e-6) / 2


def _check(identifier: str, content: Mapping[str, Any], where: Path) -> CheckRubric:
    known = {"title", "points", "parts", "manual", "bonus", "needs", "visible"}
    if not ID.fullmatch(identifier):
        raise RubricError(f"{where}: check {identifier!r} needs an id of A-Z, a-z, 0-9 and _, with dots or hyphens between.")
    try:
        points = float(content["points"])
        parts = {str(name): float(value) for name, value in content.get("parts", {"all": points}).items()}
        title = str(content["title"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RubricError(f"{where}: check {identifier!r} needs a title and points (a number): {error!r}") from error
    if points <= 0 or abs(sum(parts.values()) - points) > 1e-9:
        raise RubricError(
            f"{where}: the parts of check {identifier!r} give {sum(parts.values()):g} points, expected {points:g}. Make them add up."
        )
    settings = {name: value for name, value in content.items() if name not in known}
    meant = [(name, close) for name in settings for close in difflib.get_close_matches(name, known, 1, 0.85)]
    if meant:
        raise RubricError(f"{where}: check {identifier!r} has a key {meant[0][0]!r}: if {meant[0][1]!r} was meant, correct it.")
    manual, bonus = (bool(content.get(name, False)) for name in ("manual", "bonus"))
    needs = tuple(content.get("needs", [f"answer {identifier.replace('.', '-')}"] if manual else []))
    return CheckRubric(identifier, title, points, parts, manual, bonus, needs, str(content.get("visible", "")), settings)


def _demand_known_needs(rubric: Rubric, where: Path) -> None:
    """A need that nothing can meet would be told to every student as missing."""
    known = {*rubric.defines, *(f"checkpoint {name}" for name in rubric.checkpoints)}
    for check in rubric.checks.values():
        needs = [need for several in check.needs for need in several.split(" or ")]
        unknown = [need for need in needs if need not in known and not need.startswith("answer ")]
        if unknown:
            raise RubricError(
                f"{where}: check {check.id!r} needs {', '.join(map(repr, unknown))}. Expected grade ids of solution cells, "
                f"`checkpoint NAME` or `answer GRADE_ID`; there is: {', '.join(sorted(known))}."
            )


def _demand_order(rubric: Rubric, where: Path) -> None:
    """In TOML a line belongs to the table above it, so what is added at the end of the file would say something else, or nothing."""
    misplaced = [("causes", name) for name, words in rubric.causes.items() if not isinstance(words, str)]
    misplaced += [("aliases", name) for name, names in rubric.aliases.items() if not isinstance(names, list)]
    misplaced += [(f'checks."{check.id}"', name) for check in rubric.checks.values() for name in check.settings if name in TOP]
    if misplaced:
        table, name = misplaced[0]
        raise RubricError(f"{where}: {name!r} stands below [{table}], and so belongs to it. Move the line to the top of the file.")


def _advice(error: str, path: Path) -> str:
    """What helps, where TOML's words say only what it expected."""
    if "declaration" in error or "key" in error:
        return " A name in which stands more than A-Z, a-z, 0-9, _ and - needs quotes."
    place = re.search(r"line (\d+)", error)
    line = path.read_bytes().split(b"\n")[int(place[1]) - 1] if place else b""  # as TOML counts lines
    return " A date and time has seconds: due = 2026-03-14T23:59:00" if re.match(rb"\s*due\s*=", line) else ""


def _due(value: Any, where: Path) -> datetime.datetime | None:
    """The deadline. Without an offset from UTC it means the zone that whoever grades states."""
    if value is None or isinstance(value, datetime.datetime):
        return value
    raise RubricError(
        f"{where}: due = {value} is no moment. Expected a date and time, without quotes, such as due = 2026-03-14T23:59:00, which means "
        "the zone of grade --zone, or due = 2026-03-14T23:59:00+01:00"
    )


def read_rubric(path: Path) -> Rubric:
    """Read and validate a rubric.

    Raises:
        RubricError: If it cannot be used; the text says where and why.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            raise RubricError(f"{path} begins with a byte order mark, which TOML does not allow. Save it as UTF-8 without BOM.")
        content = tomllib.loads(text)
    except OSError as error:
        raise RubricError(f"{path} cannot be opened: {error.strerror}. An assignment folder needs a rubric.toml.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RubricError(f"{path} is no TOML: {error}.{_advice(str(error), path)}") from error
    try:
        checks = {name: _check(name, check, path) for name, check in content.pop("checks").items()}
        cells = tuple(
            SolutionCell(grade_id, str(cell["defines"]), str(cell["notebook"])) for grade_id, cell in content.pop("solution_cells").items()
        )
        rubric = Rubric(
            assignment=str(content.pop("assignment")), title=str(content.pop("title")), checks=checks, cells=cells,
            notebooks=tuple(content.pop("notebooks")), checkpoints=tuple(content.pop("checkpoints", ())),
            causes=content.pop("causes", {}), aliases=content.pop("aliases", {}), due=_due(content.pop("due", None), path),
            dataset=str(content.pop("dataset", "")), settings=content,
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise RubricError(f"{path} lacks or misuses the entry {error}. Compare with another assignment's rubric.") from error
    _demand_known_needs(rubric, path)
    _demand_order(rubric, path)
    return rubric
