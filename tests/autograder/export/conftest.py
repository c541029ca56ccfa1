"""A gradebook of the small course."""

import shutil
from pathlib import Path

import pytest
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from small_course import write_course
from traitlets.config import Config


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A gradebook as nbgrader itself makes it when the assignment is generated."""
    root = tmp_path_factory.mktemp("course")
    write_course(root)
    course = CourseDirectory(config=Config(CourseDirectory={"root": str(root), "source_directory": "notebooks", "assignment_id": "tiny"}))
    GenerateAssignment(coursedir=course).start()
    return root / "gradebook.db"


@pytest.fixture
def db(fresh, tmp_path):
    return Path(shutil.copy(fresh, tmp_path / "gradebook.db"))
