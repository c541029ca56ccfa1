"""The attacks that all assignments share, at the last function of the notebook of data."""

from autograder.exam.attacks import Target, shared

ENTRIES = shared(Target(
    "1_data.ipynb", "scores", "def scores(hist):", "    table =", "(0.0, [0.0] * len(hist), 0.0)", "all",
    ("read_label", "confusion_matrix"),
))  # fmt: skip
