"""Bulk downloads of course systems (Canvas, Moodle, Gradescope, nbgrader's exchange): one export in, one submission per student out.

``systems`` describes the systems in one table; ``unpacking`` decides what is safe; ``handins`` finds the student of each file
and the submission that counts. Nothing of a submission is executed.
"""

from autograder.handins.bulk.handins import BulkSubmission, read_bulk, write_handins
from autograder.handins.bulk.unpacking import BulkError

__all__ = ["BulkError", "BulkSubmission", "read_bulk", "write_handins"]
