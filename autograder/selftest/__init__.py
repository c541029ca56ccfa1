"""The grader's own exam: submissions whose result is known, graded, and every surprise reported."""

from autograder.selftest.command import selftest_command

__all__ = ["selftest_command"]
