"""Checks of notebooks 3 and 4: layers, shapes and values of the networks, and the gates."""

import numpy as np
import pytest

from autograder.assignments.satellite import measuring
from autograder.assignments.satellite.fusing import judge_fused
from autograder.assignments.satellite.networks import CLASSIFIER, FCN8S, FCN16S, FCN32S
from autograder.judge.checking import check
from autograder.segmentation import gate, judging
from autograder.segmentation.hints import NETWORK_HINTS, explained
from autograder.segmentation.network import Network
from segkit.datasets.satellite import SPEC


def networks(kind):
    """One test for each network, marked with its own check id."""
    return pytest.mark.parametrize("spec", [pytest.param(s, marks=check(f"{s.name}.{kind}"), id=s.name) for s in (FCN32S, FCN16S, FCN8S)])


@networks("layers")
def test_layers_are_those_of_the_notebook(student, grading, spec):
    network = Network(student, grading, spec)
    with explained(spec.class_name, NETWORK_HINTS):
        judging.judge_layers(network)
        judging.judge_initial_weights(network)


@networks("shapes")
def test_output_has_one_score_per_class_and_pixel(student, grading, spec):
    with explained(spec.class_name, NETWORK_HINTS):
        judging.judge_shapes(Network(student, grading, spec))


@networks("forward")
def test_values_are_those_of_the_reference(student, grading, spec):
    network, seed = Network(student, grading, spec), int(grading.rng("dropout").integers(2**31))
    try:
        with explained(spec.class_name, NETWORK_HINTS):
            if spec.graph is None:
                judge_fused(network, seed)
            else:
                judging.judge_values(network)
                judge_place(network)
                judging.judge_dropout(network, seed)
    finally:
        network.forget()  # also of a forward that fails: the next network needs the memory


def judge_place(network):
    """The output lies on the picture. Values are compared wherever a crop begins, and another padding or kernel needs one."""
    found = network.measurement()
    if found is None or not found.exact:
        return  # judge_values said why
    expected = place(network.found_settings())
    if found.offsets.get("output", expected) != expected:
        dy, dx = (there - here for there, here in zip(expected, found.offsets["output"], strict=True))
        text = (f"Expected the output to lie on the picture, but it lies (dy, dx) = ({dy:+d}, {dx:+d}) pixels off. Likely cause: a crop in "
                "forward. With the layers of the notebook nothing is padded, and the sizes fit without one.")  # fmt: skip
        network.grading.lose("values", cause="crop.shift", message=text, measured={"dy": dy, "dx": dx})


def place(settings):
    """Row and column of what FCN-32s' upsampling gives at which the picture begins: where the first cell of the scores looks, all told."""
    centre, stride = np.full(2, 0.5), np.ones(2)  # of a cell in pixels of the picture, and from one cell to the next
    for name, layer in settings.items():
        kernel, padding, step = (np.broadcast_to(layer[key], 2) for key in ("kernel_size", "padding", "stride"))
        if name == "upscore":
            centre = kernel / 2 - padding - centre
        else:
            centre, stride = centre + stride * ((kernel - 1) * layer.get("dilation", 1) / 2 - padding), stride * step
    return tuple(round(float(value)) for value in centre)


@check("classifier.accuracy")
def test_checkpoint_tells_the_pictures_apart(student, grading):
    measuring.judge_accuracy(student, grading, CLASSIFIER)


@check("fcn32s.miou")
def test_checkpoint_segments_the_test_pictures(student, grading):
    gate.judge(student, grading, FCN32S, SPEC)


@check("improved.miou")
def test_fused_network_is_better_than_fcn32s(student, grading):
    measuring.judge_improved(student, grading, (FCN16S, FCN8S), FCN32S)
