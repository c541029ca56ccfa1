"""Numbers of the rubric in source notebooks: one edit of ``rubric.toml`` reaches points, paddings and thresholds in every text.

A source notebook holds literal numbers, so that Jupyter runs it and nbgrader shows it. A cell that took some of its numbers
from the rubric says so in its metadata, by pairs of a text of the cell and the template that gives it::

    "segkit": {"from_rubric": [["padding=100", "padding={padding}"], ["(12 points)", "({points.scores + points.read_label} points)"]]}

``{name}`` stands for a value, ``{name + name}`` and ``{name + -1}`` for sums, ``{name:2}`` for at least two decimals. The names
are those of ``values_of``. Every occurrence of the text is replaced; ``1 points`` becomes ``1 point``, and ``2 point`` becomes
``2 points``.
"""

import copy
import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, cast

from autograder.course.assignment import Assignment
from autograder.course.rubric import Rubric, RubricError

__all__ = ["NUMBERED_POINTS", "SLOT", "alone", "check_id_of", "fill", "marks_of", "place_of", "values_of", "write_template"]

Value = float | str
INTEGER = re.compile(r"-?\d+")
SLOT = re.compile(r"\{([^{}]*)\}")
NUMBERED_POINTS = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)((?: more)? point)s?\b")


def values_of(assignment: Assignment) -> dict[str, Value]:
    """The values that a template can name.

    Returns:
        ``points.CHECK``, ``points.CHECK.PART``, ``points.by_hand`` (of all checks that a person grades) and ``points.all``, both
        without a bonus; a check's own settings as ``CHECK.SETTING`` (``fcn8s.miou.course.full``); the rubric's settings by their names
        (``padding``); and what ``numbers(rubric)`` of the assignment's ``prepare.py`` adds. Tables are joined by dots.

    Raises:
        RubricError: The assignment's own function refuses a setting.
    """
    rubric = assignment.rubric
    values: dict[str, Value] = {"points.all": rubric.max_score}
    values["points.by_hand"] = sum(check.in_total for check in rubric.checks.values() if check.manual)
    for check in rubric.checks.values():
        values |= {f"points.{check.id}": check.points} | _flat(f"points.{check.id}.", check.parts) | _flat(f"{check.id}.", check.settings)
    own = assignment.hook("numbers")
    try:
        return values | _flat("", rubric.settings) | _flat("", own(rubric) if own else {})
    except ValueError as error:
        raise RubricError(f"{assignment.folder / 'rubric.toml'}: {error}") from error


def _flat(prefix: str, table: Mapping[str, Any]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            found |= _flat(f"{prefix}{name}.", value)
        elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
            found[prefix + name] = value
    return found


def fill(notebook: MutableMapping[str, Any], rubric: Rubric, values: Mapping[str, Value], name: str = "notebook") -> Any:
    """Give a source notebook the numbers of the rubric.

    Args:
        notebook: In format 4, as ``json`` or ``nbformat`` reads it; it is not changed.
        rubric: Gives the points of graded cells, by grade id.
        values: From ``values_of``.
        name: File name, for messages.

    Returns:
        A copy with the points and texts of the rubric, and without the marks: a template would give a solution away.

    Raises:
        RubricError: A marked text is not in its cell, a template names an unknown value, or a mark has another form.
    """
    notebook = copy.deepcopy(notebook)
    for number, cell in enumerate(notebook["cells"], start=1):
        own = cell["metadata"].get("nbgrader", {})
        check = check_id_of(own.get("grade_id", ""), rubric.checks) if own.get("grade") else None
        if check is not None and own.get("points") != (worth := rubric.checks[check].in_total):
            own["points"] = worth
        where = place_of(cell, number, name)
        if marks := marks_of(cell, where):
            texts = {text: write_template(template, values, where) for text, template in marks.items()}
            cell["source"] = _replaced("".join(cell["source"]), texts, where)
        _drop_marks(cell)
    return notebook


def check_id_of(grade_id: str, checks: Iterable[str]) -> str | None:
    """The check that a graded cell stands for: ``-`` for ``.``, perhaps with ``-check`` at the end."""
    by_cell = {check.replace(".", "-"): check for check in checks}
    return by_cell.get(grade_id) or by_cell.get(grade_id.removesuffix("-check"))


def place_of(cell: Mapping[str, Any], number: int, name: str) -> str:
    """How messages name a cell: ``2_fcn32s.ipynb, cell 16 (fcn32s)``."""
    grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
    return f"{name}, cell {number}" + (f" ({grade_id})" if grade_id else "")


def marks_of(cell: Mapping[str, Any], where: str) -> dict[str, str]:
    """The marks of a cell: text -> template.

    Raises:
        RubricError: They are no list of pairs of texts.
    """
    pairs = cell["metadata"].get("segkit", {}).get("from_rubric", [])
    good = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) and text for text in pair) for pair in pairs
    )
    if not good:
        raise RubricError(f'{where}: expected from_rubric = [["text of the cell", "template"], ...], but got {pairs!r}')
    return dict(pairs)


def _drop_marks(cell: MutableMapping[str, Any]) -> None:
    own = cell["metadata"].get("segkit", {})
    own.pop("from_rubric", None)
    if not own:
        cell["metadata"].pop("segkit", None)


def write_template(template: str, values: Mapping[str, Value], where: str) -> str:
    """Put the values into a template.

    Raises:
        RubricError: It names an unknown value, or adds up what is no number.
    """

    def written(slot: re.Match[str]) -> str:
        names, _, decimals = slot[1].partition(":")
        terms = [name.strip() for name in names.split("+")]
        if unknown := [name for name in terms if name not in values and not INTEGER.fullmatch(name)]:
            raise RubricError(
                f"{where}: the template {template!r} names {unknown[0]!r}, which is no value of the rubric. "
                f"Correct it in the metadata of the cell, or add it to the rubric. There is: {', '.join(sorted(values))}."
            )
        found = [values[name] if name in values else int(name) for name in terms]
        if len(found) == 1 and isinstance(found[0], str):
            return found[0]
        try:
            value = sum(cast(list[float], found))  # a text among them is refused below
            return max(f"{value:g}", f"{value:.{int(decimals or 0)}f}", key=len)  # 0.4 with two decimals is 0.40, and 0.405 stays
        except (TypeError, ValueError):
            raise RubricError(f"{where}: {slot[0]} in the template {template!r} is no sum of numbers; correct it") from None

    return NUMBERED_POINTS.sub(lambda m: m[1] + m[2] + ("" if m[1] == "1" else "s"), SLOT.sub(written, template))


def _replaced(source: str, texts: Mapping[str, str], where: str) -> str:
    """Replace all texts at once, so that what one of them wrote is not replaced by another.

    Raises:
        RubricError: A text is not in the source.
    """
    patterns = {text: alone(text) for text in texts}
    for text, pattern in patterns.items():
        if not re.search(pattern, source):
            raise RubricError(
                f"{where}: the text {text!r} is marked as one of the rubric's, but the cell does not hold it. Correct the text in the "
                "cell, or the mark in its metadata (segkit.from_rubric)."
            )
    longest_first = sorted(texts, key=len, reverse=True)
    return re.sub("|".join(patterns[text] for text in longest_first), lambda match: texts[match[0]], source)


def alone(text: str) -> str:
    """A pattern that finds a text, and a number at its end only as a whole: ``padding=1`` is not in ``padding=100``."""
    before = r"(?<![\d.])" if text[0].isdigit() else ""
    after = r"(?!\d|\.\d)" if text[-1].isdigit() else ""
    return before + re.escape(text) + after
