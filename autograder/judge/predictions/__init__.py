"""Grading in two places: student code runs where nothing is at stake, points are given where no student code runs.

``python -m autograder predict`` asks a submission every question of the checks, in sealed workers, and keeps the replies and the
gates' predictions (``bundle``). It needs the pictures of the gates, not their labels, and gives no points.

``python -m autograder grade --predictions`` runs the same checks. Where they would ask a worker they get the kept reply to exactly
that question, or ``could_not_grade``; no worker is started (``handover``).

Who is trusted with what stands in ``docs/ci/README.md``.
"""

from autograder.judge.predictions.bundle import Bundle, BundleError, read_bundle
from autograder.judge.predictions.handover import Recorder, Replay

__all__ = ["Bundle", "BundleError", "Recorder", "Replay", "read_bundle"]
