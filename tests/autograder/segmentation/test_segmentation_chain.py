"""Any chain that a specification describes is judged as FCN-8s is: each crop, the values and the dropout, apart from each other."""

import pytest
from small_networks import CHAIN, CHAIN_SPEC, network, verdict

from autograder.segmentation.judging import judge_crops, judge_dropout, judge_layers, judge_shapes, judge_values

CROPS = ("output_rows", "output_columns", "half_rows", "half_columns")
KINDS = {
    "layers": (judge_layers, ("layers",), {}), "shapes": (judge_shapes, ("size", "classes", "batch"), {}),
    "crop": (judge_crops, CROPS, {}), "values": (judge_values, ("values",), {}), "dropout": (judge_dropout, ("dropout",), {"seed": 3}),
}  # fmt: skip

# name: (what is replaced, by what, {what is lost: its cause}, words of one message)
MISTAKES = {
    "nothing": ("", "", {}, ""),
    "a crop one row low": ("[:, :, 17 : 17 + x.shape[2]", "[:, :, 18 : 18 + x.shape[2]", {"crop": "crop.shift"},
                           "begins at row 18, column 17"),
    "the skip's crop": ("[:, :, 1 : 1 + h.shape[2]", "[:, :, 0 : 0 + h.shape[2]", {"crop": "crop.shift"}, "The crop of half's scores"),
    "no skip": ("h = h + self.fine(half)[:, :, 1 : 1 + h.shape[2], 1 : 1 + h.shape[3]]", "pass",
                {"crop": "crop.unmeasurable", "values": "forward.skip"}, "nothing of half arrives"),
    "a factor": ("h + self.fine(half)", "h + 0.5 * self.fine(half)", {"values": "forward.factor"},
                 "half's scores arrive multiplied by 0.5"),
    "softmax": ("17 : 17 + x.shape[3]]", "17 : 17 + x.shape[3]].softmax(1)",
                {"values": "forward.softmax", "dropout": "dropout.missing"}, ""),
    "a ReLU left out": ("self.relu(self.second(half))", "self.second(half)", {"values": "forward.values"}, "none follows second"),
    "no dropout": ("self.drop(self.relu(self.wide(h)))", "self.relu(self.wide(h))", {"dropout": "dropout.missing"}, "none after wide"),
    "a pool that rounds down": ("padding=1), nn.MaxPool2d(2, ceil_mode=True)", "padding=1), nn.MaxPool2d(2)",
                                {"layers": "layer.ceil_mode"}, "down2: expected ceil_mode=True"),
    "fixed classes": ("nn.Conv2d(128, n_class, 1), nn.Conv2d(4, n_class, 1)", "nn.Conv2d(128, 4, 1), nn.Conv2d(4, 4, 1)",
                      {"shapes": "shape.classes"}, "got 4 in coarse, fine"),
    "another usual number": ("n_class=4", "n_class=7", {"shapes": "shape.classes"}, "Expected 4 classes where n_class is not given"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_what_it_must_and_is_named(name, tmp_path):
    old, new, lost, words = MISTAKES[name]
    assert old in CHAIN
    found = network(CHAIN_SPEC, tmp_path, CHAIN.replace(old, new) if old else CHAIN)
    verdicts = {kind: verdict(found, judge, *parts, **more) for kind, (judge, parts, more) in KINDS.items()}
    assert {kind: one.cause for kind, one in verdicts.items() if one.status != "earned"} == lost, verdicts
    assert any(words in one.message for one in verdicts.values()), verdicts
