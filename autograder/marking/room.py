"""The marking room without its web page: a class question by question, names left out, and what one person does there."""

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from autograder.marking.applying import answer_hash
from autograder.marking.books import BY_RUBRIC, Mark, moment
from autograder.marking.keeping import Keeper
from autograder.marking.marks import Marks, Said, mark_points, read_marks
from autograder.marking.neighbours import like_together
from autograder.report import read_answer_pictures, read_answers
from autograder.report.markdown import rendered

__all__ = ["Question", "Refused", "Room", "Sheet"]

KEYS = ("criteria", "half", "adjust", "reason", "comment", "points")
MOST_TEXT, MOST_CRITERIA = 20_000, 40


class Refused(Exception):
    """Something that the page asked for and cannot have; the text says why."""


@dataclass(frozen=True)
class Question:
    """A check that a person marks.

    Attributes:
        id: Check id.
        title: For people.
        points: At full marks.
        scheme: The mark scheme, Markdown; empty where there is none.
    """

    id: str
    title: str
    points: float
    scheme: str = ""


@dataclass(frozen=True)
class Sheet:
    """One answer.

    Attributes:
        student: Name of the submission; it never reaches the page.
        folder: Its result folder.
        answer: What was written (see ``read_answers``), or None.
        group: Number of the group of like answers.
    """

    student: str
    folder: Path
    answer: Mapping[str, Any] | None
    group: int = 0

    @property
    def text(self) -> str:
        return "\n\n".join(item["text"] for item in self.answer["texts"]) if self.answer else ""


@dataclass
class Room:
    """A class that is marked by one person, beside others.

    Attributes:
        graded: The graded folder.
        questions: What is to be marked, by id, in the order of the rubric.
        keeper: Writes the person's marks.
    """

    graded: Path
    questions: Mapping[str, Question]
    keeper: Keeper
    _sheets: dict[str, list[Sheet]] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------------------ reading
    @cached_property
    def students(self) -> dict[str, tuple[Path, dict[str, Any], set[str]]]:
        """Name -> folder, answers, and the checks that a person marks, of everybody who has a result."""
        found = {}
        for path in sorted(self.graded.glob("*/result.json")):
            try:
                result = json.loads(path.read_text(encoding="utf-8"))
                asked = {str(check["id"]) for check in result["checks"] if check["status"] == "needs_manual"}
                found[str(result["submission"])] = (path.parent, read_answers(path.parent), asked)
            except (OSError, ValueError, KeyError, TypeError):  # `export` names such a file; whoever marks is not stopped by it
                continue
        return found

    def sheets(self, check: str) -> list[Sheet]:
        """The answers of a question in the order in which they are marked: like ones together."""
        if check not in self.questions:
            raise Refused(f"There is no question {check!r}.")
        if check not in self._sheets:
            sheets = [Sheet(name, folder, answers.get(check)) for name, (folder, answers, asked) in self.students.items() if check in asked]
            groups = like_together([sheet.text for sheet in sheets])
            self._sheets[check] = [
                Sheet(sheets[place].student, sheets[place].folder, sheets[place].answer, number)
                for number, group in enumerate(groups, 1)
                for place in group
            ]
        return self._sheets[check]

    def overview(self) -> dict[str, Any]:
        """The questions, and how far they are."""
        marks = read_marks(self.graded)
        questions = []
        for question in self.questions.values():
            if not (sheets := self.sheets(question.id)):
                continue  # the results are of another state of the rubric, or of a few checks only
            done = sum(self._standing(marks, sheet, question.id)["points"] is not None for sheet in sheets)
            shown = {"id": question.id, "title": question.title, "points": question.points, "scheme": str(rendered(question.scheme))}
            questions.append({**shown, "count": len(sheets), "done": done})
        return {"person": self.keeper.person, "questions": questions}

    def answer(self, check: str, number: int) -> dict[str, Any]:
        """One answer as HTML that can do nothing, its pictures within."""
        sheet = self._sheet(check, number)
        pictures = read_answer_pictures(sheet.folder).get(check, {})
        texts = [str(_rendered(item["text"], tuple(pictures.items()))) for item in sheet.answer["texts"]] if sheet.answer else []
        notes = (
            sheet.answer["note"].splitlines() if sheet.answer else ["No answer was kept beside this result; grade the submission again."]
        )
        # files have names of students in their names
        notes = [re.sub(r"^(No answer was (?:found|written)):.*", r"\1.", note) for note in notes]
        notes = [note for note in notes if not (pictures and note.startswith("It points to pictures"))]
        return {"texts": texts, "note": "\n".join(notes)}

    def state(self, check: str) -> dict[str, Any]:
        """Criteria and marks of a question, as they are on the disk."""
        marks = read_marks(self.graded)
        of_rubric = {name for book in marks.books if book.by == BY_RUBRIC for name in book.criteria.get(check, {})}
        criteria = [
            {
                "name": name, "text": said[0].what.text, "points": said[0].what.points, "of_rubric": name in of_rubric,
                "said": [{"by": one.by, "text": one.what.text, "points": one.what.points, "when": _iso(one.when)} for one in said],
            }
            for name, said in marks.criteria(check).items()
        ]  # fmt: skip
        sheets = self.sheets(check)
        return {"criteria": criteria, "answers": [self._standing(marks, sheet, check) | {"group": sheet.group} for sheet in sheets]}

    def _standing(self, marks: Marks, sheet: Sheet, check: str) -> dict[str, Any]:
        """Where one answer stands: the points that count, the own mark, those of others, and why it is open if it is."""
        criteria, top = marks.criteria(check), self.questions[check].points
        every = [Said(book.by, mark, book) for book in marks.books if (mark := book.answers.get(sheet.student, {}).get(check))]
        holding = marks.marks(sheet.student, check)
        given = [one for one in holding if one.what.given]
        points = mark_points(given[0].what, criteria, top) if len(given) == 1 else None
        stale = bool(given and given[0].what.of and given[0].what.of != answer_hash(sheet.answer))
        why = "dispute" if len(given) > 1 else "criterion" if given and points is None else "changed" if stale else ""
        mine = next((one for one in every if one.by == self.keeper.person), None)
        shown = next((one for one in holding if one.by == self.keeper.person), holding[0] if holding else mine)
        return {
            "points": None if stale else points, "why": why, "mark": _shown(shown, criteria, top) if shown else None,
            "others": [
                {**_shown(one, criteria, top), "holds": any(one.by == other.by for other in holding)}
                for one in every if one.by != self.keeper.person
            ],
        }  # fmt: skip

    def _sheet(self, check: str, number: int) -> Sheet:
        sheets = self.sheets(check)
        if not isinstance(number, int) or not 0 <= number < len(sheets):
            raise Refused(f"There is no answer {number!r} of {check}.")
        return sheets[number]

    # ------------------------------------------------------------------------------------------------------------ marking
    def mark(self, check: str, number: int, mark: Mapping[str, Any] | None, saw: Mapping[str, str]) -> None:
        """Keep a mark; None takes the person's own back.

        Args:
            check: The question.
            number: Place of the answer.
            mark: As the page has it; without criteria it is a comment alone.
            saw: Person -> moment of the marks of others that were on the screen.

        Raises:
            Refused: It is no mark.
            MarksError: The file cannot be used; somebody changed it by hand.
        """
        sheet = self._sheet(check, number)
        kept: dict[str, Any] | None = None
        if mark is not None:
            # nothing ticked and no points at all are something else than an empty comment
            kept = {name: value for name in KEYS if (value := mark.get(name)) is not None and (value or name in ("criteria", "points"))}
            self._demand_known(check, [*(kept.get("criteria") or ()), *(kept.get("half") or ())])
            kept = kept | {"of": answer_hash(sheet.answer)} if kept else None
        self._keep(lambda seen: self.keeper.put_mark(sheet.student, check, kept, seen), saw)

    def _demand_known(self, check: str, names: Sequence[Any]) -> None:
        known = read_marks(self.graded).criteria(check)
        if unknown := [name for name in names if name not in known]:
            raise Refused(f"There is no criterion {unknown[0]!r} of {check}.")

    def criterion(self, check: str, name: str, text: str, points: float, saw: Mapping[str, str]) -> str:
        """Change a criterion, or add one where ``name`` is empty; returns its name. What has ticked it follows its points."""
        self.sheets(check)
        known = read_marks(self.graded).criteria(check)
        if name and name not in known:
            raise Refused(f"There is no criterion {name!r} of {check}.")
        if not name and len(known) >= MOST_CRITERIA:
            raise Refused(f"{check} has {len(known)} criteria; that is as many as there can be.")
        name = name or _new_name(text, known)
        self._keep(lambda seen: self.keeper.put_criterion(check, name, text, points, seen), saw)
        return name

    def _keep(self, put: Callable[[dict[str, datetime.datetime]], None], saw: Mapping[str, str]) -> None:
        try:
            put({str(person): moment(datetime.datetime.fromisoformat(when)) for person, when in saw.items() if when})
        except (ValueError, TypeError) as error:
            raise Refused(f"That cannot be kept: {error}") from error


def _new_name(text: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """A name for a new criterion: its first words."""
    stem = "_".join(re.findall(r"[a-z0-9]+", text.lower())[:3])[:40] or "criterion"
    return next(name for number in range(1, 1000) if (name := stem if number == 1 else f"{stem}_{number}") not in known)


def _iso(when: datetime.datetime) -> str:
    return "" if when.year == 1 else when.isoformat()


def _shown(said: Said[Mark], criteria: Mapping[str, Any], top: float) -> dict[str, Any]:
    mark = {name: value for name, value in asdict(said.what).items() if name in KEYS}
    return mark | {"by": said.by, "when": _iso(said.when), "sum": mark_points(said.what, criteria, top), "given": said.what.given}


@lru_cache(maxsize=32)
def _rendered(text: str, pictures: tuple[tuple[str, str], ...]) -> str:
    return str(rendered(text, dict(pictures)))
