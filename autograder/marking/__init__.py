"""What people give: marks of written answers, and changed points of automatic checks, each with who, when and why.

Results stay as the judge wrote them. Whoever reads them for people (reports, class page, exports) sees them through ``marked``.
"""

from autograder.marking.applying import Marked, marked
from autograder.marking.books import MarksError
from autograder.marking.marks import Marks, read_marks

__all__ = ["Marked", "Marks", "MarksError", "marked", "read_marks"]
