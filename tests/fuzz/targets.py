"""All targets by name."""

from .answers import check_answers
from .checkpoints import check_checkpoint
from .half_answers import check_half_answers
from .messages import check_judge, check_wire
from .notebooks import check_grading, check_reading, check_zip
from .running import Check

__all__ = ["TARGETS"]

# name -> what is run, cases of a round, and its share of the time of a long run
TARGETS: dict[str, tuple[Check, int, float]] = {
    "notebooks": (check_reading, 60, 0.3),
    "grading": (check_grading, 10, 0.1),
    "zips": (check_zip, 40, 0.1),
    "wire": (check_wire, 300, 0.1),
    "judge": (check_judge, 8, 0.1),
    "answers": (check_answers, 8, 0.15),
    "half answers": (check_half_answers, 15, 0.05),
    "checkpoints": (check_checkpoint, 50, 0.1),
}
