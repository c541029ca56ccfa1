"""The grader's own exam: submissions whose result is known, graded, and every surprise reported (``python -m autograder selftest``)."""
