"""Do the visible checks name the typical mistakes, put one by one into the notebooks' own solution cells?

Every entry is a mistake seen in real student or public code: grade id of the cell, what is replaced by what, which check
must speak, and words of the cause that it must print.
"""

from collections.abc import Callable

import pytest
import torch

from segkit import checks
from segkit.checks.report import Report

ZERO_TRUNK = ('nn.init.kaiming_normal_(part.weight, nonlinearity="relu")', "nn.init.zeros_(part.weight)")
ALL_PAIRS = (
    "part.weight.data.copy_(bilinear_weight(n_class, part.kernel_size[0]))",
    "part.weight.data[:] = bilinear_weight(1, part.kernel_size[0])",
)
RANDOM_UP = (ALL_PAIRS[0], "pass")
NO_CEIL = (", ceil_mode=True", "")
NO_PADDING = ("nn.Conv2d(3, 64, 3, padding=100)", "nn.Conv2d(3, 64, 3, padding=1)")

# (grade id, old, new, check, part of the printed cause)
NETWORKS = [
    ("fcn32s", *NO_PADDING, "layers", "padding of conv1_1 is missing"),
    ("fcn32s", *NO_PADDING, "shapes", "padding of conv1_1 is missing"),
    ("fcn32s", *NO_CEIL, "layers", "ceil_mode is forgotten"),
    ("fcn32s", "stride=32, bias=False", "stride=32", "layers", "bias=False is forgotten"),
    ("fcn32s", "self.pool1 = nn.MaxPool2d(2, stride=2,", "self.pool1 = nn.MaxPool2d(2, stride=1,", "layers", "stride 1, a pool stride 2"),
    ("fcn32s", "nn.Conv2d(64, 128, 3,", "nn.Conv2d(64, 128, 3, stride=2,", "layers", "stride 1, a pool stride 2"),
    ("fcn32s", "64, stride=32", "64, stride=16", "layers", "the stride of an upsampling is its factor"),
    ("fcn32s", "nn.Conv2d(512, 4096, 7)", "nn.Conv2d(512, 4096, 7, padding=3)", "layers", "fc6"),
    ("fcn32s", "nn.Conv2d(512, 4096, 7)", "nn.Conv2d(512, 4096, 1)", "layers", "wrong kernel in fc6"),
    ("fcn32s", *ALL_PAIRS, "layers", "all channel pairs"),
    ("fcn32s", *RANDOM_UP, "layers", "still random"),
    ("fcn32s", *ZERO_TRUNK, "layers", "trunk of zeros cannot learn"),
    ("fcn32s", "self.fc7", "self.fc_seven", "layers", "another name"),
    ("fcn32s", "nn.Conv2d(4096, n_class, 1)", "nn.Conv2d(4096, 12, 1)", "shapes", "channels of two layers do not fit"),
    ("fcn32s", "19 : 19 + height, 19 : 19 + width", "19 : 19 + width, 19 : 19 + height", "shapes", "rows and columns"),
    ("fcn32s", "h[:, :, 19 : 19 + height, 19 : 19 + width]", "h", "shapes", "crop is missing"),
    ("fcn32s", "return h[:, :, 19 : 19 + height, 19 : 19 + width]",
     "return h[:, :, 19 : 19 + height, 19 : 19 + width].argmax(1)", "shapes", "argmax in forward"),
    ("fcn32s", "return h[:, :, 19 : 19 + height, 19 : 19 + width]",
     "return h[:, :, 19 : 19 + height, 19 : 19 + width].softmax(1)", "values", "softmax in forward"),
    ("fcn32s", "return h[:", "h[:", "shapes", "no `return`"),
    ("fcn32s", "19 : 19 + height", "20 : 20 + height", "crop", "rows and columns are cropped differently"),
    # with the grader's sign: what begins one row late lies one row too high
    ("fcn32s", "19 : 19 + height", "20 : 20 + height", "crop",
     "rows from 20, columns from 19: the output lies (dy, dx) = (-1.0, +0.0) px off"),
    ("fcn32s", "19 : 19 + height, 19 : 19 + width", "20 : 20 + height, 20 : 20 + width", "crop", "off by one"),
    ("fcn32s", "19 : 19 + height, 19 : 19 + width", ":height, :width", "crop", "the crop is missing"),
    ("fcn32s", "19 : 19 + height, 19 : 19 + width", ":height, :width", "crop", "got rows from 0, columns from 0: the output lies"),
    ("fcn32s", "19 : 19 + height, 19 : 19 + width", "31 : 31 + height, 31 : 31 + width", "crop", "offset of FCN8s"),
    ("fcn32s", "self.relu3_2(self.conv3_2(h))", "self.conv3_2(h)", "values", "ReLU after conv3_2 is missing"),
    ("fcn32s", "h = self.relu4_2(self.conv4_2(h))", "pass", "values", "left out in forward"),
    ("fcn32s", "self.drop6(self.relu6(self.fc6(h)))", "self.relu6(self.fc6(h))", "values", "dropout is missing"),
    ("fcn32s", "self.drop7(self.relu7(self.fc7(h)))", "nn.functional.dropout(self.relu7(self.fc7(h)))", "values",
     "dropout at test time"),
    ("fcn32s", "nn.Dropout2d(0.5)", "nn.Dropout2d(0.2)", "values", "share that is dropped"),
    ("fcn32s", "self.drop6(self.relu6(self.fc6(h)))", "self.relu6(self.fc6(h)) * (not self.training)", "values", "or a normalisation"),
    ("fcn32s", "h = self.score(h)", "h = self.score(h).relu()", "values", "ReLU after score"),
    ("fcn8s", "[:, :, 5 : 5 + rows, 5 : 5 + columns]", "[:, :, 9 : 9 + rows, 9 : 9 + columns]", "crop",
     "offset of pool3: the two are exchanged"),
    ("fcn8s", "[:, :, 9 : 9 + rows, 9 : 9 + columns]", "[:, :, :rows, :columns]", "crop", "crop of pool3 is missing"),
    ("fcn8s", "5 : 5 + rows, 5 : 5 + columns", "6 : 6 + rows, 4 : 4 + columns", "crop",
     "rows from 6, columns from 4: pool4's scores lie (dy, dx) = (-16.0, +16.0) px off"),
    ("fcn8s", "31 : 31 + x.shape[2], 31 : 31 + x.shape[3]", "19 : 19 + x.shape[2], 19 : 19 + x.shape[3]", "crop",
     "offset of FCN32s"),
    ("fcn8s", "5 : 5 + rows, 5 : 5 + columns", "5 : 5 + rows, 6 : 6 + columns", "crop", "rows and columns are cropped"),
    ("fcn8s", "self.upscore2(h + from_pool4)", "self.upscore2(h)", "values", "score_pool_4 is computed, but not added"),
    ("fcn8s", "self.score_pool_4(pool4)", "self.score_pool_4(pool4 * 0.01)", "values", "variable of its own"),
    ("fcn8s", "self.score_pool_4(pool4)[:, :, 5 : 5 + rows, 5 : 5 + columns]", "self.score_pool_4(pool4)", "shapes",
     "different size are added"),
    ("fcn8s", "stride=8, bias=False", "stride=8", "layers", "bias=False is forgotten"),
    ("fcn8s", *ALL_PAIRS, "layers", "all channel pairs"),
]  # fmt: skip
FC6 = "target.weight.copy_(source.weight.reshape(target.weight.shape))"
COPIES = [
    ("(model, vgg16)", "(vgg16, model)", "in the order (model, vgg16), and the function takes them as (vgg16, model)"),
    ("    with torch.no_grad():\n", "    import copy\n    targets[0] = model.conv1_1 = copy.deepcopy(vgg16.features[0])\n"
     "    with torch.no_grad():\n", "VGG's layers were put in the place of the FCN's"),
    (FC6, "target.weight.data = source.weight.data.reshape(target.weight.shape)", "aliasing"),
    ("target.bias.copy_(source.bias)", "pass", "biases are copied too"),
    ("zip(targets, sources, strict=True)", "zip(targets[:-1], sources[:-1], strict=True)", "left out"),
    (FC6, "target.weight.copy_(source.weight.reshape(target.weight.shape) if source.weight.dim() == 4 else "
     "source.weight.reshape(len(source.weight), *target.weight.shape[2:], -1).permute(0, 3, 1, 2))", "wrong axis order"),
    (FC6, "target.weight.copy_(source.weight)", "give them the shape of a convolution"),
    (FC6, "source.weight.copy_(target.weight.reshape(source.weight.shape))", "wrong direction"),
    ("with torch.no_grad():", "if True:", "torch.no_grad()"),
]  # fmt: skip


def solution(notebooks: dict, grade_id: str) -> str:
    for notebook in notebooks.values():
        for cell in notebook.cells:
            meta = cell.metadata.get("nbgrader", {})
            if meta.get("grade_id") == grade_id and meta.get("solution"):
                return cell.source
    raise AssertionError(grade_id)


def define(notebooks: dict, grade_id: str, name: str, old: str = "", new: str = "") -> Callable:
    source = solution(notebooks, grade_id)
    assert old in source, "the mistake must change the solution"
    namespace: dict = {"torch": torch}
    code = compile(source.replace(old, new) if old else source, f"{grade_id}.ipynb, cell 1", "exec")
    exec(code, namespace)
    return namespace[name]


def run_check(kind: str, network_class: Callable, network: str) -> Report:
    return {
        "shapes": lambda: checks.check_shapes(network_class),
        "layers": lambda: checks.check_layers(network_class, network),
        "values": lambda: checks.check_values(network_class, network),
        "crop": lambda: checks.check_alignment(network_class, network),
    }[kind]()


@pytest.mark.slow
@pytest.mark.parametrize(("grade_id", "old", "new", "kind", "cause"), NETWORKS)
def test_network_mistake_is_named(notebooks, grade_id, old, new, kind, cause, capsys):
    network = define(notebooks, grade_id, grade_id.upper().replace("S", "s"), old, new)
    report = run_check(kind, network, grade_id)
    printed = capsys.readouterr()
    assert not report
    assert "[!!]" in printed.out and cause in printed.out, printed.out
    assert "Traceback" not in printed.out and printed.err == ""


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "cause"), COPIES)
def test_copy_mistake_is_named(notebooks, old, new, cause, capsys):
    copy = define(notebooks, "copy_vgg16", "copy_params_from_vgg16", old, new)
    report = checks.check_copy(copy, define(notebooks, "fcn32s", "FCN32s"))
    printed = capsys.readouterr().out
    assert not report
    assert cause in printed, printed


@pytest.mark.parametrize(("grade_id", "stub"), [("fcn32s", "FCN32s"), ("fcn8s", "FCN8s")])
def test_an_untouched_class_is_told_what_to_do(grade_id, stub, capsys):
    namespace: dict = {}
    exec(f"from torch import nn\nclass {stub}(nn.Module):\n    def __init__(self, n_class=12):\n"
         "        super().__init__()\n        raise NotImplementedError()", namespace)  # fmt: skip
    for kind in ("shapes", "layers", "values", "crop"):
        assert not run_check(kind, namespace[stub], grade_id)
    out = capsys.readouterr().out
    assert out.count("still to be written") == 4 and len(out.splitlines()) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nn.Dropout2d(0.5)", "nn.Dropout(0.5)"),
        ("self.relu4_1(self.conv4_1(h))", "nn.functional.relu(self.conv4_1(h))"),
        ("nn.ReLU()", "nn.ReLU(inplace=True)"),
        ("h[:, :, 19 : 19 + height, 19 : 19 + width]", "h.narrow(2, 19, height).narrow(3, 19, width)"),
        ("self.relu2_2(self.conv2_2(h))", "self.relu2_1(self.conv2_2(h))"),
    ],
)
def test_what_is_no_mistake_passes(notebooks, old, new):
    network = define(notebooks, "fcn32s", "FCN32s", old, new)
    for kind in ("shapes", "layers", "values", "crop"):
        report = run_check(kind, network, "fcn32s")
        assert report, report.lines


@pytest.mark.slow
def test_checks_follow_a_course_with_another_padding(notebooks, tmp_path, monkeypatch):
    """With padding 104 the output crop is 35; the published solution with 100 and 31 no longer fits."""
    (tmp_path / "assignment.json").write_text(
        '{"assignment": "fcn", "padding": 104, "crops": {"fcn32s": 23, "fcn16s": 31, "fcn8s": 35, "pool4": 5, "pool3": 9}}'
    )
    monkeypatch.chdir(tmp_path)
    published = define(notebooks, "fcn8s", "FCN8s")
    assert "conv1_1" in " ".join(run_check("layers", published, "fcn8s").lines)
    assert not run_check("crop", published, "fcn8s")
    source = solution(notebooks, "fcn8s").replace("padding=100", "padding=104")
    namespace: dict = {}
    exec(source.replace("31 : 31 + x.shape[2], 31 : 31 + x.shape[3]", "35 : 35 + x.shape[2], 35 : 35 + x.shape[3]"), namespace)
    for kind in ("shapes", "layers", "values", "crop"):
        assert run_check(kind, namespace["FCN8s"], "fcn8s")
