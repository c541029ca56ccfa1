"""Runs of the fast recipe on small stand-ins, shared by the tests of training."""

import dataclasses
import math

import torch
from course_items import N, facades, net

from segkit.precision import choose_precision
from segkit.reference import confusion_matrix, scores
from segkit.training import RECIPES, TrainConfig, fit
from segkit.training.descent import Descent
from segkit.training.steps import Stepper

CPU = torch.device("cpu")
FAST = {"recipe": "fast", "epochs": 3, "learning_rate": 1e-2, "warmup": 2, "batch_size": 3, "workers": 2, "pad_to": 4}
PLAIN = {"schedule": "plateau", "warmup": 0}


def config(**settings) -> TrainConfig:
    return dataclasses.replace(RECIPES["fast"], **FAST | settings)


def run(root, out, model=None, train=None, *, resume=False, progress=False, every=600.0, after_epoch=None, device="cpu", **settings):
    model = model or net()
    history = fit(
        model, train or facades(root), facades(root, 3, start=9), config=config(**settings), out=out, device=device,
        confusion_matrix=confusion_matrix, scores=scores, resume=resume, progress=progress, resume_every=every,
        after_epoch=after_epoch,
    )  # fmt: skip
    return model, history


def stepper(model, pairs, say=print, **settings):
    precision = choose_precision(CPU, "float32")
    return Stepper(model, Descent(model, config(**settings), precision, 10), pairs, N, CPU, say)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def poison(model, at):
    """Make the forward pass of training step ``at`` return NaN."""
    steps = []

    def spoil(module, images, logits):
        steps.append(module.training)
        return logits * math.nan if module.training and sum(steps) == at else None

    return model.register_forward_hook(spoil)
