"""Small networks of two kinds and their specifications: a chain with a skip, and a decoder over a backbone that is handed to it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import nn

from autograder.course.rubric import CheckRubric
from autograder.course.seeds import Seeds
from autograder.judge.array_cache import ArrayCache
from autograder.judge.checking import CheckResult, Grading
from autograder.judge.student import Student
from autograder.segmentation.network import Network
from autograder.segmentation.probe import probe_weights, write_weights
from autograder.segmentation.spec import Graph, NetworkSpec, Part, Skip, Upsampling
from segkit.layers import Layer, describe
from segkit.notebooks import Workbook
from segkit.notebooks.reading import Cell, Document
from segkit.subject import LocalSubject, StudentError, WeightFile

SEEDS, CLASSES = Seeds("a fixed secret"), 5

CHAIN = """
from torch import nn

class Chain(nn.Module):
    def __init__(self, n_class=4):
        super().__init__()
        self.first, self.down1 = nn.Conv2d(3, 4, 3, padding=20), nn.MaxPool2d(2, ceil_mode=True)
        self.second, self.down2 = nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True)
        self.wide, self.wider = nn.Conv2d(6, 128, 3), nn.Conv2d(128, 128, 1)
        self.relu, self.drop = nn.ReLU(), nn.Dropout2d(0.5)
        self.coarse, self.fine = nn.Conv2d(128, n_class, 1), nn.Conv2d(4, n_class, 1)
        self.twice = nn.ConvTranspose2d(n_class, n_class, 4, stride=2, bias=False)
        self.back = nn.ConvTranspose2d(n_class, n_class, 4, stride=2, bias=False)

    def forward(self, x):
        half = self.down1(self.relu(self.first(x)))
        h = self.down2(self.relu(self.second(half)))
        h = self.drop(self.relu(self.wide(h)))
        h = self.drop(self.relu(self.wider(h)))
        h = self.twice(self.coarse(h))
        h = h + self.fine(half)[:, :, 1 : 1 + h.shape[2], 1 : 1 + h.shape[3]]
        return self.back(h)[:, :, 17 : 17 + x.shape[2], 17 : 17 + x.shape[3]]
"""

DECODER = """
import torch
from torch import nn

class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )

    def forward(self, x):
        x1 = self.features[:4](x)
        return {"x1": x1, "x2": self.features[4:](x1)}
"""
HEAD = """
from torch import nn

class Decoder(nn.Module):
    def __init__(self, backbone, n_class=4):
        super().__init__()
        self.backbone = backbone
        self.up1, self.norm1 = nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(8)
        self.up2, self.norm2 = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(6)
        self.classifier = nn.Conv2d(6, n_class, 1)

    def forward(self, x):
        maps = self.backbone(x)
        h = self.norm1(nn.functional.relu(self.up1(maps["x2"])) + maps["x1"])
        return self.classifier(self.norm2(nn.functional.relu(self.up2(h))))
"""


def made(name: str, *sources: str) -> type[nn.Module]:
    """The class that some source defines, in this process."""
    names: dict[str, Any] = {}
    for source in sources:
        exec(source, names)
    return names[name]


def table(build: Callable[[int], nn.Module]) -> Callable[[int, Mapping], list[Layer]]:
    return lambda n_class, settings: describe(build(n_class))


def decoder(n_class: int) -> nn.Module:
    return made("Decoder", HEAD)(made("Backbone", DECODER)(), n_class)


SKIP = Skip("half", "down1", "fine")
GRAPH = Graph(("first", "down1", "second", "down2"), frozenset({"down1", "down2"}), ("down1",), ("wide", "wider"), "coarse",
              (Upsampling("twice", SKIP), Upsampling("back")), lambda settings: {"output": 17, "half": 1})  # fmt: skip
CHAIN_SPEC = NetworkSpec("chain", "Chain", table(made("Chain", CHAIN)), (23,), (18,), n_class=4, graph=GRAPH, bilinear=False)
DECODER_SPEC = NetworkSpec("decoder", "Decoder", table(decoder), (24,), (36,), n_class=4, parts=(Part("Backbone", "backbone"),),
                           reference=decoder, bilinear=False)  # fmt: skip
BACKBONE_SPEC = NetworkSpec("backbone", "Backbone", table(lambda n_class: made("Backbone", DECODER)()), (24,), (36,),
                            reference=lambda n_class: made("Backbone", DECODER)(), maps=("x1", "x2"))  # fmt: skip


def network(spec: NetworkSpec, folder: Path, *sources: str) -> Network:
    """A student's network under the probe, in this process; one cell for each source."""
    index = write_weights(folder / "weights.bin", probe_weights(SEEDS, [spec], CLASSES))
    cells = [Cell("1_work.ipynb", number, source, None) for number, source in enumerate(sources, start=1)]
    subject = LocalSubject(folder, WeightFile(folder / "weights.bin", index))
    student = Student(Workbook([Document("1_work.ipynb", cells)], {}), subject)
    rubric = SimpleNamespace(settings={"probe_classes": CLASSES}, aliases={})
    context = SimpleNamespace(rubric=rubric, run=SimpleNamespace(weight_index=index), weights_file=folder / "weights.bin",
                              cache=ArrayCache(folder / "cache"))  # fmt: skip
    return Network(student, Grading(_check(spec, ()), SEEDS, context, student), spec)


def _check(spec: NetworkSpec, parts: tuple[str, ...]) -> CheckRubric:
    return CheckRubric(spec.name, "", float(len(parts) or 1), dict.fromkeys(parts or ("all",), 1.0))


def verdict(network: Network, judge: Callable[..., None], *parts: str, **more: Any) -> CheckResult:
    """What one judgement says of a network."""
    network.grading.check, network.grading.faults, network.grading.notes = _check(network.spec, parts), [], []
    try:
        judge(network, **more)
    except StudentError as error:
        return CheckResult(network.spec.name, 0.0, float(len(parts)), "not_earned", error.cause, message=str(error))
    return network.grading.result()
