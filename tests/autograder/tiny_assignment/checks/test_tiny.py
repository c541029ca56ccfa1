"""Checks of the tiny assignment."""

import numpy as np

from autograder.judge.checking import check
from autograder.judge.gates import gate_points_lost, predictions
from segkit.subject import WeightFile


@check("net.accuracy")
def test_dots_are_found(student, grading):
    maps, data, limits = predictions(student, grading, "DotNet", "dots"), grading.context.data, grading.check.settings
    share = float(np.mean([(maps[name] == data.label(name)).mean() for name in data.names]))
    grading.context.predictions[grading.check.id] = maps
    grading.context.colours = [(0, 0, 0), (255, 255, 255), (9, 9, 9)]
    if lost := gate_points_lost(share, limits["full"], limits["zero"]):
        grading.lose(cause="gate.low", message=f"expected 0.90, got {share:.2f}", measured={"accuracy": share}, share=lost)


@check("double")
def test_values_are_doubled(student, grading):
    values = grading.own_rng("double").integers(1, 100, 7)
    found = student.call("double", values)
    assert isinstance(found, np.ndarray), "double: expected an array"
    if not np.array_equal(found, 2 * values):
        grading.lose("values", cause="double.wrong", message="double: expected every value twice", measured={"n": 7})
    if found.dtype != values.dtype:
        grading.lose("dtype", cause="double.dtype", message="double: expected the dtype kept")


@check("net.forward")
def test_scores_are_those_of_the_weights(student, grading):
    weights = WeightFile(grading.context.weights_file, grading.context.run.worker_settings().weight_index)
    x = grading.rng("x").standard_normal((2, 3, 5, 4)).astype(np.float32)
    handle = student.build("DotNet", n_class=2)
    assert {"conv.weight", "conv.bias"} <= set(student.shapes(handle)), "DotNet: expected a convolution with the name conv"
    student.load(handle, {"conv.weight": "conv.weight"}, zero=["conv.bias"])
    expected = np.einsum("oc,nchw->nohw", weights["conv.weight"].numpy()[:, :, 0, 0], x)
    assert np.allclose(student.forward(handle, x), expected, atol=1e-5), "DotNet: expected the convolution's scores"
