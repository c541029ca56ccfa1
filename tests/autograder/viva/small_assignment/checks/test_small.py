"""Checks of the small assignment: they ask as those of the kit's assignments do."""

import numpy as np

from autograder.judge.checking import check
from segkit.layer import Layer

LAYERS = [Layer("conv", "Conv2d", {"in_channels": 3, "out_channels": 3, "kernel_size": 1}), Layer("drop", "Dropout", {"p": 0.5})]
WEIGHTS = {"conv.weight": np.eye(3, dtype=np.float32)[:, :, None, None], "conv.bias": np.zeros(3, np.float32)}


def maps(rng, n_class):
    """Prediction and truth, with pixels that do not count."""
    pred, gt = rng.integers(0, n_class, (19, 23)), rng.integers(0, n_class, (19, 23))
    pred = np.where(rng.random(gt.shape) < 0.5, gt, pred)
    gt[0, 1] = gt[5, 5] = gt[18, 22] = 255
    return pred, gt


@check("confusion")
def test_pixels_are_counted(student, grading):
    rng = grading.own_rng("confusion")
    for n_class in (4, 5):
        found = student.call("confusion_matrix", *maps(rng, n_class), n_class)
        if not isinstance(found, np.ndarray):
            grading.lose(cause="small.wrong", message="expected an array")


@check("iou")
def test_mean_iou(student, grading):
    rng = grading.own_rng("iou")
    for _ in range(2):
        student.call("mean_iou", *maps(rng, 4))


@check("net")
def test_scores(student, grading):
    rng = grading.own_rng("net")
    handle = student.build("SmallFCN", n_class=3)
    weights = {}
    for key, shape in student.shapes(handle).items():
        weights[key] = rng.normal(0, 1, shape).astype(np.float32)
    student.load(handle, weights)
    student.forward(handle, rng.standard_normal((2, 3, 41, 37)).astype(np.float32))
    student.forward(handle, rng.standard_normal((1, 3, 41, 37)).astype(np.float32), train=True, seed=3)
    student.forget(handle)


@check("step")
def test_step(student, grading):
    rng = grading.own_rng("step")
    images = rng.standard_normal((2, 3, 6, 7)).astype(np.float32)
    labels = rng.integers(0, 3, (2, 6, 7))
    labels[0, :2] = 255
    weights = {key: value.copy() for key, value in WEIGHTS.items()}
    student.take_steps("train_step", [("@network", "@optimizer", images, labels)] * 2, LAYERS, weights, {"lr": 0.1})
