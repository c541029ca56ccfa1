"""The exam of this assignment: submissions whose result is known (see ``autograder.exam.entries``)."""
