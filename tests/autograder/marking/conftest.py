"""A gradebook of the small course, and the folder of its assignment."""

from pathlib import Path

import pytest
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from small_course import write_course
from traitlets.config import Config


@pytest.fixture
def small_gradebook(tmp_path: Path) -> tuple[Path, Path]:
    """``gradebook.db`` as nbgrader makes it, and the assignment."""
    root = tmp_path / "course"
    write_course(root)
    course = CourseDirectory(config=Config(CourseDirectory={"root": str(root), "source_directory": "notebooks", "assignment_id": "tiny"}))
    GenerateAssignment(coursedir=course).start()
    return root / "gradebook.db", root / "autograder" / "assignments" / "tiny"
