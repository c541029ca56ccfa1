"""What is said of an output that is too large: of a crop only where the network has one."""

from types import SimpleNamespace

import pytest

from autograder.segmentation.judging import judge_size
from segkit.student_errors import StudentError


class Told:
    """A network whose layers cannot be had, and what is said of it."""

    def __init__(self, offsets):
        self.offsets, self.said = offsets, []
        self.grading = SimpleNamespace(lose=lambda part, message, **more: self.said.append(message))

    def match(self):
        raise StudentError("no layers")


@pytest.mark.parametrize(("offsets", "crops"), [({"output": (19, 19)}, True), ({"output": (0, 0)}, False), ({}, False)])
def test_a_crop_is_missed_only_where_there_is_one(offsets, crops):
    network = Told(offsets)
    judge_size(network, (224, 224), (160, 96), (160, 96))
    assert ["not cropped" in text for text in network.said] == [crops], network.said
