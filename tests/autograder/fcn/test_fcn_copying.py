"""Where the copy of VGG-16's parameters is found, and on what it is tried, with the real worker."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from course_code import changed, solution

from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import cell, notebook

pytestmark = pytest.mark.slow
CHECKS = ("fcn32s.layers", "fcn32s.shapes", "fcn32s.crop", "fcn32s.forward", "pretraining.copy")

COPY = """
    def copy_params_from_vgg16(self, vgg16):
        mine = [m for n, m in self.named_modules() if isinstance(m, nn.Conv2d) and n.split(".")[-1] != "score"]
        theirs = [m for m in vgg16.modules() if isinstance(m, (nn.Conv2d, nn.Linear))][:-1]
        for a, b in zip(mine, theirs):
            a.weight.data.copy_(b.weight.data.view(a.weight.shape))
            a.bias.data.copy_(b.bias.data)
"""
STATIC = COPY.replace("    def", "    @staticmethod\n    def").replace("self", "model")
OTHER = "class FCN8s(nn.Module):\n    def copy_params_from_vgg16(self, vgg16):\n        self.decoder.load(vgg16)\n"
BEGIN = "        super().__init__()\n"
CANNOT_BE_BUILT = changed("fcn32s", (BEGIN, f"{BEGIN}        self.names = open('names.txt').read()\n"))
READS_A_FILE = changed("fcn32s", (BEGIN, f"{BEGIN}        self.start = torch.load('weights/vgg16-397923af.pth')\n"))
FETCHES = changed("fcn32s", (BEGIN, f"{BEGIN}        self.vgg = [torchvision.models.vgg16(weights='DEFAULT')]\n"))
CASES = {
    "methods of two classes": [(solution("fcn32s") + COPY, "fcn32s"), (OTHER, "fcn8s")],
    "a method of a class that cannot be built": [(CANNOT_BE_BUILT + COPY, "fcn32s")],
    "a staticmethod of a class that cannot be built": [(CANNOT_BE_BUILT + STATIC, "fcn32s")],
    "a class that keeps a fetched VGG-16": [("import torchvision\n" + FETCHES, "fcn32s"), (solution("copy_vgg16"), "copy_vgg16")],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Run]:
    settings = Settings("fcn", tmp_path_factory.mktemp("out"), secret="a fixed secret", device="cpu", data="sample",
                        only=CHECKS)  # fmt: skip
    with Run.create(settings) as run:
        yield run


def graded(run: Run, folder: Path, *cells: tuple[str, str], only: tuple[str, ...] = ("pretraining.copy",)) -> list[dict]:
    """Grade a notebook of these cells: source and grade id of each."""
    notebook(folder / "work.ipynb", *(cell(source, grade_id) for source, grade_id in cells))
    object.__setattr__(run.settings, "only", only)
    return grade_path(run, folder, "alice")["checks"]


@pytest.mark.parametrize("name", CASES)
def test_a_copy_earns_its_points_wherever_it_stands(run, tmp_path, name):
    (check,) = graded(run, tmp_path, *CASES[name])
    assert (check["status"], check["points"]) == ("earned", 5.0), json.dumps(check, indent=1)


def test_weights_of_a_file_that_is_not_there_leave_room_for_the_copy(run, tmp_path):
    """The network of the earlier checks holds them too."""
    checks = graded(run, tmp_path, ("import torch\n" + READS_A_FILE + STATIC, "fcn32s"), only=CHECKS)
    assert {check["id"]: check["status"] for check in checks} == dict.fromkeys(CHECKS, "earned"), json.dumps(checks, indent=1)


def test_memory_that_a_network_keeps_is_its_own_fault_and_told_without_a_path(run, tmp_path):
    greedy = changed("fcn32s", (BEGIN, f"{BEGIN}        self.more = [torch.ones(2**28) for _ in range(2)]\n"))
    (check,) = graded(run, tmp_path, ("import torch\n" + greedy + STATIC, "fcn32s"))
    assert check["status"] == "earned" or check["cause"] == "code.memory", check["message"]
    assert "/tmp" not in check["message"] and "grader" not in check["message"]
