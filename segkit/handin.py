"""Looks at a student's work as the grader will read it, and says in plain words what each check will find."""

import ast
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segkit.notebooks import Definition, Document, Workbook, open_folder, own_files
from segkit.trying import Outcome, Trial

__all__ = ["Item", "Work", "alternatives", "inspect_work", "own_files"]

STUB_ANSWERS = frozenset({"", "YOUR ANSWER HERE"})
ANSWER = "answer "


@dataclass(frozen=True)
class Item:
    """One thing the grader looks for.

    Attributes:
        need: What ``assignment.json`` calls it: the grade id of a solution cell, ``checkpoint NAME`` or ``answer GRADE_ID``.
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
        notes: What was repaired, or chosen among several, one line each.
        points: Points by check id, from ``assignment.json``.
        needs: Check id -> the keys of ``items`` that it needs, from ``assignment.json``; of ``A or B`` one will do.
        outcomes: Check id -> what its visible check found, where it was run.
        bonus: Checks whose points come on top: nothing is unfinished without them.
    """

    workbook: Workbook
    items: dict[str, Item]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    points: dict[str, float] = field(default_factory=dict)
    needs: dict[str, list[str]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    bonus: frozenset[str] = frozenset()

    def lacking(self, check: str) -> list[Item]:
        """What a check needs and does not find; an empty list means that it can be graded."""
        several = [[self.items[need] for need in alternatives(needs) if need in self.items] for needs in self.needs.get(check, ())]
        return [_lacking(items) for items in several if items and all(item.state != "ready" for item in items)]

    @property
    def unfinished(self) -> list[Item]:
        """What is to be done yet: stubs, unanswered questions and checkpoints that are not there; neither a bonus nor what another makes up
        for."""
        asked = {need for needs in self.needs.values() for several in needs for need in alternatives(several)}
        lacking = [item for check in self.needs if check not in self.bonus for item in self.lacking(check)]
        lacking += [item for need, item in self.items.items() if need not in asked]
        return list({item.need: item for item in lacking if item.state == "unfinished"}.values())

    def findings(self, check: str) -> list[tuple[str, str]]:
        """What is known of a check, as kinds of ``segkit.checks.report.Line`` and words.

        Returns:
            One entry for each thing that the check lacks (``unfinished`` or ``fault``, of a bonus ``note``), else one: ``ok`` or ``fault``
            where its visible check was run, and ``note`` with the reason, which may be empty, where nothing was tested.
        """
        lacking = self.lacking(check)
        if lacking and check in self.bonus:
            return [("note" if item.state == "unfinished" else "fault", f"{item.text}; it is a bonus") for item in lacking]
        if lacking:
            return [("unfinished" if item.state == "unfinished" else "fault", item.text) for item in lacking]
        outcome = self.outcomes.get(check)
        if outcome is None:
            by_hand = all(need.startswith(ANSWER) for need in self.needs[check])
            return [("note", "a person reads it" if by_hand else "")]
        return [({"passed": "ok", "failed": "fault"}.get(outcome.state, "note"), outcome.text)]

    def trials(self, checkpoints: dict[str, Path], facts: dict[str, Any]) -> list[Trial]:
        """The visible checks of all that is there, in the order of the assignment.

        Args:
            checkpoints: Name -> file.
            facts: Content of ``assignment.json``: ``visible`` holds the calls, ``limits`` the numbers of the gates.
        """
        found = []
        for check, call in facts.get("visible", {}).items():
            needs = [need for several in self.needs.get(check, ()) for need in alternatives(several)]
            files = [str(path) for name, path in checkpoints.items() if f"checkpoint {name}" in needs]
            own = tuple(self.workbook.cells[need] for need in needs if need in self.workbook.cells)
            values = {"limits": facts.get("limits", {}).get(check, {})} | ({"checkpoint": files[0]} if files else {})
            if not self.lacking(check):
                found.append(Trial(check, call, own, values))
        return found

    def definitions(self) -> dict[str, dict[str, Any]]:
        """The programs of every finished solution, by name, as plain data for another process."""
        found = {}
        for grade_id, name in self.workbook.cells.items():
            definition = self.workbook.find(name, grade_id) if self.items[grade_id].state == "ready" else None
            if definition is not None:
                found[name] = self.workbook.program(definition).to_json()
        return found


def alternatives(need: str) -> list[str]:
    """The things of which a check needs one: ``checkpoint fcn16s or checkpoint fcn8s``."""
    return need.split(" or ")


def _lacking(items: list[Item]) -> Item:
    """What to tell of things of which one would do: the last, for the course leads up to it, and that others will do as well."""
    *others, last = items
    return replace(last, text=f"{last.text} ({' or '.join(item.need for item in others)} will do as well)") if others else last


def inspect_work(folder: Path, facts: dict[str, Any]) -> Work:
    """Read all of a student's files and look for every solution cell and answer.

    Args:
        folder: The folder of the work.
        facts: Content of ``assignment.json``: ``solution_cells``, and perhaps ``notebooks``, the names they came with.
    """
    cells: dict[str, str] = facts.get("solution_cells", {})
    workbook = open_folder(folder, cells, tuple(facts.get("notebooks", ())))
    documents, needs = workbook.documents, facts.get("needs", {})
    items = {grade_id: _solution(workbook, grade_id, name) for grade_id, name in cells.items()}
    asked = [need for wanted in needs.values() for several in wanted for need in alternatives(several)]
    answers = dict.fromkeys(need for need in asked if need.startswith(ANSWER))
    items |= {need: _answer(documents, need.removeprefix(ANSWER)) for need in answers}
    work = Work(workbook, items, list(workbook.errors), list(workbook.notes), dict(facts.get("checks", {})), dict(needs))
    work.bonus = frozenset(facts.get("bonus", ()))
    work.faults += workbook.syntax_errors()
    work.faults += [text for grade_id, name in cells.items() if (text := _rivals(workbook, name, grade_id))]
    work.faults += _missing_notebooks(facts, workbook, items)
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


def _rivals(workbook: Workbook, name: str, grade_id: str) -> str:
    """What to do if notebooks hold different versions of one solution; empty if there is one, or all are equal."""
    counts = workbook.find(name, grade_id)
    if counts is None:
        return ""
    others = []
    for document in [*workbook.documents, *workbook.copies]:
        found = Workbook([document], workbook.cells).find(name, grade_id) if document.name.endswith(".ipynb") else None
        if found is not None and document is not counts.document and _rival(found, counts, grade_id):
            others.append(found)
    if not others:
        return ""
    also = ", ".join(dict.fromkeys(found.where for found in others))
    state = ", which is not finished" if counts.unfinished else ""
    return (
        f"{name} is in two notebooks: the grader reads {counts.where}{state}, not {also}. Keep one: copy the version that you mean into "
        f"{counts.document.name}, and move the other notebook out of this folder"
    )


def _rival(found: Definition, counts: Definition, grade_id: str) -> bool:
    """Whether a definition is another finished version of the one that counts, not a variable or a method that only has its name."""
    solution = found.cell.grade_id == grade_id or isinstance(found.statement, (ast.FunctionDef, ast.ClassDef))
    differs = ast.dump(found.statement) != ast.dump(counts.statement)
    return solution and differs and found.owner == counts.owner and not found.unfinished


def _answer(documents: list[Document], answer: str) -> Item:
    texts = [(d.name, text) for d in documents for _, text in d.texts.get(answer, [])]
    if not texts:
        return Item(ANSWER + answer, "fault", f"the answer cell {answer} was found in no notebook")
    written = [(name, text) for name, text in texts if text.strip() not in STUB_ANSWERS]
    if not written:
        return Item(ANSWER + answer, "unfinished", f"{answer} is not answered: {texts[-1][0]}")
    names = list(dict.fromkeys(name for name, _ in written))
    if len(names) > 1 and len({text.strip() for _, text in written}) > 1:
        both = " and ".join(names)
        return Item(ANSWER + answer, "fault", f"{answer} is answered in two notebooks, {both}: keep the one that you mean in this folder")
    return Item(ANSWER + answer, "ready", f"{answer} in {written[-1][0]} ({len(written[-1][1].split())} words)")


def _missing_notebooks(facts: dict[str, Any], workbook: Workbook, items: dict[str, Item]) -> list[str]:
    """Notebooks of the release of which nothing was read, neither under their own name nor, as far as one can tell, under another."""
    lost = [item for item in items.values() if item.state == "fault" and "was found" in item.text]
    stems = {name: _plain(Path(name).stem) for name in facts.get("notebooks", ())}
    read = {d.name: d for d in (*workbook.documents, *workbook.copies) if not d.name.endswith(".py")}
    told = [*(_plain(Path(name).name) for name in read), *map(_plain, workbook.errors)]  # an error names its file, and says what it is
    absent = [name for name, stem in stems.items() if not any(stem in text for text in told)]
    course = {need.removeprefix(ANSWER) for need in items}
    renamed = [d for name, d in read.items() if not any(stem in _plain(name) for stem in stems.values()) and d.grade_ids & course]
    unread = [error for error in workbook.errors if " not read" in error]  # too much was handed in; which of it was left out is not told
    if not lost or unread or len(renamed) >= len(absent):
        return []
    return [f"{name}: expected this notebook, but it is not in the folder, and cells are missing that no other file has" for name in absent]


def _plain(name: str) -> str:
    """A name as systems compare it that tell neither upper from lower case nor two ways of writing an umlaut."""
    return unicodedata.normalize("NFC", name).casefold()
