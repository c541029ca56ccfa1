"""Check of the training step of notebook 2."""

from autograder.assignments.fcn.hints import STEP_HINTS, explained
from autograder.assignments.fcn.stepping import judge_train_step
from autograder.judge.checking import check


@check("train_step")
def test_a_step_learns_what_it_should_and_nothing_else(student, grading):
    with explained("train_step", STEP_HINTS, student):
        judge_train_step(student, grading)
