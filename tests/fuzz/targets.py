"""All targets by name, and how a case is run by its name."""

from .answers import check_answers
from .checkpoints import check_checkpoint
from .messages import check_judge, check_wire
from .notebooks import check_grading, check_reading, check_zip
from .running import Target

__all__ = ["TARGETS", "names", "target_of"]

# name -> what is run, and its share of the time of a long run
TARGETS: dict[str, tuple[Target, float]] = {
    "notebooks": (check_reading, 0.3),
    "grading": (check_grading, 0.1),
    "zips": (check_zip, 0.1),
    "wire": (check_wire, 0.1),
    "judge": (check_judge, 0.1),
    "answers": (check_answers, 0.2),
    "checkpoints": (check_checkpoint, 0.1),
}


def names(target: str, seed: int, count: int) -> list[str]:
    """Names of the first cases of a target in the run with this seed."""
    return [f"{target}:{seed}:{number}" for number in range(count)]


def target_of(case: str) -> Target:
    """The target that a case's name begins with."""
    return TARGETS[case.partition(":")[0]][0]
