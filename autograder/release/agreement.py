"""Numbers in what students read that the rubric contradicts: texts that nobody marked as the rubric's."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autograder.course.numbers import NUMBERED_POINTS, SLOT, alone, check_id_of, marks_of, place_of, write_template
from autograder.course.rubric import Rubric

__all__ = ["notebook_faults", "template_faults"]

TELLING = re.compile(r"padding|crop|\biou\b|\[[^\]]*:[^\]]*\]", re.IGNORECASE)  # of lines where an old number may be left over
_ADVICE = "Correct it, or mark it in the cell's metadata (segkit.from_rubric)."
NUMBER = r"(\d+(?:\.\d+)?)"


def notebook_faults(notebooks: Mapping[str, Any], rubric: Rubric, values: Mapping[str, Any]) -> list[str]:
    """Find unmarked numbers in source notebooks that disagree with the rubric.

    Args:
        notebooks: File name -> source notebook as it lies in the repository, with its marks.
        rubric: Of the assignment.
        values: From ``autograder.course.numbers.values_of``.

    Returns:
        One line per fault: ``N points`` in Markdown or a comment that no check (or marked sum of checks) is worth; a padding, crop
        or threshold that the rubric has changed, left over in a line on paddings, crops, slices or IoU.

    Raises:
        RubricError: A mark cannot be used.
    """
    cells = [(place_of(cell, number, name), cell) for name, book in notebooks.items() for number, cell in enumerate(book["cells"], start=1)]
    marks = [(text, template, where) for where, cell in cells for text, template in marks_of(cell, where).items()]
    worths = _worths(rubric)
    worths |= {write_template(m[0], values, where) for _, template, where in marks for m in SLOT.finditer(template) if "points." in m[1]}
    old = _replaced(marks, values)
    return [fault for where, cell in cells for fault in _cell_faults(cell, where, rubric, worths, old)]


def template_faults(name: str, text: str, rubric: Rubric) -> list[str]:
    """The same for a text of the release with ``{{words}}``: every ``N points`` in it must be what a check, or all, are worth."""
    worths = _worths(rubric)
    return [_text_fault(name, found, worths, "{{points.CHECK}}") for found in _wrong_points(text, worths)]


def _worths(rubric: Rubric) -> set[str]:
    return {f"{check.points:g}" for check in rubric.checks.values()} | {f"{rubric.max_score:g}"}


def _cell_faults(cell: Mapping[str, Any], where: str, rubric: Rubric, worths: set[str], old: Mapping[str, str]) -> Iterator[str]:
    source = "".join(cell["source"])
    for text in sorted(marks_of(cell, where), key=len, reverse=True):
        source = re.sub(alone(text), "", source)
    code = cell["cell_type"] == "code"
    own = cell["metadata"].get("nbgrader", {})
    check = check_id_of(own.get("grade_id", ""), rubric.checks) if own.get("grade") else None
    if check is not None:  # a text beside points of its own has no other check's
        worths = {f"{worth:g}" for worth in (rubric.checks[check].points, *rubric.checks[check].parts.values())}
    for found in _wrong_points("\n".join(re.findall(r"#.*", source)) if code else source, worths):
        template = f"{{points.{check}}}, and those of one of its `parts` {{points.{check}.PART}}" if check else "{points.CHECK}"
        yield _text_fault(where, found, worths, template)
    for line in source.splitlines() if code else re.split(r"[.?!]\s|\n", source):
        for number, expected in old.items() if TELLING.search(line) else ():
            if re.search(alone(number), line):
                yield f"{where}: {number} in {line.strip()!r} looks like a number that the rubric has changed to {expected}. {_ADVICE}"


def _wrong_points(text: str, worths: set[str]) -> Iterator[re.Match[str]]:
    return (found for found in NUMBERED_POINTS.finditer(text) if found[1] not in worths)


def _text_fault(where: str, found: re.Match[str], worths: Iterable[str], template: str) -> str:
    expected = ", ".join(sorted(worths, key=float))
    of = "one of " if "," in expected else ""
    return f"{where}: {found[0]!r} disagrees with the rubric, expected {of}{expected}. {_ADVICE} A template names it {template}."


def _replaced(marks: Iterable[tuple[str, str, str]], values: Mapping[str, Any]) -> dict[str, str]:
    """Numbers in marked texts, other than points, that the rubric has changed: as it stands there -> as it will be."""
    found = {}
    for text, template, where in marks:
        slots = SLOT.findall(template)
        pieces = [re.escape(piece) for piece in re.split(r"\{[^{}]*\}", template)]
        match = re.fullmatch(NUMBER.join(pieces), text)
        for slot, number in zip(slots, match.groups() if match else (), strict=False):
            new = write_template(f"{{{slot}}}", values, where)
            if new != number and "points." not in slot:
                found[number] = new
    return found
