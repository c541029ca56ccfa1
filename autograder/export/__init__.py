"""A graded class for other systems: each target is one file here, and one line of ``WRITERS``.

A writer turns results into texts: ``writer(entries, options)`` yields ``(path below the output folder, text)``. It writes no file
and reads none, so a new target is a function and a line.

Points that nobody has given yet (``needs_manual``, ``could_not_grade``) are open: they are never exported as 0, and never taken off
a maximum. Where a format can say so of each check (JUnit, Gradescope, nbgrader's gradebook), the open ones appear without a
number. Where a format has only totals (Classroom 50, CSV), a submission with an open check gets none. Checks that a person grades
count in totals where marks are there (``autograder.marking``, or ``--manual``), and then for everybody.
"""

from autograder.export.classroom50 import write_classroom50
from autograder.export.entries import Entry, ExportError, Options, read_entries
from autograder.export.feedback import write_mail
from autograder.export.gradescope import write_gradescope
from autograder.export.junit import write_junit
from autograder.export.nbgrader_csv import write_nbgrader_csv

__all__ = ["WRITERS", "Entry", "ExportError", "Options", "read_entries"]

WRITERS = {
    "gradescope": write_gradescope,
    "classroom50": write_classroom50,
    "junit": write_junit,
    "csv": write_nbgrader_csv,
    "mail": write_mail,
}
