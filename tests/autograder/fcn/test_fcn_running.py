"""What a run says of wrong values: the one true cause, and nothing where it is not known."""

from types import SimpleNamespace

import pytest

from autograder.assignments.fcn.networks import FCN32S
from autograder.segmentation.dropout import Dropout
from autograder.segmentation.judging import judge_dropout
from autograder.segmentation.running import dropout_elsewhere, norms_that_run, what_runs_wrong

RUN = [("conv1_1", "Conv2d"), ("r1", "ReLU"), ("fc6", "Conv2d"), ("", "relu"), ("drop", "Dropout2d"), ("score", "Conv2d"),
       ("transpose_conv", "ConvTranspose2d"), ("", "return")]  # fmt: skip
PATHS = {name: name for name in ("conv1_1", "fc6", "score", "transpose_conv")}


def without(step):
    return [s for s in RUN if s != step]


def behind(path, step):
    index = next(i for i, s in enumerate(RUN) if s[0] == path)
    return [*RUN[: index + 1], step, *RUN[index + 1 :]]


@pytest.mark.parametrize(("steps", "words"), [
    (without(("fc6", "Conv2d")), "fc6 is never used in forward"),
    (without(("r1", "ReLU")), "a ReLU left out: none follows conv1_1"),
    (behind("score", ("", "relu")), "a ReLU follows score"),
    (behind("score", ("", "softmax")), "forward uses softmax"),
    (behind("score", ("act", "Sigmoid")), "act (Sigmoid)"),
    ([*RUN[:1], ("act", "LeakyReLU"), *RUN[2:]], "act (LeakyReLU)"),
    (behind("fc6", ("fc6", "Conv2d")), "fc6 is used more than once"),
    (behind("drop", ("more", "Conv2d")), "more (Conv2d)"),
])  # fmt: skip
def test_each_mistake_is_named(steps, words):
    assert words in what_runs_wrong(steps, PATHS, FCN32S.graph)


def test_nothing_is_said_of_a_right_run_or_of_one_that_broke_off():
    assert [what_runs_wrong(steps, PATHS, FCN32S.graph) for steps in (RUN, RUN[:4], [])] == ["", "", ""]


@pytest.mark.parametrize(("steps", "layers"), [
    (RUN, []),
    (behind("score", ("", "dropout")), ["score"]),
    (behind("r1", ("more", "Dropout2d")), ["conv1_1"]),
    ([("drop", "Dropout2d"), *RUN], ["the input"]),
])  # fmt: skip
def test_a_dropout_in_another_place_is_found(steps, layers):
    assert dropout_elsewhere(steps, PATHS, FCN32S.graph) == layers


def test_normalisations_are_found_by_their_class():
    assert norms_that_run(behind("fc6", ("bn6", "BatchNorm2d"))) == {"bn6": "BatchNorm2d"}


@pytest.mark.parametrize(("used", "told"), [(("fc6",), ""), (("fc6", "fc7"), "Expected dropout")])
def test_dropout_of_a_layer_that_never_runs_is_no_second_mistake(used, told):
    said = [("values", "fc7 is never used")]
    none = Dropout("Expected dropout with p = 0.5", "dropout.missing")
    network = SimpleNamespace(
        spec=FCN32S,
        match=lambda: (SimpleNamespace(paths={name: name for name in ("fc6", "fc7", "score", "conv5_3")}), 12),
        measurement=lambda: SimpleNamespace(view="logits", factors={}), dropout=lambda seed, factor: none,
        steps=lambda: [(name, "Conv2d") for name in ("conv5_3", *used, "score")],
        grading=SimpleNamespace(faults=said, lose=lambda part, *, cause, message, measured: said.append((part, message))),
    )  # fmt: skip
    judge_dropout(network, seed=1)
    assert [part for part, _ in said] == ["values", "dropout"] and said[1][1].startswith(told) and bool(said[1][1]) == bool(told)
