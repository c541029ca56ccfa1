"""Judge ``train_step`` by what it did to a small network, see ``segkit.step_mistakes``."""

from autograder.judge.checking import Grading
from autograder.judge.student import Student
from segkit.step_mistakes import step_mistakes
from segkit.training_step import Exercise

__all__ = ["judge_train_step"]


def judge_train_step(student: Student, grading: Grading) -> None:
    """Two steps on a network, pictures and labels that are drawn for this student."""
    rng = grading.own_rng("train_step")
    exercise = Exercise(rng, n_class=int(rng.integers(4, 8)))
    for mistake in step_mistakes(student, "train_step", exercise):
        grading.lose(mistake.part, cause=mistake.code, message=f"train_step: {mistake.words}" if mistake.words else "")
