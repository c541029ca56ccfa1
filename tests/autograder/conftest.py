"""The tiny assignment's checks are run by the grader under test, not by this pytest."""

collect_ignore = ["tiny_assignment"]
