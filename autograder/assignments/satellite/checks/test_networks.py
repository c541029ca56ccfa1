"""Checks of notebooks 3 and 4: layers, shapes and values of the networks, and the gates."""

import numpy as np
import pytest

from autograder.assignments.satellite import measuring
from autograder.assignments.satellite.fusing import judge_fused
from autograder.assignments.satellite.hints import HINTS
from autograder.assignments.satellite.networks import CLASSIFIER, FCN8S, FCN16S, FCN32S
from autograder.judge.checking import check
from autograder.segmentation import gate, judging
from autograder.segmentation.hints import explained
from autograder.segmentation.network import Network
from segkit.datasets.satellite import SPEC


def networks(kind):
    """One test for each network, marked with its own check id."""
    return pytest.mark.parametrize("spec", [pytest.param(s, marks=check(f"{s.name}.{kind}"), id=s.name) for s in (FCN32S, FCN16S, FCN8S)])


@networks("layers")
def test_layers_are_those_of_the_notebook(student, grading, spec):
    network = Network(student, grading, spec)
    with explained(spec.class_name, HINTS):
        judging.judge_layers(network)
        judging.judge_initial_weights(network)


@networks("shapes")
def test_output_has_one_score_per_class_and_pixel(student, grading, spec):
    with explained(spec.class_name, HINTS):
        judging.judge_shapes(Network(student, grading, spec))


@networks("forward")
def test_values_are_those_of_the_reference(student, grading, spec):
    network, seed = Network(student, grading, spec), int(grading.rng("dropout").integers(2**31))
    try:
        with explained(spec.class_name, HINTS):
            if spec.graph is None:
                judge_fused(network, seed)
            else:
                judging.judge_values(network)
                judge_place(network)
                judging.judge_dropout(network, seed)
    finally:
        network.forget()  # also of a forward that fails: the next network needs the memory


def judge_place(network):
    """The output lies on the picture: nothing is padded, so nothing is cropped. Values are compared wherever a crop begins."""
    found = network.measurement()
    if found is None or not found.exact:
        return  # judge_values said why
    kernel = network.found_settings()["fc6"]["kernel_size"]
    centred = 16 * (2 - int(np.max(kernel)))  # where a head of another kernel lies on the picture; its layer is charged already
    offset = found.offsets.get("output", (0, 0))
    if offset not in ((0, 0), (centred, centred)):
        text = (f"Expected the output to lie on the picture, but it begins at row {offset[0]}, column {offset[1]} of what the upsampling "
                "gives. Likely cause: a crop in forward. Nothing is padded here, so the sizes fit without one.")  # fmt: skip
        network.grading.lose("values", cause="crop.shift", message=text, measured={"found": list(offset)})


@check("classifier.accuracy")
def test_checkpoint_tells_the_pictures_apart(student, grading):
    measuring.judge_accuracy(student, grading, CLASSIFIER)


@check("fcn32s.miou")
def test_checkpoint_segments_the_test_pictures(student, grading):
    gate.judge(student, grading, FCN32S, SPEC)


@check("improved.miou")
def test_fused_network_is_better_than_fcn32s(student, grading):
    measuring.judge_improved(student, grading, (FCN16S, FCN8S), FCN32S)
