"""What the assignment ``fcn`` needs once per run: the students' numbers, hidden weights, and the pictures of the gates."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from autograder.assignments.fcn.networks import NETWORKS
from autograder.course.rubric import Rubric
from autograder.course.seeds import Seeds
from autograder.judge.retraining import WEIGHTS
from autograder.judge.run import GateData
from autograder.judge.student import Student
from autograder.segmentation import probe
from autograder.segmentation.gate_data import gate_data, root_and_split
from segkit.datasets import demand_one_size
from segkit.datasets.facades import SPEC
from segkit.pictures import LABELS, PHOTOGRAPHS, names_in
from segkit.reference import read_label
from segkit.upsampling import crop_offsets

__all__ = [
    "SPEC", "assignment_file", "begin_training", "numbers", "open_data", "open_pictures", "write_training", "write_weights",
]  # fmt: skip


def assignment_file(rubric: Rubric) -> dict:
    """Content of the students' ``assignment.json``."""
    padding = rubric.settings["padding"]
    return rubric.facts | {"padding": padding, "crops": crop_offsets(padding)}


def numbers(rubric: Rubric) -> dict:
    """What texts of the notebooks may name beside the rubric's own numbers: the crops that follow from the padding, the classes."""
    return {"crops": crop_offsets(rubric.settings["padding"]), "n_class": SPEC.n_class}


def write_weights(path: Path, seeds: Seeds, rubric: Rubric) -> dict[str, tuple[int, list[int]]]:
    """Write the hidden weights to one flat file of float32, and return its index."""
    return probe.write_weights(path, probe.probe_weights(seeds, NETWORKS.values(), rubric.settings["probe_classes"]))


def open_data(source: str | None, rubric: Rubric, own: bool) -> GateData:
    """Open the test list of a gate: the split that the folder allows, or the instructor's own pictures.

    Raises:
        LookupError, OSError, ValueError: If there is none, or pictures of it are missing.
    """
    return gate_data(SPEC, source, read_label, partial(_names, LABELS) if own else None)


def open_pictures(source: str | None, rubric: Rubric, own: bool) -> GateData:
    """Open the same pictures without their labels, which need not be there."""
    return gate_data(SPEC, source, None, partial(_names, PHOTOGRAPHS) if own else None)


def _names(endings: tuple[str, ...], root: Path) -> tuple[str, ...]:
    """Names of the instructor's own pictures, which lie in ``base/``."""
    return tuple(names_in(root / "base", endings))


def write_training(folder: Path, source: str | None, rubric: Rubric) -> list[str]:
    """Write the training list of the gate's split: photographs, and labels as numbers 0..11 with 255 for unknown."""
    root, split = root_and_split(SPEC, source)
    names = SPEC.split_names(split, "train")
    for name in names:
        photo, label = SPEC.image_path(folder, name), SPEC.label_path(folder, name)
        photo.parent.mkdir(parents=True, exist_ok=True)
        demand_one_size(SPEC, SPEC.image_path(root, name), SPEC.label_path(root, name))
        shutil.copyfile(SPEC.image_path(root, name), photo)
        Image.fromarray(read_label(SPEC.label_path(root, name)).numpy().astype(np.uint8)).save(label)
    return list(names)


def begin_training(student: Student, handle: str) -> None:
    """Copy VGG-16 into a network with the student's own function."""
    vgg16 = student.build("torchvision.models:vgg16", meta=True)
    student.load_checkpoint(vgg16, WEIGHTS)
    name = "copy_params_from_vgg16"
    if student.owner(name) is not None:
        student.method(handle, name, vgg16)
    else:
        student.call(name, handle, vgg16)
    student.forget(vgg16)


torch.set_num_threads(1)  # reference outputs must not depend on how many cores a judge has
