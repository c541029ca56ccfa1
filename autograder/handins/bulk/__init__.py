"""Bulk downloads of course systems (Canvas, Moodle, Gradescope, nbgrader's exchange): one export in, one hand-in per student out.

``systems`` holds what is particular to a system, in one table; ``unpacking`` decides what is safe; ``handins`` finds out whose is
what and what counts. Nothing of a hand-in is executed.
"""

from autograder.handins.bulk.handins import HandIn, read_bulk, write_handins
from autograder.handins.bulk.unpacking import BulkError

__all__ = ["BulkError", "HandIn", "read_bulk", "write_handins"]
