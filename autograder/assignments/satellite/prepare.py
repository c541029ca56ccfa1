"""What the assignment ``satellite`` needs once per run: hidden weights, and the pictures of the gate."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from autograder.assignments.satellite.networks import FCN32S
from autograder.course.rubric import Rubric
from autograder.course.seeds import Seeds
from autograder.judge.run import GateData
from autograder.segmentation import probe
from segkit.datasets import PairDataset
from segkit.datasets.satellite import SPEC
from segkit.pictures import PHOTOGRAPHS, names_in
from segkit.reference.satellite import read_mask

__all__ = ["open_data", "write_weights"]


def write_weights(path: Path, seeds: Seeds, rubric: Rubric) -> dict[str, tuple[int, list[int]]]:
    """Write the hidden weights to one flat file of float32, and return its index."""
    return probe.write_weights(path, probe.probe_weights(seeds, [FCN32S], rubric.settings["probe_classes"]))


def open_data(source: str | None, rubric: Rubric, own: bool) -> GateData:
    """Open the test list of the gate, or all pictures of ``validation/`` where they are the instructor's own.

    Raises:
        LookupError, OSError, ValueError: There is none, or pictures of it are missing.
    """
    root = SPEC.find_root(source)
    split = "own" if own else SPEC.split_of(root)
    names = _own_names(root) if own else SPEC.split_names(split, "test")
    pairs = PairDataset(SPEC, root, read_label=read_mask, names=names)
    files = tuple(path for name in pairs.names for path in (SPEC.image_path(root, name), SPEC.label_path(root, name)))
    digest = hashlib.sha256("".join(pairs.names).encode() + b"".join(path.read_bytes() for path in files)).hexdigest()
    place = {name: number for number, name in enumerate(pairs.names)}

    def photo(name: str) -> np.ndarray:
        return pairs.decode(place[name])[0]

    def image(name: str) -> np.ndarray:
        return pairs[place[name]][0].numpy()

    def label(name: str) -> np.ndarray:
        return pairs[place[name]][1].numpy()

    def size(name: str) -> tuple[int, int]:
        return pairs.size(place[name])

    source_name = {"sample": "embedded sample", "own": "the instructor's own pictures"}.get(split, SPEC.title)
    return GateData(source_name, split, pairs.names, photo, image, label, digest, size, files)


def _own_names(root: Path) -> list[str]:
    return [f"validation_{name.removesuffix('_sat')}" for name in names_in(root / "validation", PHOTOGRAPHS)]


torch.set_num_threads(1)  # reference outputs must not depend on how many cores a judge has
