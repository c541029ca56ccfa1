"""nbgrader's autograde with this judge: the scores come from ``autograder.judge.grade``, not from running the notebook in a kernel.

Five preprocessors, wired up in ``nbgrader_config.py``:

``FillNumbers``    first when an assignment is generated: points and texts as the rubric has them;
``RestoreCells``   first when sanitising: deleted, doubled, retyped, stripped cells are put right;
``PlainOutputs``   in the place of ClearOutput: pictures and text stay for whoever marks the answers, scripts do not;
``Judge``          in the place of Execute: grades the submission as ``python -m autograder grade`` does, writes each
                   score into its cell as the one result that nbgrader reads;
``SaveScores``     in the place of SaveAutoGrades: saves them all at once; what could not be graded waits for a person, and
                   notebooks that were not handed in get the points that their checks earned elsewhere.
"""

import functools
import re
from pathlib import Path
from typing import Any

from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_output
from nbgrader import utils
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor, SaveAutoGrades
from traitlets import Unicode

from autograder.course.assignment import Assignment, assignment_of, open_assignment
from autograder.course.numbers import check_id_of, fill, values_of
from autograder.course.rubric import RubricError
from autograder.gradebook.judging import judge

__all__ = ["FillNumbers", "Judge", "PlainOutputs", "RestoreCells", "SaveScores"]

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
MAX_TEXT = 20_000


class _CoursePreprocessor(NbGraderPreprocessor):
    """A preprocessor that knows the course's folders."""

    material = Unicode("", help="Folder of the assignment (rubric, checks); empty: the one of that name in the kit.").tag(config=True)

    def course(self) -> CourseDirectory:
        """The course directory of the running command."""
        owner = self.parent
        while owner is not None:
            if isinstance(getattr(owner, "coursedir", None), CourseDirectory):
                return owner.coursedir
            owner = getattr(owner, "parent", None)
        return CourseDirectory(config=self.config)

    def folder(self, step: str, student: str, assignment: str) -> Path:
        """``<root>/<step>/<student>/<assignment>``."""
        return Path(self.course().format_path(step, student, assignment))

    def assignment(self, name: str) -> Assignment | None:
        """The assignment that is worked on, or None where it has no rubric."""
        return open_assignment(self.material) if self.material else assignment_of(self.folder(self.course().source_directory, ".", name))


class FillNumbers(_CoursePreprocessor):
    """Gives a source notebook the rubric's numbers, as ``python -m autograder release`` does."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        facts = resources["nbgrader"]
        assignment = self.assignment(facts["assignment"])
        if assignment is not None:
            nb = fill(nb, assignment.rubric, values_of(assignment), f"{facts['notebook']}.ipynb")
        return nb, resources


class RestoreCells(_CoursePreprocessor):
    """Restores every cell of the release before nbgrader reads them, since one duplicate id would stop the whole class."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        from autograder.gradebook.cells import restore

        facts = resources["nbgrader"]
        path = self.folder(self.course().source_directory, ".", facts["assignment"]) / f"{facts['notebook']}.ipynb"
        if not path.is_file():
            self.log.warning("No source notebook %s: its cells are left as they are", path)
            return nb, resources
        defines = _defines(self.material or facts["assignment"])
        for note in restore(nb, _handed_out(path, path.stat().st_mtime_ns, self.material), defines):
            self.log.warning("%s, %s: %s", facts["student"], path.name, note)
        return nb, resources


@functools.lru_cache(maxsize=64)
def _handed_out(path: Path, modified: int, material: str) -> NotebookNode:
    from autograder.gradebook.cells import release_cells

    return release_cells(path, open_assignment(material) if material else None)


@functools.cache
def _defines(assignment: str) -> dict[str, str]:
    try:
        return open_assignment(assignment).rubric.defines
    except RubricError:
        return {}


class PlainOutputs(NbGraderPreprocessor):
    """Keeps text and pictures that the student's notebook shows; clears graded cells and everything that is active."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict[str, Any], index: int) -> tuple[NotebookNode, dict[str, Any]]:
        from autograder.gradebook.repair import plain_output

        if cell.cell_type == "code":
            cell.execution_count = None
            keep = [] if utils.is_grade(cell) else [plain_output(output) for output in cell.outputs]
            cell.outputs = [output for output in keep if output is not None]
        return cell, resources


class Judge(_CoursePreprocessor):
    """Writes the judge's points into the graded cells; no code of the notebook is run here."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        facts = resources["nbgrader"]
        folder = self.folder(self.course().submitted_directory, facts["student"], facts["assignment"])
        result = judge(self.material or facts["assignment"], folder.resolve(), facts["student"], self.log.info)
        resources["segkit_result"] = result
        checks = {check["id"]: check for check in result["checks"]}
        for cell in nb.cells:
            if utils.is_grade(cell) and not utils.is_solution(cell):
                _write_score(cell, checks)
        return nb, resources


def _check_of(grade_id: str, checks: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    known = check_id_of(grade_id, dict.fromkeys(checks, 0.0))
    return checks[known] if known else None


def _write_score(cell: NotebookNode, checks: dict[str, dict[str, Any]]) -> None:
    """Make the points the cell's first result (nbgrader reads that one), and the message text below it.

    A cell without a result would get full points from nbgrader; so every graded cell gets one, and what could not be graded
    a 0 here, which ``SaveScores`` takes out of the gradebook again.
    """
    check = _check_of(cell.metadata.nbgrader["grade_id"], checks)
    points = float(check["points"] or 0.0) if check else 0.0
    points = min(max(points, 0.0), float(cell.metadata.nbgrader["points"]))
    score = new_output("execute_result", data={"text/plain": repr(points)}, execution_count=None)
    cell.outputs = [score, new_output("stream", name="stdout", text=_words(check))]


def _words(check: dict[str, Any] | None) -> str:
    if check is None:
        return "The rubric has no check for this cell; it waits for a person.\n"
    if check["status"] == "could_not_grade":
        head = f"{check['id']}: could not be graded and waits for a person; this costs you nothing"
    else:
        head = f"{check['id']}: {check['status'].replace('_', ' ')}, {check['points']:g} of {check['max_points']:g} points"
    text = f"{head}\n{check['message'] or ''}".strip()
    return CONTROL.sub(" ", text)[:MAX_TEXT] + "\n"


class SaveScores(_CoursePreprocessor, SaveAutoGrades):
    """Saves the scores of a submission in one transaction: a gradebook that is busy or full has all of them or none.

    nbgrader saves cell by cell, and for a while a check that could not be graded would stand there with a 0.
    """

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        facts = resources["nbgrader"]
        self.notebook_id, self.assignment_id, self.student_id = facts["notebook"], facts["assignment"], facts["student"]
        with Gradebook(facts["db_url"]) as self.gradebook:
            database = self.gradebook.db
            commit, database.commit = database.commit, database.flush  # what nbgrader's own steps would save one by one
            nb, resources = NbGraderPreprocessor.preprocess(self, nb, resources)
            if "segkit_result" in resources:
                self._correct_all(nb, resources["segkit_result"])
            commit()
        return nb, resources

    def _correct_all(self, nb: NotebookNode, result: dict[str, Any]) -> None:
        """Save what a cell's output cannot express, and the points of the submission's other notebooks."""
        checks = {check["id"]: check for check in result["checks"]}
        here = {c.metadata.nbgrader["grade_id"] for c in nb.cells if utils.is_grade(c) and not utils.is_solution(c)}
        for notebook in self.gradebook.find_submission(self.assignment_id, self.student_id).notebooks:
            for grade in notebook.grades:
                check = _check_of(grade.name, checks)
                if grade.name in here and notebook.name == self.notebook_id:
                    _correct(grade, check, known_points=bool(check and check.get("bonus")))  # its cell is worth 0 there
                elif notebook.name != self.notebook_id and check is not None:
                    _correct(grade, check, known_points=True)


def _correct(grade: Any, check: dict[str, Any] | None, known_points: bool) -> None:
    """Let a grade wait for a person where the judge has no points; write points where nbgrader has not seen the notebook."""
    if check is None or check["points"] is None:
        # nbgrader has already given 0 for an answer that was not handed in
        if check is None or check["status"] == "could_not_grade":
            grade.auto_score, grade.needs_manual_grade = None, True
    elif known_points:
        grade.auto_score = float(check["points"])
        grade.needs_manual_grade = grade.manual_score is not None
