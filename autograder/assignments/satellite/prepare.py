"""What the assignment ``satellite`` needs once per run: hidden weights, and the pictures of the gate."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from autograder.assignments.satellite.networks import CLASSIFIER, FCN8S, FCN16S, FCN32S, own_layers
from autograder.course.rubric import Rubric
from autograder.course.seeds import Seeds
from autograder.judge.run import GateData
from autograder.segmentation import probe
from autograder.segmentation.gate_data import gate_data
from segkit.datasets.satellite import SPEC
from segkit.pictures import PHOTOGRAPHS, names_in
from segkit.reference.satellite import read_mask

__all__ = ["assignment_file", "numbers", "open_data", "open_pictures", "write_weights"]


def assignment_file(rubric: Rubric) -> dict[str, Any]:
    """Content of the students' ``assignment.json``: the course's rule of unknown pixels too."""
    return rubric.facts | {"unknown": rubric.settings["unknown"]}


def numbers(rubric: Rubric) -> dict[str, int]:
    """For notebooks and the exam: truth counts where its id is under ``counted``; by the other rule, under ``counted_otherwise``."""
    counted = {"left out": 6, "wrong": 256}
    if rubric.settings["unknown"] not in counted:
        raise ValueError(f"expected unknown = {' or '.join(map(repr, counted))}, found {rubric.settings['unknown']!r}")
    found = counted[rubric.settings["unknown"]]
    return {"counted": found, "counted_otherwise": sum(counted.values()) - found}


def write_weights(path: Path, seeds: Seeds, rubric: Rubric) -> dict[str, tuple[int, list[int]]]:
    """Write the hidden weights to one flat file of float32, and return its index; all networks share the trunk and head of FCN-32s."""
    n_class = rubric.settings["probe_classes"]
    fused = [replace(spec, layers=partial(own_layers, spec)) for spec in (FCN16S, FCN8S)]
    index = probe.write_weights(path, probe.probe_weights(seeds, [FCN32S, *fused], n_class))
    shared = {
        spec.canonical(layer.path, kind): index[f"{layer.path.removeprefix('vgg.')}.{kind}"]
        for spec in (CLASSIFIER, FCN16S, FCN8S) for layer in spec.layers(n_class, {}) for kind in ("weight", "bias")
        if f"{layer.path.removeprefix('vgg.')}.{kind}" in index
    }  # fmt: skip
    return shared | index


def open_data(source: str | None, rubric: Rubric, own: bool) -> GateData:
    """Open the test list of the gate, or all pictures of ``validation/`` where they are the instructor's own.

    Raises:
        LookupError, OSError, ValueError: There is none, or pictures of it are missing.
    """
    return gate_data(SPEC, source, read_mask, _own_names if own else None)


def open_pictures(source: str | None, rubric: Rubric, own: bool) -> GateData:
    """The same without labels, which are not read and need not be there."""
    return gate_data(SPEC, source, None, _own_names if own else None)


def _own_names(root: Path) -> list[str]:
    return [f"validation_{name.removesuffix('_sat')}" for name in names_in(root / "validation", PHOTOGRAPHS)]


torch.set_num_threads(1)  # reference outputs must not depend on how many cores a judge has
