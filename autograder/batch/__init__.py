"""Grade many submissions: judges in parallel, each result saved as soon as it is known, then the class pages."""

from autograder.batch.cluster import ClusterError
from autograder.batch.grading import OutOfSpaceError, estimate_gate_seconds, grade_many
from autograder.batch.memory import MemoryShortError
from autograder.batch.progress import elapsed
from autograder.batch.writing import write_result

__all__ = ["ClusterError", "MemoryShortError", "OutOfSpaceError", "elapsed", "estimate_gate_seconds", "grade_many", "write_result"]
