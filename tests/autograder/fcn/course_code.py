"""Students' code for the assignment fcn: the notebooks' own solutions, changed, and judged in this process."""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from autograder.assignments.fcn import counting, labels, scoring, stepping
from autograder.course.assignment import open_assignment
from autograder.course.seeds import Seeds
from autograder.judge.checking import CheckResult, Grading
from autograder.judge.student import Student
from segkit.notebooks import Workbook
from segkit.notebooks.reading import Cell, Document
from segkit.subject import LocalSubject, StudentError

__all__ = ["RUBRIC", "changed", "judged", "solution"]

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks" / "fcn"
RUBRIC = open_assignment("fcn").rubric
JUDGES = {"read_label": labels.judge, "confusion_matrix": counting.judge_confusion_matrix, "scores": scoring.judge_scores,
          "train_step": stepping.judge_train_step}  # fmt: skip
SECRETS = ("one", "two", "three")


@cache
def solution(grade_id: str) -> str:
    """Source of a solution cell of the committed notebooks."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code" and cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id:
                return "".join(cell["source"])
    raise LookupError(grade_id)


def changed(grade_id: str, *edits: tuple[str, str]) -> str:
    """A solution with some of its text replaced, everywhere; every edit must take."""
    source = solution(grade_id)
    for old, new in edits:
        assert old in source, f"{grade_id} has no {old!r}"
        source = source.replace(old, new)
    return source


def judged(grade_id: str, source: str, tmp_path: Path) -> CheckResult:
    """Judge a cell with a function under several secrets, which must agree."""
    found = []
    for secret in SECRETS:
        cell = Cell("1_data.ipynb", 3, source, grade_id)
        student = Student(Workbook([Document("1_data.ipynb", [cell])], RUBRIC.defines), LocalSubject(tmp_path))
        grading = Grading(RUBRIC.checks[grade_id], Seeds(secret), SimpleNamespace(rubric=RUBRIC), student)
        try:
            JUDGES[grade_id](student, grading)
            found.append(grading.result())
        except StudentError as error:
            found.append(CheckResult(grade_id, 0.0, grading.check.points, "not_earned", error.cause, message=str(error)))
    assert len({(v.points, v.cause) for v in found}) == 1, [(v.points, v.cause, v.message) for v in found]
    return found[0]
