"""Do the commands that README and docs print for instructors, CI and students do what they say, in a small course named ``fcn``?"""

import shutil
from collections.abc import Iterator

import pytest
import weeks_commands
from printed_runs import COURSE, RELEASE, WEEKS, run_all
from stand_ins import Place, copy_of_the_repository, course_named_fcn, fill_in_the_release


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Iterator[Place]:
    place = copy_of_the_repository(tmp_path_factory.mktemp("course") / "kit")
    course_named_fcn(place)
    shutil.copytree(place.folder / "data" / "facades" / "sample", place.folder / "CMP_ROOT")
    yield place
    shutil.rmtree(place.folder.parent)


@pytest.mark.slow
def test_commands_of_instructors_and_ci_work_as_printed(course):
    before = {path.name for path in course.folder.iterdir()}
    run_all([*COURSE, *WEEKS], course)
    left = {path.name for path in course.folder.iterdir()} - before
    assert left <= {"submitted", "release", "autograded", "feedback", "gradebook.db", "grades.csv", "build", "graded", "handed",
                    "PICTURES", "COPY.csv", "autograder.zip", "GRADEBOOK.filled.csv", "WORKSHEET.filled.csv",
                    "WORKSHEET.feedback.zip", *weeks_commands.LEAVES}, left  # fmt: skip


@pytest.mark.slow
def test_commands_of_students_work_as_printed_in_their_release(course):
    release = course.folder / "build" / "release" / "fcn"
    if not release.is_dir():
        course.must(COURSE[0].command)
    fill_in_the_release(release)
    run_all(RELEASE, Place(release))
