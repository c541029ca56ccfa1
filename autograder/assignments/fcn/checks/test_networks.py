"""Checks of the networks: layers, shapes, crops, values."""

import pytest

from autograder.assignments.fcn.hints import NETWORK_HINTS, explained
from autograder.assignments.fcn.networks import NETWORKS
from autograder.judge.checking import check
from autograder.segmentation import judging
from autograder.segmentation.network import Network


def networks(kind):
    """One test for each network, marked with its own check id."""
    return pytest.mark.parametrize("name", [pytest.param(n, marks=check(f"{n}.{kind}")) for n in NETWORKS])


@networks("layers")
def test_layers_are_those_of_the_paper(student, grading, name):
    network = Network(student, grading, NETWORKS[name])
    with explained(network.spec.class_name, NETWORK_HINTS):
        judging.judge_layers(network)
        judging.judge_initial_weights(network)


@networks("shapes")
def test_output_has_one_score_per_class_and_pixel(student, grading, name):
    network = Network(student, grading, NETWORKS[name])
    with explained(network.spec.class_name, NETWORK_HINTS):
        judging.judge_shapes(network)


@networks("crop")
def test_crops_begin_where_they_must(student, grading, name):
    network = Network(student, grading, NETWORKS[name])
    with explained(network.spec.class_name, NETWORK_HINTS):
        judging.judge_crops(network)


@networks("forward")
def test_values_are_those_of_the_reference(student, grading, name):
    network = Network(student, grading, NETWORKS[name])
    try:
        with explained(network.spec.class_name, NETWORK_HINTS):
            judging.judge_values(network)
            judging.judge_dropout(network, seed=int(grading.rng("dropout").integers(2**31)))
    finally:
        network.forget()  # also of a forward that fails: the next network needs the memory
