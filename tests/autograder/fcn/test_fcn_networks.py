"""Mistakes in the networks, graded with the real worker: exactly the expected checks are lost, and the cause is named.

What the exam's corpus holds (a mistake alone, a usual variant) is not repeated but for one of each kind of cause.
"""

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
CHECKS = {net: tuple(f"{net}.{kind}" for kind in ("layers", "shapes", "crop", "forward")) for net in ("fcn32s", "fcn8s")}
CHECKS["copy_vgg16"] = ("pretraining.copy",)

CROP32 = "h[:, :, 19 : 19 + height, 19 : 19 + width]"
POOL3 = "[:, :, 9 : 9 + rows, 9 : 9 + columns]"
HE = 'nn.init.kaiming_normal_(part.weight, nonlinearity="relu")'

# name: (grade id, edits, {lost check: (cause, points left)}, words that each message must hold)
MISTAKES = {
    "ceil_mode missing": ("fcn32s", [(", ceil_mode=True", "")], {"layers": ("layer.ceil_mode", 4.0), "shapes": ("shape.size", 3)},
     "ceil_mode"),
    "zero trunk": ("fcn32s", [(HE, "nn.init.zeros_(part.weight)")], {"layers": ("weights.zero_trunk", 4.5)}, "cannot learn"),
    "argmax": ("fcn32s", [(CROP32, f"{CROP32}.argmax(1)")], {"shapes": ("shape.argmax", 2), "forward": ("forward.argmax", 0)}, "argmax"),
    "F.dropout at test time and a wrong crop": ("fcn32s", [("self.drop7(self.relu7(self.fc7(h)))",
     "nn.functional.dropout(self.relu7(self.fc7(h)))"),
                                ("19 : 19 + height", "20 : 20 + height")], {"crop": ("crop.unmeasurable", 0),
                                 "forward": ("forward.dropout_eval", 1)}, ""),
    "dropout missing": ("fcn32s", [("self.drop6(self.relu6(self.fc6(h)))", "self.relu6(self.fc6(h))")], {"forward": ("dropout.missing",
     3)}, "none after fc6"),
    "dropout on the scores too": ("fcn32s", [("h = self.score(h)", "h = self.drop7(self.score(h))")], {"forward": ("dropout.extra", 3)},
     "a dropout follows score"),
    "classes in the last dimension": ("fcn32s", [("19 : 19 + width]", "19 : 19 + width].permute(0, 2, 3, 1)")],
     {"shapes": ("shape.order", 1)}, "the classes are in the last dimension"),
    "softmax over the batch": ("fcn32s", [("19 : 19 + width]", "19 : 19 + width].softmax(0)")], {"forward": ("forward.softmax", 0)},
     "softmax in forward"),
    "tanh at the end": ("fcn32s", [("19 : 19 + width]", "19 : 19 + width].tanh()")], {"forward": ("forward.values", 0)}, "tanh in forward"),
    "zeros laid around the picture, and no padding": ("fcn32s", [("self.conv1_1 = nn.Conv2d(3, 64, 3, padding=100)",
     "self.conv1_1 = nn.Conv2d(3, 64, 3)"), ("self.conv1_1(x)", "self.conv1_1(nn.functional.pad(x, (100,) * 4))")],
                                                      {"layers": ("layer.padding", 4.5)}, "padding=100"),
    "a comma behind what is returned, and a wrong crop": ("fcn8s", [("31 : 31 + x.shape[3]]", "31 : 31 + x.shape[3]],"),
     ("31 : 31 + x.shape[2]", "30 : 30 + x.shape[2]")], {"shapes": ("forward.type", 2), "crop": ("crop.shift", 5)}, ""),
    "a dictionary, and no dropout": ("fcn32s", [(CROP32, f"{{'out': {CROP32}, 'aux': None}}"), ("self.drop7(", "(")],
     {"shapes": ("forward.type", 2), "forward": ("dropout.missing", 3)}, ""),
    "a dictionary of other things": ("fcn32s", [(CROP32, f"{{'mean': {CROP32}.mean((2, 3))}}")],
     {"shapes": ("forward.type", 0), "crop": ("forward.type", 0), "forward": ("forward.type", 0)}, "got dict"),
    "ReLU left out and a wrong crop": ("fcn8s", [("self.relu4_1(self.conv4_1(h))", "self.conv4_1(h)"), (POOL3,
     "[:, :, 9 : 9 + rows, 8 : 8 + columns]")],
                                       {"crop": ("crop.shift", 5), "forward": ("forward.values", 1)}, ""),
    "pool4 not added": ("fcn8s", [("self.upscore2(h + from_pool4)", "self.upscore2(h)")], {"crop": ("crop.unmeasurable", 4),
     "forward": ("forward.skip", 1)}, "added"),
    "aliased": ("copy_vgg16", [("target.weight.copy_(source.weight.reshape(target.weight.shape))",
     "target.weight.data = source.weight.data.view(target.weight.shape)"),
                               ("target.bias.copy_(source.bias)", "target.bias.data = source.bias.data")],
                                {"pretraining.copy": ("copy.alias", 4)}, "VGG's own memory"),
    "VGG's layers in the place of the network's": ("copy_vgg16", [("    with torch.no_grad():\n", "    import copy\n"
     "    model.conv1_1 = copy.deepcopy(vgg16.features[0])\n    targets[0] = model.conv1_1\n    with torch.no_grad():\n")],
     {"pretraining.copy": ("copy.layer", 4.5)}, "conv1_1: padding=100 became 1"),
    "arguments in another order": ("copy_vgg16", [("(model, vgg16)", "(vgg16, model)")], {"pretraining.copy": ("code.signature", 0)},
     "in the order (model, vgg16), and the function takes them as (vgg16, model)"),
}  # fmt: skip

LOOP = """from torch import nn
import torch.nn.functional as F
from segkit.upsampling import bilinear_weight
BLOCKS = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]

class FCN8s(nn.Module):
    def __init__(self, n_class=12):
        super().__init__()
        inside = 3
        for b, (width, depth) in enumerate(BLOCKS, 1):
            for i in range(1, depth + 1):
                setattr(self, f"conv{b}_{i}", nn.Conv2d(inside, width, (3, 3), padding=(100, 100) if b == i == 1 else "same"))
                inside = width
            setattr(self, f"pool{b}", nn.MaxPool2d(2, ceil_mode=True))
        self.head = nn.Sequential()
        self.head.add_module("fc6", nn.Conv2d(512, 4096, 7))
        self.head.add_module("relu", nn.ReLU(inplace=True))
        self.head.add_module("drop", nn.Dropout(0.5))
        self.head.add_module("fc7", nn.Conv2d(4096, 4096, 1))
        self.head.add_module("relu2", nn.ReLU(inplace=True))
        self.head.add_module("drop2", nn.Dropout())
        self.head.add_module("score", nn.Conv2d(4096, n_class, 1))
        self.score_pool4 = nn.Conv2d(512, n_class, 1)
        self.score_pool3 = nn.Conv2d(256, n_class, 1)
        self.ups = nn.ModuleDict({f"upscore{k}": up(n_class, s) for k, s in ((1, 2), (2, 2), (3, 8))})
        self.apply(start)

    def block(self, b, x):
        for i in range(1, BLOCKS[b - 1][1] + 1):
            x = F.relu(getattr(self, f"conv{b}_{i}")(x))
        return getattr(self, f"pool{b}")(x)

    @staticmethod
    def cut(x, offset, like):
        return x.narrow(2, offset, like.shape[2]).narrow(3, offset, like.shape[3])

    def forward(self, x):
        pools, h = {}, x
        for b in range(1, 6):
            h = pools[b] = self.block(b, h)
        h = self.ups["upscore1"](self.head(h))
        h = self.ups["upscore2"](self.cut(self.score_pool4(pools[4]), 5, h) + h)
        h += self.cut(self.score_pool3(pools[3]), 9, h)
        return self.cut(self.ups["upscore3"](h), 31, x).contiguous()
"""
HELPERS = """
def up(n, s):
    layer = nn.ConvTranspose2d(n, n, 2 * s, s, bias=False)
    layer.weight.data = bilinear_weight(n, 2 * s)
    return layer

def start(m):
    if isinstance(m, nn.Conv2d):
        nn.init.kaiming_normal_(m.weight)
        nn.init.constant_(m.bias, 0)
"""
CORRECT = {
    "functional dropout and narrow": ("fcn32s", [changed(
        "fcn32s", ("self.drop6(", "nn.functional.dropout2d("), ("self.relu6(self.fc6(h))",
         "self.relu6(self.fc6(h)), training=self.training"),
        (CROP32, "h.narrow(2, 19, height).narrow(3, 19, width)"))]),
    "loops, helpers below in another cell, Sequential, aliases": ("fcn8s", [LOOP, HELPERS]),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Run]:
    settings = Settings("fcn", tmp_path_factory.mktemp("out"), secret="a fixed secret", device="cpu", data="sample",
                        only=tuple(check for checks in CHECKS.values() for check in checks))  # fmt: skip
    with Run.create(settings) as run:
        yield run


def graded(run: Run, folder: Path, grade_id: str, sources: list[str]) -> dict[str, dict]:
    """Grade the checks concerned on a notebook with the given cells; the first is the solution cell."""
    more = [cell(solution("fcn32s"), "fcn32s")] if grade_id == "copy_vgg16" and "class FCN32s" not in sources[0] else []
    own = cell("import torch\n" + sources[0], grade_id) if "class FCN32s" not in sources[0] or grade_id == "fcn32s" else cell(sources[0])
    notebook(folder / "work.ipynb", *more, own, *map(cell, sources[1:]))
    object.__setattr__(run.settings, "only", CHECKS[grade_id])
    return {check["id"]: check for check in grade_path(run, folder, "alice")["checks"]}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_the_checks_it_must_and_is_named(run, tmp_path, name):
    grade_id, edits, lost, words = MISTAKES[name]
    found = graded(run, tmp_path, grade_id, [changed(grade_id, *edits)])
    expected = {(kind if "." in kind else f"{grade_id}.{kind}"): value for kind, value in lost.items()}
    report = json.dumps({k: (c["status"], c["cause"], c["points"], c["message"]) for k, c in found.items()}, indent=1)
    assert {k: c["cause"] for k, c in found.items() if c["status"] != "earned"} == {k: v[0] for k, v in expected.items()}, report
    for check, (_, points) in expected.items():
        assert words in found[check]["message"], report
        assert points is None or found[check]["points"] == points, report
        assert points is not None or "dropout" not in found[check]["message"], report  # it cannot be read, and is no second mistake


@pytest.mark.parametrize("name", CORRECT)
def test_what_is_no_mistake_keeps_all_points(run, tmp_path, name):
    grade_id, sources = CORRECT[name]
    found = graded(run, tmp_path, grade_id, sources)
    assert {k: c["status"] for k, c in found.items()} == dict.fromkeys(CHECKS[grade_id], "earned"), json.dumps(found, indent=1)


TOLD = "        self.conv1_1 = nn.Conv2d(3, 64, 3, padding=100)"
WRAPPED = """class Wrapped(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *args, **kwargs):
        raise RuntimeError("no")

"""
SAME = """class Same(nn.Conv2d):
    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, self.bias, padding=100)

"""
SIZE = f"{TOLD}\n        self.conv1_1.kernel_size = "

# name: (text above the class, edits, causes of the lost checks)
ON_THE_GRADER = {
    "an array as kernel_size": ("", [(TOLD, f"{SIZE}torch.zeros(3, 3).numpy()")], {"answer.malformed"}),
    "a text of 3 MB": ("", [(TOLD, f"{SIZE}'9' * 3_000_000")], {"answer.malformed"}),
    "a number of 400 digits": ("", [(TOLD, f"{SIZE}10**400")], {"answer.malformed"}),
    "a padding that is only told": (SAME, [(TOLD, f"{TOLD.replace('nn.Conv2d', 'Same')}\n        self.conv1_1.padding = (500, 500)")],
                                    {"layer.padding", "layer.too_large"}),
    "a tensor that is none": (WRAPPED, [(CROP32, f"{CROP32}.as_subclass(Wrapped)")], {"code.raises"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_THE_GRADER)
def test_what_is_meant_for_the_grader_costs_its_own_points(run, tmp_path, name):
    above, edits, causes = ON_THE_GRADER[name]
    found = graded(run, tmp_path, "fcn32s", ["from torch import nn\n" + above + changed("fcn32s", *edits)])
    report = json.dumps(found, indent=1)
    assert len(report) < 20_000 and "could_not_grade" not in report, report[:5000]
    assert {check["cause"] for check in found.values() if check["status"] != "earned"} == causes, report
