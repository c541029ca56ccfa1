"""At the gates: checkpoints that are missing or none, and a network that looks answers up."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list
from segkit.reference.satellite import Classifier

Notebooks = dict[str, dict[str, Any]]
GATES = ("classifier.accuracy", "fcn32s.miou", "improved.miou")
ENTRIES, attack = entry_list("attacks")

LOOKS_UP = """
    def forward(self, x):
        from sklearn.datasets import load_digits

        digits, labels = load_digits(return_X_y=True)
        small = torch.nn.functional.interpolate(x[:, :1], (8, 8), mode="area").flatten(1)
        known = torch.from_numpy((digits / 16 - 0.485) / 0.229).float()
        nearest = torch.cdist(small, known).argmin(1)
        return torch.nn.functional.one_hot(torch.from_numpy(labels)[nearest], 10).float()
"""


class Evil:
    """Unpickling it runs code."""

    def __reduce__(self):
        return eval, ("__import__('os').system('echo evil > /tmp/segkit-exam-evil')",)


@attack(GATES, about="E: no checkpoint at all", lost=dict.fromkeys(GATES, "all"), cause="checkpoint.missing", says="No checkpoint")
def e_no_checkpoints(folder: Path, notebooks: Notebooks) -> None:
    """Nothing is added."""


@attack(GATES, about="E: a pickle in each checkpoint", lost=dict.fromkeys(GATES, "all"), cause="checkpoint.unreadable",
        says="can run any program")  # fmt: skip
def e_pickle_in_a_checkpoint(folder: Path, notebooks: Notebooks) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("classifier", "fcn32s", "fcn8s"):
        torch.save(Evil(), folder / "checkpoints" / f"{name}.pth")


@attack(("classifier.accuracy",), about="E: a forward that looks scikit-learn's digits up: the weights alone count",
        lost={"classifier.accuracy": "all"}, cause="gate.accuracy", says="of 10 classes")  # fmt: skip
def e_digits_looked_up(folder: Path, notebooks: Notebooks) -> None:
    notebook, position = solution_cell(notebooks, "classifier")
    notebook["cells"][position]["source"] += LOOKS_UP
    with torch.device("meta"):
        shapes = {key: list(value.shape) for key, value in Classifier(10).state_dict().items()}
    header, end = {}, 0
    for key, shape in shapes.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        header[key] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    (folder / "checkpoints").mkdir(parents=True)
    with (folder / "checkpoints" / "classifier.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)  # all weights 0, and a hole: it takes no room
