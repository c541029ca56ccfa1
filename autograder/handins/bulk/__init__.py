"""Bulk downloads of course systems, and repositories of a roster: a whole class in, one submission per student out.

``systems`` lists all readings of a file's name in one table of systems; ``people`` decides by roster and ``decisions.csv`` whose it is;
``unpacking`` decides what is safe; ``attempts`` sorts files into submissions, and ``handins`` writes those that count. ``times`` and
``late`` say when and how late, ``git`` and ``repositories`` fetch. Nothing of a submission is executed.
"""

from autograder.handins.bulk.handins import BulkSubmission, notes_of, of_before, read_bulk, write_handins
from autograder.handins.bulk.unpacking import BulkError

__all__ = ["BulkError", "BulkSubmission", "notes_of", "of_before", "read_bulk", "write_handins"]
