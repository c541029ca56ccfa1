"""VGG-16 in the check of the copy: its values lie at secret places of the weight file, and there are many of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from autograder.assignments.fcn import copying
from autograder.course.seeds import Seeds
from autograder.judge.checking import Grading
from autograder.sandbox.client import GraderFault
from autograder.segmentation.amount import LEAST
from autograder.segmentation.probe import SPARE
from segkit.layers import expected_layers

KEYS = [f"{name}.{kind}" for name in copying.SOURCES for kind in ("weight", "bias")]


def trunk() -> dict[str, tuple[int, list[int]]]:
    """Index of a file that holds the trunk's tensors one after the other, behind something else."""
    index, first = {SPARE: (0, [2**20])}, 2**20
    for layer in expected_layers("fcn32s", 5):
        if layer.path in copying.SOURCES:
            s = layer.settings
            for kind, shape in (("weight", [s["out_channels"], s["in_channels"], *[s["kernel_size"]] * 2]), ("bias", [s["out_channels"]])):
                index[f"{layer.path}.{kind}"] = (first, shape)
                first += int(np.prod(shape))
    return index | {"fcn32s/transpose_conv.weight": (first, [5, 5, 64, 64])}


def grading(code: str, secret: str = "s") -> Grading:
    return Grading(SimpleNamespace(id="pretraining.copy"), Seeds(secret), SimpleNamespace(), SimpleNamespace(code=code))


def test_tensors_lie_elsewhere_than_the_file_has_them_within_the_trunk_and_none_over_another():
    index = trunk()
    for number in range(100):
        places, reached = copying._places(grading(str(number)), index), 0
        assert set(places) == set(KEYS)
        for key, (first, (size,)) in sorted(places.items(), key=lambda item: item[1][0]):
            assert size == np.prod(index[key][1]) and first != index[key][0] and first >= reached, key
            reached = first + size
        assert reached <= index["fcn32s/transpose_conv.weight"][0]


def test_places_are_fixed_for_a_submission_and_others_for_another_or_under_another_secret():
    index = trunk()
    places = copying._places(grading("a"), index)
    assert places == copying._places(grading("a"), index)
    for other in (copying._places(grading("b"), index), copying._places(grading("a", "t"), index)):
        assert all(other[key] != places[key] for key in KEYS)


def test_a_copy_must_agree_in_more_samples_than_are_asked_for():
    looked_at = copying._indices(grading("a"), trunk())
    assert list(looked_at) == KEYS and sum(len(set(where.tolist())) for where in looked_at.values()) > LEAST["copy"]


def test_a_file_that_hides_nothing_is_the_graders_fault():
    index = {key: (8 * place, [8]) for place, key in enumerate(KEYS)} | {SPARE: (0, [0])}
    with pytest.raises(GraderFault, match="none to spare"):
        copying._places(grading("a"), index)
