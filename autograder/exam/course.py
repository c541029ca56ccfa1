"""A course of nbgrader in a folder of its own, in which the exam's entries hand in as students."""

import contextlib
import io
import os
import shutil
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from autograder.judge.run import Run

__all__ = ["Course", "CourseError"]

REPOSITORY = Path(__file__).resolve().parents[2]

QUERY = """
select base_cell.name, grade.auto_score, grade.needs_manual_grade
from grade join base_cell on grade.cell_id = base_cell.id
join submitted_notebook on grade.notebook_id = submitted_notebook.id
join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id
join student on submitted_assignment.student_id = student.id
where student.id = ?
"""


class CourseError(Exception):
    """nbgrader failed."""


class Course:
    """The folders and the gradebook of a course, with the settings of ``nbgrader_config.py``.

    Args:
        folder: Made for it.
        assignment: Name of the assignment.
        source: Folder of its source notebooks.

    Raises:
        CourseError: If nbgrader cannot take up the assignment.
    """

    def __init__(self, folder: Path, assignment: str, source: Path) -> None:
        from nbgrader.apps import NbGraderAPI
        from nbgrader.coursedir import CourseDirectory
        from traitlets.config import PyFileConfigLoader

        from autograder.gradebook.collecting import release_versions

        self.folder, self.assignment = folder, assignment
        place = folder / "notebooks" / assignment
        place.mkdir(parents=True)
        paths = sorted(path for path in source.glob("*.ipynb") if not path.name.startswith("."))
        for path in paths:
            shutil.copyfile(path, place / path.name)
        self.handed_out = release_versions(paths)
        with _quiet():
            config = PyFileConfigLoader("nbgrader_config.py", str(REPOSITORY)).load_config()
            config.CourseDirectory.root = str(folder)
            self._api = NbGraderAPI(CourseDirectory(config=config), config=config)
            self._demand(self._api.generate_assignment(assignment, force=True, create=True))

    def points(self, path: Path, student: str, run: Run) -> dict[str, float | None] | None:
        """Collect a hand-in, let nbgrader grade it, and read the gradebook.

        Args:
            path: The raw hand-in, folder or zip.
            student: Name in the gradebook; not used before.
            run: For the rubric.

        Returns:
            Check id -> points, None where a person is waited for; or None if the hand-in could not be collected at all.

        Raises:
            CourseError: If nbgrader fails.
        """
        from autograder.course.numbers import check_id_of
        from autograder.gradebook.collecting import collect_one

        target = self.folder / "submitted" / student / self.assignment
        try:
            with _quiet():
                if not collect_one(path, student, target, self.handed_out, run.rubric, False):
                    return None
                self._demand(self._api.autograde(self.assignment, student, force=True, create=True))
            with contextlib.closing(sqlite3.connect(self.folder / "gradebook.db")) as database:
                rows = database.execute(QUERY, (student,)).fetchall()
        finally:
            for step in ("submitted", "autograded"):
                shutil.rmtree(self.folder / step / student, ignore_errors=True)
        checks = {name: check.points for name, check in run.rubric.checks.items()}
        found = {check_id_of(cell, checks): None if waits else score for cell, score, waits in rows}
        return {check: score for check, score in found.items() if check is not None}

    @staticmethod
    def _demand(done: dict) -> None:
        if not done["success"]:
            raise CourseError(f"nbgrader failed: {str(done.get('log') or done.get('error'))[-1500:]}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep nbgrader's words to ourselves; let it find alembic, which it calls by name, beside this Python."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ["PATH"] = before
