"""nbgrader for this course: run every nbgrader command from the repository root.

    python -m autograder collect RAW/* --out submitted      clean copies of the raw hand-ins
    nbgrader generate_assignment fcn                        puts the assignment into the gradebook
    nbgrader autograde fcn                                  judged by autograder, not run in a kernel
    nbgrader generate_feedback fcn                          after the questions were marked in formgrader
    nbgrader export

What `python -m autograder grade` takes as options comes from the environment here: SEGKIT_DATA (CMP_ROOT or "sample"),
SEGKIT_COURSE_SECRET, SEGKIT_CHECKPOINTS (where checkpoints lie that were handed in by name), SEGKIT_ISOLATION,
SEGKIT_RESULTS (a folder of earlier results: what was graded there is not graded again).
"""

import sys
from pathlib import Path

from nbgrader.converters import GenerateAssignment

sys.path.insert(0, str(Path(__file__).resolve().parent))

from autograder.gradebook.database import wait_for_busy_gradebook
from autograder.release.notebooks import student_config

c = get_config()  # noqa: F821 - defined by traitlets when it loads this file
c.merge(student_config())

wait_for_busy_gradebook(seconds=60.0)

c.CourseDirectory.source_directory = "notebooks"
c.CourseDirectory.release_directory = "release"
c.CourseDirectory.submitted_directory = "submitted"
c.CourseDirectory.autograded_directory = "autograded"
c.CourseDirectory.feedback_directory = "feedback"
# never copied from step to step: half a gigabyte per student, and what came with the release
c.CourseDirectory.ignore = [
    ".ipynb_checkpoints", "*.pyc", "__pycache__", ".pytest_cache", "checkpoints", "published", "segkit", "data", "runs",
]  # fmt: skip

c.GenerateAssignment.preprocessors = ["autograder.gradebook.plugin.FillNumbers", *GenerateAssignment.preprocessors.default()]
c.Autograde.sanitize_preprocessors = [
    "autograder.gradebook.plugin.RestoreCells",
    "autograder.gradebook.plugin.PlainOutputs",
    "nbgrader.preprocessors.DeduplicateIds",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "autograder.gradebook.plugin.Judge",  # in the place of Execute
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "autograder.gradebook.plugin.SaveScores",  # in the place of SaveAutoGrades
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
