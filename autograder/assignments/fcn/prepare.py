"""What the assignment ``fcn`` needs once per run: the students' numbers, hidden weights, and the pictures of the gates."""

import hashlib
import shutil
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
from segkit.datasets import demand_one_size
from segkit.datasets.facades import SPEC
from segkit.pictures import LABELS, PHOTOGRAPHS, names_in, open_photograph, photograph_size
from segkit.reference import read_label
from segkit.transforms import IMAGENET_MEAN, IMAGENET_STD
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


def _list(source: str | None, own: bool, labels: bool) -> tuple[Path, str, tuple[str, ...]]:
    """Root, split and names of the pictures a gate is measured on."""
    root = SPEC.find_root(source)
    if own:
        names = tuple(names_in(root / "base", LABELS if labels else PHOTOGRAPHS))
        return root, "own", names
    if source == "sample":
        return root, "sample", SPEC.split_names("sample", "test")
    if source is None and not SPEC.image_path(root, "cmp_b0001").is_file():
        raise LookupError("no facades were found; give --data CMP_ROOT, or --data sample for the embedded sample")
    split = "course" if (root / "extended").is_dir() else "base"
    return root, split, SPEC.split_names(split, "test")


def open_data(source: str | None, rubric: Rubric, own: bool) -> GateData:
    """Open the test list of a gate: the split that the folder allows, or the instructor's own pictures.

    Raises:
        LookupError, OSError, ValueError: If there is none, or pictures of it are missing.
    """
    return _open(source, own, labels=True)


def open_pictures(source: str | None, rubric: Rubric, own: bool) -> GateData:
    """Open the same pictures without their labels, which need not be there."""
    return _open(source, own, labels=False)


def write_training(folder: Path, source: str | None, rubric: Rubric) -> list[str]:
    """Write the training list of the gate's split: photographs, and labels as numbers 0..11 with 255 for unknown."""
    root, split, _ = _list(source, False, labels=True)
    names = SPEC.split_names(split, "train")
    for name in names:
        photo, label = SPEC.image_path(folder, name), SPEC.label_path(folder, name)
        photo.parent.mkdir(parents=True, exist_ok=True)
        demand_one_size(SPEC.image_path(root, name), SPEC.label_path(root, name))
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


def _open(source: str | None, own: bool, labels: bool) -> GateData:
    root, split, names = _list(source, own, labels)
    files = {name: [SPEC.image_path(root, name), *([SPEC.label_path(root, name)] if labels else [])] for name in names}
    missing = [name for name, paths in files.items() if not all(path.is_file() for path in paths)]
    if missing or not names:
        raise LookupError(
            f"the test list of split {split} is incomplete below the data folder: {len(missing)} of {len(names)} "
            f"{'pairs' if labels else 'pictures'} are missing ({', '.join(missing[:3])}); run `python -m segkit data verify`"
        )
    digest = hashlib.sha256()
    for name, paths in files.items():
        if labels:
            demand_one_size(paths[0], paths[1])
        digest.update(name.encode() + b"".join(path.read_bytes() for path in paths))

    def photo(name: str) -> np.ndarray:
        return open_photograph(SPEC.image_path(root, name))  # (H, W, 3)

    def image(name: str) -> np.ndarray:
        scaled = (photo(name).astype(np.float32) / 255 - np.asarray(IMAGENET_MEAN, np.float32)) / np.asarray(IMAGENET_STD, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1).astype(np.float32))  # (3, H, W)

    def label(name: str) -> np.ndarray | None:
        return read_label(SPEC.label_path(root, name)).numpy() if labels else None  # (H, W)

    def size(name: str) -> tuple[int, int]:
        return photograph_size(SPEC.image_path(root, name))

    source_name = {"sample": "embedded sample", "own": "the instructor's own facades"}.get(split, SPEC.title)
    return GateData(source_name, split, names, photo, image, label, digest.hexdigest(), size, sum(map(tuple, files.values()), ()))


torch.set_num_threads(1)  # reference outputs must not depend on how many cores a judge has
