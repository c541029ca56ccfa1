"""The training step of notebook 2: what a mistake costs, how it is called, and that the visible check says the same."""

import pytest
import torch
from course_code import RUBRIC, changed, judged

from segkit.checks import check_train_step

NO_STEP = ("    optimizer.step()\n", "")
CASES = {
    "right": ([("model.train()", "model.train()")], 4, None),
    "no zero_grad": ([("    optimizer.zero_grad()\n", "")], 2, "step.zero_grad"),
    "no step": ([NO_STEP], 2, "step.missing"),
    "no ignore_index": ([(", ignore_index=255", "")], 3, "step.ignore"),
    "softmax": ([("(logits, labels, i", "(logits.softmax(1), labels, i")], 3, "step.softmax"),
    "eval mode": ([("model.train()", "model.eval()")], 3.5, "step.mode"),
    "a graph": ([("loss.item()", "loss")], 3.5, "step.graph"),
    "two parts": ([NO_STEP, ("loss.item()", "loss")], 1.5, "step.missing"),
    "a constant": ([("model.train()", "return 1.4")], 0, "step.values"),
    "argmax": ([("model(images)", "model(images).argmax(1)")], 0, "code.raises"),
    "a stub": ([("model.train()", "raise NotImplementedError()")], 0, "code.unfinished"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_in_the_training_step_is_named_and_costs_its_part(name, tmp_path):
    edits, points, cause = CASES[name]
    found = judged("train_step", changed("train_step", *edits), tmp_path)
    assert (found.cause, found.points) == (cause, points), found.message
    assert cause is None or (cause in RUBRIC.causes and "train_step" in found.message)


@pytest.mark.parametrize("name", CASES)
def test_the_visible_check_says_the_same_before(name, capsys):
    edits, points, cause = CASES[name]
    names = {"torch": torch}
    exec(changed("train_step", *edits), names)
    report = check_train_step(names["train_step"])
    assert bool(report) == (points == 4)
    assert cause is None or report.fault_line.code == cause
    assert name != "argmax" or "no argmax" in report.fault_line.cause
    assert capsys.readouterr().err == ""
