"""Looks at a student's work as the grader will read it, and says in plain words what each check will find."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from segkit.assignment import find
from segkit.notebooks import Document, Workbook, open_folder, own_files

__all__ = ["Item", "Work", "inspect_work", "own_files"]

# What each check needs: solution cells by grade id, checkpoints as "checkpoint NAME", answers as "answer ID".
NEEDS: dict[str, tuple[str, ...]] = {
    "read_label": ("read_label",),
    "confusion_matrix": ("confusion_matrix",),
    "scores": ("scores",),
    "fcn32s.layers": ("fcn32s",),
    "fcn32s.shapes": ("fcn32s",),
    "fcn32s.crop": ("fcn32s",),
    "fcn32s.forward": ("fcn32s",),
    "pretraining.copy": ("copy_vgg16",),
    "pretraining.miou": ("fcn32s", "checkpoint fcn32s"),
    "fcn8s.layers": ("fcn8s",),
    "fcn8s.shapes": ("fcn8s",),
    "fcn8s.crop": ("fcn8s",),
    "fcn8s.forward": ("fcn8s",),
    "fcn8s.miou": ("fcn8s", "checkpoint fcn8s"),
    "question_1": ("answer question_1",),
    "question_2": ("answer question_2",),
}
STUB_ANSWERS = frozenset({"", "YOUR ANSWER HERE"})
ANSWER_ID = re.compile(r"question_\d+")


@dataclass(frozen=True)
class Item:
    """One thing the grader looks for.

    Attributes:
        need: Its key in ``NEEDS``.
        state: ``ready``, ``unfinished`` (a warning) or ``fault``.
        text: Where it is, or what is wrong and what to do, in one line.
    """

    need: str
    state: str
    text: str


@dataclass
class Work:
    """A student's work as it was read.

    Attributes:
        workbook: The notebooks and scripts.
        items: Solution cells, answers and (added by the bundle builder) checkpoints, by need.
        faults: What keeps files from being read at all, one line each.
        notes: What was repaired or chosen among several, one line each.
        points: Points by check id, from ``assignment.json``.
    """

    workbook: Workbook
    items: dict[str, Item]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    points: dict[str, float] = field(default_factory=dict)

    def missing_per_check(self) -> list[tuple[str, list[Item]]]:
        """For every check the items that it lacks; an empty list means that it can be graded."""
        known = [(check, [self.items[need] for need in needs if need in self.items]) for check, needs in NEEDS.items()]
        return [(check, [item for item in items if item.state != "ready"]) for check, items in known if items]


def assignment_facts(folder: Path) -> dict:
    """The content of ``assignment.json`` of a folder."""
    return json.loads(find(folder).read_text(encoding="utf-8"))


def inspect_work(folder: Path, facts: dict) -> Work:
    """Read all of a student's files and look for every solution cell and answer.

    Args:
        folder: The folder of the work.
        facts: Content of ``assignment.json``: ``solution_cells``, and perhaps ``notebooks``, the names they came with.
    """
    cells: dict[str, str] = facts.get("solution_cells", {})
    workbook = open_folder(folder, cells, tuple(facts.get("notebooks", ())))
    documents, faults = workbook.documents, workbook.errors
    items = {grade_id: _solution(workbook, grade_id, name) for grade_id, name in cells.items()}
    items |= {f"answer {a}": _answer(documents, a) for a in _answer_ids(facts, documents)}
    work = Work(workbook, items, list(faults), list(workbook.notes), dict(facts.get("checks", {})))
    work.faults += workbook.syntax_errors()
    work.faults += _missing_notebooks(facts, documents, items)
    return work


def _solution(workbook: Workbook, grade_id: str, name: str) -> Item:
    definition = workbook.find(name, grade_id)
    broken = workbook.syntax_error_in(grade_id)
    if definition is None and broken:
        return Item(grade_id, "fault", f"{name}: syntax error in {broken}")
    if definition is None:
        cell = workbook.cell_of(grade_id)
        if cell is not None:
            stub = "NotImplementedError" in cell.source
            state, why = ("unfinished", "is not finished") if stub else ("fault", "is not defined")
            return Item(grade_id, state, f"{name} {why} in {cell.label}")
        return Item(grade_id, "fault", f"{name} was found nowhere: no cell {grade_id}, no definition of that name")
    if definition.unfinished:
        return Item(grade_id, "unfinished", f"{name} is not finished: {definition.where}")
    return Item(grade_id, "ready", f"{name} in {definition.where}")


def _answer_ids(facts: dict, documents: list[Document]) -> list[str]:
    expected = [check for check in facts.get("checks", {}) if ANSWER_ID.fullmatch(check)]
    found = [i for d in documents for i in d.grade_ids if ANSWER_ID.fullmatch(i)]
    return sorted({*expected, *found})


def _answer(documents: list[Document], answer: str) -> Item:
    texts = [(d.name, text) for d in documents for _, text in d.texts.get(answer, [])]
    if not texts:
        return Item(f"answer {answer}", "fault", f"the answer cell {answer} was found in no notebook")
    written = [(name, text) for name, text in texts if text.strip() not in STUB_ANSWERS]
    if not written:
        return Item(f"answer {answer}", "unfinished", f"{answer} is not answered: {texts[-1][0]}")
    return Item(f"answer {answer}", "ready", f"{answer} in {written[-1][0]} ({len(written[-1][1].split())} words)")


def _missing_notebooks(facts: dict, documents: list[Document], items: dict[str, Item]) -> list[str]:
    """Notebooks of the release that are not there and whose cells turned up nowhere else."""
    lost = [item for item in items.values() if item.state == "fault" and "was found" in item.text]
    there = {Path(document.name).name for document in documents}
    absent = [name for name in facts.get("notebooks", ()) if name not in there]
    if not absent or not lost:
        return []
    text = "expected this notebook, but it is not in the folder and no other file has its cells"
    return [f"{name}: {text}" for name in absent]
