"""Mistakes in the networks, graded with the real worker: exactly the expected checks are lost, and the cause is named."""

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
CROP8 = "h[:, :, 31 : 31 + x.shape[2], 31 : 31 + x.shape[3]]"
POOL4, POOL3 = "[:, :, 5 : 5 + rows, 5 : 5 + columns]", "[:, :, 9 : 9 + rows, 9 : 9 + columns]"
BILINEAR = "part.weight.data.copy_(bilinear_weight(n_class, part.kernel_size[0]))"
HE = 'nn.init.kaiming_normal_(part.weight, nonlinearity="relu")'

# name: (grade id, edits, {lost check: (cause, points left)}, words that each message must hold)
MISTAKES = {
    "padding missing": ("fcn32s", [("padding=100", "padding=1")], {
        "layers": ("layer.padding", 4.5 + 1), "shapes": ("code.raises", 0), "crop": ("code.raises", 0), "forward": ("code.raises", 0)},
         "padding"),
    "ceil_mode missing": ("fcn32s", [(", ceil_mode=True", "")], {"layers": ("layer.ceil_mode", 4.5), "shapes": ("shape.size", 3)},
     "ceil_mode"),
    "crop one row low": ("fcn32s", [("19 : 19 + height", "20 : 20 + height")], {"crop": ("crop.shift", 2)}, "begins at row 20, column 19"),
    "crop missing": ("fcn32s", [(CROP32, "h")], {"shapes": ("shape.size", 2), "crop": ("crop.missing", 0)}, "not cropped"),
    "crop from the corner": ("fcn32s", [(CROP32, "h[:, :, :height, :width]")], {"crop": ("crop.missing", 0)}, "from its corner"),
    "rows and columns mixed": ("fcn32s", [(CROP32, "h[:, :, 19 : 19 + width, 19 : 19 + height]")], {"shapes": ("shape.size", 2)},
     "columns exchanged"),
    "bias left on": ("fcn32s", [("stride=32, bias=False", "stride=32")], {"layers": ("layer.bias", 5.5)}, "bias=False"),
    "bilinear on all pairs": ("fcn32s", [(BILINEAR, "part.weight.data[:] = bilinear_weight(1, 64)[0, 0]")],
     {"layers": ("weights.all_pairs", 5.5)}, "all channel pairs"),
    "random upsampling": ("fcn32s", [(BILINEAR, "pass")], {"layers": ("weights.bilinear", 5.5)}, "bilinear"),
    "zero trunk": ("fcn32s", [(HE, "nn.init.zeros_(part.weight)")], {"layers": ("weights.zero_trunk", 5.5)}, "cannot learn"),
    "softmax": ("fcn32s", [(CROP32, f"{CROP32}.softmax(1)")], {"forward": ("forward.softmax", 0)}, "softmax in forward"),
    "argmax": ("fcn32s", [(CROP32, f"{CROP32}.argmax(1)")], {"shapes": ("shape.argmax", 2), "forward": ("forward.argmax", 0)}, "argmax"),
    "kernel of fc6": ("fcn32s", [("nn.Conv2d(512, 4096, 7)", "nn.Conv2d(512, 4096, 5)")], {"layers": ("layer.kernel_size", 5.5)},
     "kernel_size=7"),
    "misnamed": ("fcn32s", [("self.fc7", "self.fc_seven")], {"layers": ("layer.name", 5.5)}, "fc_seven"),
    "dropout at test time": ("fcn32s", [("self.drop7(self.relu7(self.fc7(h)))", "nn.functional.dropout2d(self.relu7(self.fc7(h)))")],
                             {"forward": ("forward.dropout_eval", 1)}, "eval mode"),
    "F.dropout at test time": ("fcn8s", [("self.drop7(self.relu7(self.fc7(h)))", "nn.functional.dropout(self.relu7(self.fc7(h)))")],
                               {"forward": ("forward.dropout_eval", 1)}, "eval mode"),
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
    "dropout of 0.2": ("fcn32s", [("nn.Dropout2d(0.5)", "nn.Dropout2d(0.2)")], {"forward": ("dropout.p", 3)}, "p = 0.2"),
    "12 classes in the code": ("fcn32s", [("nn.Conv2d(4096, n_class, 1)", "nn.Conv2d(4096, 12, 1)"), ("ConvTranspose2d(n_class, n_class",
     "ConvTranspose2d(12, 12"),
                               ("bilinear_weight(n_class", "bilinear_weight(12")], {"shapes": ("shape.classes", 3)},
                                "written into the code"),
    "ReLU left out": ("fcn32s", [("self.relu4_1(self.conv4_1(h))", "self.conv4_1(h)")], {"forward": ("forward.values", 1)},
     "ReLU left out"),
    "fc7 skipped": ("fcn32s", [("self.drop7(self.relu7(self.fc7(h)))", "self.drop7(self.relu7(h))")], {"forward": ("forward.values", None)},
     "fc7 is never used in forward"),
    "layer skipped": ("fcn8s", [("h = self.relu4_2(self.conv4_2(h))", "pass")], {"forward": ("forward.values", 1)}, "layer skipped"),
    "ReLU left out and a wrong crop": ("fcn8s", [("self.relu4_1(self.conv4_1(h))", "self.conv4_1(h)"), (POOL3,
     "[:, :, 9 : 9 + rows, 8 : 8 + columns]")],
                                       {"crop": ("crop.shift", 5), "forward": ("forward.values", 1)}, ""),
    "only single images": ("fcn32s", [("        height, width", "        assert len(x) == 1\n        height, width")],
     {"shapes": ("shape.batch", 3)}, "batch"),
    "pool offsets exchanged": ("fcn8s", [(POOL4, "[:, :, 7 : 7 + rows, 7 : 7 + columns]"), (POOL3, POOL4),
     ("7 : 7 + rows, 7 : 7 + columns", "9 : 9 + rows, 9 : 9 + columns")],
                               {"crop": ("crop.shift", 2)}, "exchanged"),
    "pool4 one column off": ("fcn8s", [(POOL4, "[:, :, 5 : 5 + rows, 6 : 6 + columns]")], {"crop": ("crop.shift", 5)}, "column 6"),
    "three crops wrong": ("fcn8s", [(POOL4, "[:, :, 4 : 4 + rows, 4 : 4 + columns]"), (POOL3, "[:, :, 8 : 8 + rows, 8 : 8 + columns]"),
                                    (CROP8, "h[:, :, 30 : 30 + x.shape[2], 30 : 30 + x.shape[3]]")], {"crop": ("crop.shift", 0)},
                                     "begins at row"),
    "ceil_mode missing in FCN-8s": ("fcn8s", [("self.pool3 = nn.MaxPool2d(2, stride=2, ceil_mode=True)",
     "self.pool3 = nn.MaxPool2d(2, 2)")], {"layers": ("layer.ceil_mode", 5.5)}, "ceil_mode"),
    "pool4 not added": ("fcn8s", [("self.upscore2(h + from_pool4)", "self.upscore2(h)")], {"crop": ("crop.unmeasurable", 4),
     "forward": ("forward.skip", 1)}, "added"),
    "softmax and a wrong crop": ("fcn8s", [(CROP8, "h[:, :, 32 : 32 + x.shape[2], 31 : 31 + x.shape[3]].softmax(1)")],
                                 {"crop": ("crop.shift", 5), "forward": ("forward.softmax", 0)}, ""),
    "aliased": ("copy_vgg16", [("target.weight.copy_(source.weight.reshape(target.weight.shape))",
     "target.weight.data = source.weight.data.view(target.weight.shape)"),
                               ("target.bias.copy_(source.bias)", "target.bias.data = source.bias.data")],
                                {"pretraining.copy": ("copy.alias", 5)}, "VGG's own memory"),
    "fc6 in another order": ("copy_vgg16", [("target.weight.copy_(source.weight.reshape(target.weight.shape))",
                                             "w = source.weight\n            target.weight.copy_(w.view(4096, 7, 7, 512).permute(0, 3, "
                                                 "1, 2) if w.shape[-1] == 25088 else w.reshape(target.weight.shape))")],
                             {"pretraining.copy": ("copy.order", None)}, "order"),
    "biases left out": ("copy_vgg16", [("target.bias.copy_(source.bias)", "pass")], {"pretraining.copy": ("copy.bias", None)}, "biases"),
    "fc7 left out": ("copy_vgg16", [("targets += [model.fc6, model.fc7]", "targets += [model.fc6]"),
     ("vgg16.classifier[0], vgg16.classifier[3]", "vgg16.classifier[0]")],
                     {"pretraining.copy": ("copy.left_out", None)}, "fc7"),
    "wrong direction": ("copy_vgg16", [("target.weight.copy_(source.weight.reshape(target.weight.shape))",
     "source.weight.copy_(target.weight.reshape(source.weight.shape))")],
                        {"pretraining.copy": ("copy.source", None)}, "The copy goes the wrong way"),
}  # fmt: skip

RELUS = [(f"self.relu{b}_{i}", "self.relu") for b in range(1, 6) for i in range(1, 4) if i < 3 or b > 2]
RELUS += [("self.relu6", "self.relu"), ("self.relu7", "self.relu")]
METHOD = """
    def copy_params_from_vgg16(self, vgg16):
        mine = [m for n, m in self.named_modules() if isinstance(m, nn.Conv2d) and n.split(".")[-1] != "score"]
        theirs = [m for m in vgg16.modules() if isinstance(m, (nn.Conv2d, nn.Linear))][:-1]
        for a, b in zip(mine, theirs):
            a.weight.data.copy_(b.weight.data.view(a.weight.shape))
            a.bias.data = b.bias.data.clone()
"""
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
    "the notebooks' own FCN-32s": ("fcn32s", [solution("fcn32s")]),
    "the notebooks' own FCN-8s": ("fcn8s", [solution("fcn8s")]),
    "the notebooks' own copy": ("copy_vgg16", [solution("copy_vgg16")]),
    "one ReLU, Dropout, PyTorch's default start": ("fcn32s", [changed(
        "fcn32s", *RELUS, ("Dropout2d(0.5)", "Dropout()"), (HE, "pass"), ("nn.init.zeros_(part.bias)", "pass"), (BILINEAR, BILINEAR))]),
    "functional dropout and narrow": ("fcn32s", [changed(
        "fcn32s", ("self.drop6(", "nn.functional.dropout2d("), ("self.relu6(self.fc6(h))",
         "self.relu6(self.fc6(h)), training=self.training"),
        (CROP32, "h.narrow(2, 19, height).narrow(3, 19, width)"))]),
    "loops, helpers below in another cell, Sequential, aliases": ("fcn8s", [LOOP, HELPERS]),
    "forward attached in a later cell": ("fcn32s", [
        solution("fcn32s").replace("def forward(self, x)", "def run(self, x)"),
            "def forward(self, x):\n    return self.run(x)\nFCN32s.forward = forward"]),
    "the copy as a method": ("copy_vgg16", [solution("fcn32s") + METHOD]),
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
