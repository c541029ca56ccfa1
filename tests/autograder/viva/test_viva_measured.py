"""Is every printed answer what the changed code really does? Held against a run of the changed cell in this process."""

import random

import pytest
from viva_forms import FORMS, hand_in
from viva_oracle import verify

from autograder.handins.submission import read_submission
from autograder.viva.asking import take_down
from autograder.viva.choosing import choose, subjects_of


@pytest.mark.parametrize("form", FORMS)
def test_answers_are_what_the_changed_code_does(form, run, tmp_path):
    submission = read_submission(hand_in(tmp_path / "ada", FORMS[form]), "ada", run.rubric)
    subjects = subjects_of(run, submission.workbook, take_down(run, submission))
    assert {subject.defines for subject in subjects} == {"confusion_matrix", "mean_iou", "SmallFCN", "train_step"}
    choices, _ = choose(subjects, 6, random.Random(form), (), 600.0)
    assert len(choices) == 6
    assert len({choice.line for choice in choices}) == 6
    for choice in choices:
        assert verify(choice)
