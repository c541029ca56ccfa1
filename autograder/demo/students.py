"""The students of a demo, as the assignment's ``demo.toml`` lists them: what each of them did, and what that must cost.

A mistake is an entry of the grader's exam, where it stands what the mistake changes and which parts it loses::

    checkpoints = { fcn8s = "fcn8s" }       # network -> name of a file that the assignment's `fitting.py` makes

    [[students]]
    name = "recall_for_iou"
    story = "divides by the row sums only"
    entry = "mutants/iou-recall"            # kind and name; left out: everything is right

In place of ``entry``: ``untouched`` (the release as it was given out). Beside it: ``undone`` (grade ids of solution cells that are still
stubs), ``checkpoints`` (others than those at the top), ``renamed`` (layers of the changed network, new names by old: its checkpoint has
them too), ``zipped`` (handed in as ``segkit submit`` packs it), ``lost`` (what it must lose beside the entry, in an entry's words).
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.course.assignment import open_assignment
from autograder.course.rubric import CheckRubric, Rubric
from autograder.exam.entries import Entry, read_corpus
from segkit.handin import alternatives

__all__ = ["DemoError", "Student", "read_students"]

KEYS = {"name", "story", "entry", "untouched", "undone", "checkpoints", "renamed", "zipped", "lost"}
NEEDED = {"name", "story"}


class DemoError(Exception):
    """The demo does not fit the assignment any more, or the assignment has none."""


@dataclass(frozen=True)
class Student:
    """One submission of the demo.

    Attributes:
        name: Its name in the results.
        story: What this student did, for people.
        entry: What of it is a mistake, and the parts that this must lose.
        untouched: Whether it is the release as it was given out.
        undone: Grade ids of the solution cells that are still stubs.
        checkpoints: Network -> name of the fitted checkpoint that is handed in.
        renamed: Layers of another name than the course's, new by old.
        zipped: Whether ``segkit submit`` made a zip of it.
    """

    name: str
    story: str
    entry: Entry
    untouched: bool
    undone: frozenset[str]
    checkpoints: Mapping[str, str]
    renamed: Mapping[str, str]
    zipped: bool

    def expected(self, check: CheckRubric) -> float:
        """The points that a check must come to: none where something that it needs was not handed in."""
        absent = any(all(map(self._lacks, alternatives(needs))) for needs in check.needs)
        return 0.0 if absent or self.untouched else check.earned(self.entry.lost_in(check) or {})

    def _lacks(self, need: str) -> bool:
        return need in self.undone or (need.startswith("checkpoint ") and need.split()[1] not in self.checkpoints)


def read_students(material: Path) -> tuple[Student, ...]:
    """Read the class of an assignment's demo, in the order of its table.

    Args:
        material: The assignment's folder.

    Raises:
        DemoError: It has no ``demo.toml``; one that cannot be read, or that names an entry, a cell or a check which are not there.
    """
    file = material / "demo.toml"
    if not file.is_file():
        raise DemoError(f"{file}: expected the students of a demo, but found no such file. The assignment has no demo.")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DemoError(f"{file}: expected TOML, but it cannot be read: {error}") from error
    rubric = open_assignment(material).rubric
    entries = {f"{entry.kind}/{entry.name}": entry for entry in read_corpus(material).entries}
    return tuple(_student(one, content.get("checkpoints", {}), rubric, entries, file) for one in content.get("students", ()))


def _student(one: Mapping[str, Any], usual: Mapping[str, str], rubric: Rubric, entries: Mapping[str, Entry], file: Path) -> Student:
    if wrong := sorted(set(one) - KEYS | NEEDED - set(one)):
        raise DemoError(f"{file}, student {one.get('name')!r}: unknown or missing keys {', '.join(wrong)}")
    undone, untouched = set(one.get("undone", ())), bool(one.get("untouched"))
    named = {one["entry"]} if "entry" in one else set()
    if unknown := sorted(named - set(entries) | undone - set(rubric.defines) | set(one.get("lost", {})) - set(rubric.checks)):
        raise DemoError(
            f"{file}, student {one['name']!r}: expected entries of the exam, solution cells and checks, found {', '.join(unknown)}"
        )
    entry = entries[one["entry"]] if named else Entry("variants", "solution")
    lost = {check: dict.fromkeys(loss, 1.0) if isinstance(loss, list) else loss for check, loss in one.get("lost", {}).items()}
    entry = dataclasses.replace(entry, lost={**entry.lost, **lost})
    checkpoints = one.get("checkpoints", {} if untouched else usual)
    return Student(one["name"], one["story"], entry, untouched, frozenset(undone), checkpoints, one.get("renamed", {}),
                   bool(one.get("zipped")))  # fmt: skip
