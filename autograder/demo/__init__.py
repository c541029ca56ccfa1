"""``python -m autograder.demo``: a release, a class of students with one mistake each, trained checkpoints, and their grades."""
