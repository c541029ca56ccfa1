"""Checks of notebook 3: the copy of VGG-16's parameters, and the gates of both networks."""

import pytest

from autograder.assignments.fcn import copying
from autograder.assignments.fcn.hints import COPY_HINTS, explained
from autograder.assignments.fcn.networks import NETWORKS
from autograder.judge.checking import check
from autograder.segmentation import gate
from segkit.datasets.facades import SPEC


@check("pretraining.copy")
def test_vgg16_is_copied_by_value(student, grading):
    with explained("copy_params_from_vgg16", COPY_HINTS, student):
        copying.judge(student, grading)


@pytest.mark.parametrize(
    "network", [pytest.param("fcn32s", marks=check("pretraining.miou")), pytest.param("fcn8s", marks=check("fcn8s.miou"))]
)
def test_checkpoint_segments_the_test_pictures(student, grading, network):
    gate.judge(student, grading, NETWORKS[network], SPEC)
