"""Training steps as students write them: a right one is right in any spelling, and each classical mistake is called by its name."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.checks import check_train_step
from segkit.notebooks import Chunk, Program
from segkit.step_mistakes import PARTS, Mistake, step_mistakes
from segkit.subject import LocalSubject, StudentError
from segkit.training_step import LOSSES, MODES, UPDATES, Exercise

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
ZERO, STEP, BACKWARD = "    optimizer.zero_grad()\n", "    optimizer.step()\n", "    loss.backward()\n"
ALONE = "F.cross_entropy(scores, labels, ignore_index=255)"


def told(source: str, exercise: Exercise | None = None) -> list[Mistake]:
    exercise = exercise or Exercise(np.random.default_rng(3))
    subject = LocalSubject(Path())
    subject.define(Program("train_step", "a.ipynb, cell 1", (Chunk("a.ipynb, cell 1", source, tuple(range(3))),)))
    return step_mistakes(subject, "train_step", exercise)


def by_hand(exercise: Exercise, calls: int = 2) -> list[tuple[float, dict[str, np.ndarray]]]:
    """Loss and weights after each call: batch norm, mean over the known pixels and momentum written out, gradients by ``autograd.grad``."""
    images, labels = torch.from_numpy(exercise.question["calls"][0][1]), torch.from_numpy(exercise.question["calls"][0][2])
    weights = {key: torch.from_numpy(value).double() for key, value in exercise.question["weights"].items()}
    speeds, told = {key: torch.zeros_like(value) for key, value in weights.items()}, []
    for _ in range(calls):
        leaves = {key: value.clone().requires_grad_() for key, value in weights.items()}
        h = torch.nn.functional.conv2d(images.double(), leaves["conv.weight"], padding=1)
        h = (h - h.mean((0, 2, 3), keepdim=True)) / (h.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        h = (h * leaves["norm.weight"][:, None, None] + leaves["norm.bias"][:, None, None]).clamp(min=0)
        scores = torch.einsum("nchw,kc->nhwk", h, leaves["score.weight"][:, :, 0, 0])[labels != 255] + leaves["score.bias"]
        loss = -(scores - scores.logsumexp(1, keepdim=True))[range(len(scores)), labels[labels != 255]].mean()
        for key, slope in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            speeds[key] = 0.5 * speeds[key] + slope
            weights[key] = weights[key] - 0.1 * speeds[key]
        told.append((loss.item(), {key: value.numpy() for key, value in weights.items()}))
    return told


@pytest.mark.parametrize("seed", range(3))
def test_the_right_step_is_that_of_a_calculation_by_hand(seed):
    exercise = Exercise(np.random.default_rng(seed), n_class=4)
    for step, (loss, weights) in zip(exercise.taken(), by_hand(exercise), strict=True):
        assert np.isclose(step["returned"], loss, atol=1e-5)
        assert all(np.allclose(step["values"][key], value, atol=1e-5) for key, value in weights.items())


@pytest.mark.parametrize("change", [
    ("", ""), (ZERO, "    network.zero_grad()\n"), (BACKWARD, ZERO + BACKWARD), (STEP, STEP + ZERO), ("loss.item()", "loss.detach()"),
    (ZERO, "    optimizer.zero_grad(set_to_none=False)\n"), ("return loss.item()", "network.eval()\n    return float(loss)"),
    (ALONE, "-(F.log_softmax(scores, 1).gather(1, (labels % 255)[:, None])[:, 0][labels != 255]).mean()"),
    (ALONE, "(F.cross_entropy(scores, labels, ignore_index=255, reduction='sum') / (labels != 255).sum())"),
    (ALONE, "F.cross_entropy(scores.permute(0, 2, 3, 1)[labels != 255], labels[labels != 255])"),
    (ALONE, "torch.nn.CrossEntropyLoss(ignore_index=255)(scores, labels)"), (ALONE, "F.cross_entropy(F.log_softmax(scores, 1), labels, "
     "ignore_index=255)"), ("network(images)", "network.forward(images)"),
    (STEP, "    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)\n" + STEP),
    (ZERO, "    for p in network.parameters():\n        p.grad = None\n"),
    ("    scores = network(images)\n    loss = ", "    with torch.autocast('cpu'):\n        scores = network(images)\n        loss = "),
    ("    scores = network(images)\n    loss = ", "    with torch.autocast('cpu', torch.float16):\n        scores = network(images)\n"
     "        loss = "),
])  # fmt: skip
def test_a_right_step_is_right_in_any_spelling(change):
    assert told(RIGHT.replace(*change)) == []


TRAIN = "    network.train()\n"
ONE_MISTAKE = [
    ((ZERO, ""), "step.zero_grad", "added up"), ((BACKWARD, ""), "step.backward", "missing"),
    ((BACKWARD, BACKWARD + ZERO), "step.cleared", "between"), ((STEP, ""), "step.missing", "no step"),
    ((BACKWARD + STEP, STEP + BACKWARD), "step.order", "before"), ((BACKWARD + STEP, ""), "step.backward", "neither"),
    ((f"{BACKWARD}{STEP}", f"{STEP}{ZERO}{BACKWARD}"), "step.order", "before"),
    ((ALONE, "F.cross_entropy(scores, labels)"), "step.ignore", "unknown pixels"),
    ((TRAIN, ""), "step.mode", "eval mode"), (("network.train()", "network.eval()"), "step.mode", "eval mode"),
    ((ALONE, "F.cross_entropy(scores, labels % 255)"), "step.ignore", "unknown pixels"),
    ((ALONE, "F.cross_entropy(scores, labels.clamp(max=2))"), "step.ignore", "unknown pixels"),
    ((ALONE, "F.cross_entropy(scores, labels, ignore_index=255, reduction='sum') / labels.numel()"), "step.mean", "all pixels"),
    ((ALONE, "F.cross_entropy(scores, labels, ignore_index=255, reduction='none').mean()"), "step.mean", "all pixels"),
    ((ALONE, "F.cross_entropy(scores, labels, ignore_index=255, reduction='sum') / len(images)"), "step.mean", "of images"),
    ((ALONE, "F.cross_entropy(scores, labels, ignore_index=255, reduction='sum')"), "step.mean", "summed"),
    (("(scores, labels, i", "(scores.softmax(1), labels, i"), "step.softmax", "raw scores"),
    (("(scores, labels, i", "(torch.sigmoid(scores), labels, i"), "step.softmax", "sigmoid"),
    (("F.cross_entropy", "F.nll_loss"), "step.softmax", "raw scores"),
    (("(scores, labels, i", "(scores.reshape(-1, scores.shape[1]), labels.reshape(-1), i"), "step.flat", "permute"),
    ((ALONE, "F.nll_loss(F.log_softmax(scores, 3), labels, ignore_index=255)"), "step.dimension", "another dimension"),
    ((ALONE, f"3 * {ALONE}"), "step.scaled", "3 times"),
    ((STEP, STEP.replace("optimizer", "torch.optim.SGD(network.parameters(), lr=0.2)")), "step.optimizer", "no other one"),
    (("loss.item()", "loss"), "step.graph", "loss.item()"), (("return loss.item()", ""), "step.loss", "NoneType"),
    (("loss.item()", "loss.item() * 2"), "step.loss", "but got"),
    (("loss.item()", "loss.item() * len(images)"), "step.loss", "times 2: return the mean itself"),
    (("loss.item()", "loss.item() / 4"), "step.loss", "divided by 4: return the mean itself"),
    ((BACKWARD + STEP, "    (loss / 4).backward()\n"), "step.missing", "no step"),
    ((STEP, STEP + STEP), "step.values", "after call 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "words"), ONE_MISTAKE)
def test_each_mistake_is_called_by_its_name_and_costs_its_part_alone(change, code, words):
    source = RIGHT.replace(*change)
    assert source != RIGHT
    ((_, found, text),) = told(source)
    assert found == code and words in text


@pytest.mark.parametrize(("change", "code"), [
    (("network(images)", "network(images).data"), "step.detached"), ((ALONE, f"{ALONE}.detach()"), "step.detached"),
    ((ALONE, f"{ALONE} * float('nan')"), "step.values"), (("network(images)", "network(images.flip(3))"), "step.values"),
    ((RIGHT[RIGHT.index("    network.train") :], "    return 1.1"), "step.values"), ((STEP, STEP + "    return 0.0\n"), "step.loss"),
])  # fmt: skip
def test_what_nothing_shows_to_be_right_is_lost(change, code):
    found = told(RIGHT.replace(*change))
    assert found[0].code == code
    assert [mistake.part for mistake in found] == (["returned"] if code == "step.loss" else list(PARTS))


def test_a_step_that_changes_the_weights_before_backward_needs_them_is_a_mistake_in_the_order():
    source = RIGHT.replace(ZERO, "").replace(BACKWARD + STEP, STEP + ZERO + BACKWARD)  # torch raises in the second call
    assert [mistake.code for mistake in told(source)] == ["step.order"]


def test_the_gradient_of_the_batch_before_is_a_mistake_in_the_order():
    source = RIGHT.replace(STEP, "").replace(ZERO, STEP + ZERO)
    assert [mistake.code for mistake in told(source)] == ["step.order"]


def test_another_failure_stays_a_failure():
    with pytest.raises(StudentError, match="ZeroDivisionError"):
        told(RIGHT.replace(ALONE, "1 / 0"))


def test_an_error_that_a_student_words_like_torch_ends():
    with pytest.raises(StudentError, match="Target 255"):
        told(RIGHT.replace(STEP, "    raise IndexError('Target 255 is out of bounds')\n"))


@pytest.mark.parametrize(("changes", "codes"), [
    ([(ZERO, ""), ("loss.item()", "loss")], ["step.zero_grad", "step.graph"]),
    ([(ZERO, ""), (", ignore_index=255", "")], ["step.ignore", "step.zero_grad"]),
    ([(STEP, ""), ("(scores, labels, i", "(scores.softmax(1), labels, i")], ["step.missing", "step.softmax"]),
    ([(BACKWARD, ""), (TRAIN, "")], ["step.backward", "step.mode"]),
    ([("    scores = network(images)\n    loss = ", "    with torch.autocast('cpu'):\n        scores = network(images)\n        loss = "),
      (ZERO, "")],
     ["step.zero_grad"]),
    ([(TRAIN, ""), ("ignore_index=255", "ignore_index=255, reduction='sum'")], ["step.mean", "step.mode"]),
])  # fmt: skip
def test_two_mistakes_in_two_parts_are_both_told(changes, codes):
    source = RIGHT
    for change in changes:
        source = source.replace(*change)
    assert [mistake.code for mistake in told(source)] == codes


def test_another_order_of_arguments_and_another_label_that_does_not_count():
    exercise = Exercise(np.random.default_rng(4), ignore=9, order=("optimizer", "images", "network", "labels"))
    source = RIGHT.replace("255", "9").replace("(network, images, labels, optimizer)", "(optimizer, images, network, labels)")
    assert told(source, exercise) == []
    assert told(source.replace(ZERO, ""), exercise)[0].code == "step.zero_grad"


@pytest.mark.parametrize("seed", range(3))
def test_what_is_drawn_tells_all_mistakes_apart(seed):
    exercise = Exercise(np.random.default_rng(seed))
    for way in (*UPDATES[1:], *LOSSES[1:], *MODES[1:]):
        spoilt = SimpleNamespace(take_steps=lambda *_, way=way, **asked: exercise.taken(**way.how))
        assert [mistake.code for mistake in step_mistakes(spoilt, "train_step", exercise)] == [way.code]


@pytest.mark.parametrize(("change", "line"), [
    (("loss.item()", "loss.item() * 2"), r"returned +expected the loss of the batch in return, 1\.456, but got 2\.912, times 2: return .*"),
    (("return loss.item()", ""), r"returned +expected the loss of the batch in return, but got NoneType"),
    ((STEP, STEP + STEP), r"update +after call 1 the weights are others than they should be: \S+ by up to [\d.]+"),
    ((TRAIN, ""), r"mode +expected learning in train mode\. Likely cause: the model learned in eval mode: model\.train\(\) is missing\."),
    (("loss.item()", "loss"), r"returned +expected the loss as a number\. Likely cause: the loss came back with its graph, .*"),
    ((STEP, "    optimizer.go()\n"), r"two .* expected a result, but train_step\(\) failed\. AttributeError: .* in <string>, line .*"),
    (("(network, images, labels, optimizer)", "(network, optimizer, images, labels)"),
     r"two .*\. Likely cause: the arguments come in the order \(model, images, labels, optimizer\), and the function takes them as .*"),
    ((", optimizer):", "):"), r"two .* expected a result, but train_step cannot be called with 4 arguments .*"),
])  # fmt: skip
def test_the_visible_check_says_what_it_found_or_what_it_expected_and_why_not(change, line):
    names: dict = {}
    exec(RIGHT.replace(*change), names)
    assert re.fullmatch(r"\[!!\] " + line, str(check_train_step(names["train_step"]).fault_line))
