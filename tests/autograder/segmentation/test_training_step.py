"""Training steps as students write them: a right one is right in any spelling, and each classical mistake is called by its name."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from autograder.segmentation.training_step import HYPOTHESES, Exercise, step_mistakes
from segkit.notebooks import Chunk, Program
from segkit.subject import LocalSubject, StudentError

RIGHT = """
import torch
from torch.nn import functional as F

def train_step(network, images, labels, optimizer):
    network.train()
    optimizer.zero_grad()
    scores = network(images)
    loss = F.cross_entropy(scores, labels, ignore_index=255)
    loss.backward()
    optimizer.step()
    return loss.item()
"""
ZERO, STEP, BACKWARD, LOSS = "    optimizer.zero_grad()\n", "    optimizer.step()\n", "    loss.backward()\n", "ignore_index=255"
ALONE = "F.cross_entropy(scores, labels, ignore_index=255)"


def told(source: str, exercise: Exercise | None = None) -> list[tuple[str, str]]:
    exercise = exercise or Exercise(np.random.default_rng(3))
    subject = LocalSubject(Path())
    subject.define(Program("train_step", "a.ipynb, cell 1", (Chunk("a.ipynb, cell 1", source, tuple(range(3))),)))
    return step_mistakes(subject, "train_step", exercise)


@pytest.mark.parametrize("change", [
    ("", ""), (ZERO, "    network.zero_grad()\n"), (BACKWARD, ZERO + BACKWARD), (STEP, STEP + ZERO), ("loss.item()", "loss.detach()"),
    (ZERO, "    optimizer.zero_grad(set_to_none=False)\n"), ("return loss.item()", "network.eval()\n    return float(loss)"),
    (ALONE, "-(F.log_softmax(scores, 1).gather(1, (labels % 255)[:, None])[:, 0][labels != 255]).mean()"),
    (ALONE, "(F.cross_entropy(scores, labels, ignore_index=255, reduction='sum') / (labels != 255).sum())"),
])  # fmt: skip
def test_a_right_step_is_right_in_any_spelling(change):
    assert told(RIGHT.replace(*change)) == []


@pytest.mark.parametrize(("change", "code", "words"), [
    ((ZERO, ""), "step.zero_grad", "added up"), ((BACKWARD, ""), "step.backward", "missing"),
    ((BACKWARD, BACKWARD + ZERO), "step.backward", "between"), ((STEP, ""), "step.missing", "no step"),
    ((BACKWARD + STEP, STEP + BACKWARD), "step.order", "before"),
    ((f"{BACKWARD}{STEP}", f"{STEP}{ZERO}{BACKWARD}"), "step.order", "before"), ((ALONE, "F.cross_entropy(scores, labels)"),
     "step.ignore", "unknown pixels"),
    (("    network.train()\n", ""), "step.mode", "eval mode"), (("network.train()", "network.eval()"), "step.mode", "eval mode"),
    ((ALONE, "F.cross_entropy(scores, labels % 255)"), "step.ignore", "unknown pixels"),
    ((ALONE, "F.cross_entropy(scores, labels.clamp(max=2))"), "step.ignore", "unknown pixels"),
    ((ALONE, "F.cross_entropy(scores, labels, ignore_index=255, reduction='sum') / labels.numel()"), "step.mean", "all pixels"),
    ((ALONE, "F.cross_entropy(scores, labels, ignore_index=255, reduction='sum') / len(images)"), "step.mean", "of images"),
    ((ALONE, "F.cross_entropy(scores, labels, ignore_index=255, reduction='sum')"), "step.mean", "summed"),
    (("loss.item()", "loss"), "step.graph", "loss.item()"), (("return loss.item()", ""), "step.loss", "NoneType"),
    (("loss.item()", "loss.item() * 2"), "step.loss", "but got"), ((ALONE, f"3 * {ALONE}"), "step.values", "after call 1"),
    ((ALONE, f"{ALONE} * float('nan')"), "step.values", "nan"),
])  # fmt: skip
def test_each_mistake_is_called_by_its_name(change, code, words):
    source = RIGHT.replace(*change)
    assert source != RIGHT
    ((found, text),) = told(source)
    assert found == code and words in text


def test_a_step_that_changes_the_weights_before_backward_needs_them_is_a_mistake_in_the_order():
    source = RIGHT.replace(ZERO, "").replace(BACKWARD + STEP, STEP + ZERO + BACKWARD)  # torch raises in the second call
    assert [code for code, _ in told(source)] == ["step.order"]


def test_the_gradient_of_the_batch_before_is_a_mistake_in_the_order():
    source = RIGHT.replace(STEP, "").replace(ZERO, STEP + ZERO)
    assert [code for code, _ in told(source)] == ["step.order"]


def test_another_failure_stays_a_failure():
    with pytest.raises(StudentError, match="ZeroDivisionError"):
        told(RIGHT.replace(ALONE, "1 / 0"))


def test_two_mistakes_of_two_kinds_are_both_told():
    found = told(RIGHT.replace(ZERO, "").replace("loss.item()", "loss"))
    assert [code for code, _ in found] == ["step.zero_grad", "step.graph"]


def test_another_order_of_arguments_and_another_label_that_does_not_count():
    exercise = Exercise(np.random.default_rng(4), ignore=9, order=("optimizer", "images", "network", "labels"))
    source = RIGHT.replace("255", "9").replace("(network, images, labels, optimizer)", "(optimizer, images, network, labels)")
    assert told(source, exercise) == []
    assert told(source.replace(ZERO, ""), exercise)[0][0] == "step.zero_grad"


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_tells_all_mistakes_apart(seed):
    exercise = Exercise(np.random.default_rng(seed))
    for code, _, how in HYPOTHESES:
        spoilt = SimpleNamespace(take_steps=lambda *_, how=how, **asked: exercise.taken(**how))
        assert [found for found, _ in step_mistakes(spoilt, "train_step", exercise)] == [code]
