"""Bulk downloads of course systems (Canvas, Moodle, Gradescope, nbgrader's exchange): one export in, one hand-in per student out.

``systems`` describes the systems in one table; ``unpacking`` decides what is safe; ``handins`` finds the student of each file
and the submission that counts. Nothing of a hand-in is executed.
"""

from autograder.handins.bulk.handins import HandIn, read_bulk, write_handins
from autograder.handins.bulk.unpacking import BulkError

__all__ = ["BulkError", "HandIn", "read_bulk", "write_handins"]
