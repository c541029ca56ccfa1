"""A network without a graph: batch norms with their buffers, nested names and a backbone that its constructor takes."""

from dataclasses import replace

import pytest
import torch
from small_networks import BACKBONE_SPEC, CLASSES, DECODER, DECODER_SPEC, HEAD, decoder, network, verdict

from autograder.segmentation.judging import judge_initial_weights, judge_layers, judge_maps, judge_shapes, judge_values
from segkit.layers import describe, tensor_shapes

KINDS = {
    "layers": (judge_layers, ("layers",)), "weights": (judge_initial_weights, ("weights",)),
    "shapes": (judge_shapes, ("size", "classes", "batch")), "values": (judge_values, ("values",)),
}  # fmt: skip

# name: (what is replaced, by what, {what is lost: its cause}, words of one message)
MISTAKES = {
    "nothing": ("", "", {}, ""),
    "the skip left out": (' + maps["x1"]', "", {"values": "forward.values"}, "yours differ by up to"),
    "the norm before the sum": ('self.norm1(nn.functional.relu(self.up1(maps["x2"])) + maps["x1"])',
                                'self.norm1(nn.functional.relu(self.up1(maps["x2"]))) + maps["x1"]', {"values": "forward.values"}, ""),
    "the batch's statistics at test time": ("self.norm2(nn.functional.relu(self.up2(h)))",
        "nn.functional.batch_norm(nn.functional.relu(self.up2(h)), None, None, self.norm2.weight, self.norm2.bias, True)",
        {"values": "forward.values"}, ""),
    "softmax": ("return self.classifier(self.norm2(nn.functional.relu(self.up2(h))))",
                "return self.classifier(self.norm2(nn.functional.relu(self.up2(h)))).softmax(1)", {"values": "forward.softmax"}, ""),
    "a norm too many": ("self.classifier = nn.Conv2d(6, n_class, 1)\n\n    def forward(self, x):\n        maps = self.backbone(x)",
        "self.classifier, self.extra = nn.Conv2d(6, n_class, 1), nn.BatchNorm2d(3)\n\n    def forward(self, x):\n"
        "        maps = self.backbone(self.extra(x))",
        {"values": "forward.extra_layer"}, "forward uses extra (BatchNorm2d)"),
    "another eps": ("nn.BatchNorm2d(6)", "nn.BatchNorm2d(6, eps=0.5)", {"layers": "layer.eps"}, "norm2: expected eps=1e-05"),
    "no bias": ("nn.Conv2d(6, n_class, 1)", "nn.Conv2d(6, n_class, 1, bias=False)", {"layers": "layer.bias"},
                "classifier: expected bias=True"),
    "a smaller kernel": ("nn.Conv2d(8, 12, 3, padding=1)", "nn.Conv2d(8, 12, 1)", {"layers": "layer.kernel_size"},
                         "features.4: expected kernel_size=3"),
    "no output padding": ("8, 6, 3, stride=2, padding=1, output_padding=1", "8, 6, 3, stride=2, padding=1",
                          {"layers": "layer.output_padding", "shapes": "shape.size"}, "output_padding=1"),
    "a layer that would cost too much": ("nn.Conv2d(6, n_class, 1)", "nn.Conv2d(6, n_class, 1, padding=300)",
                                         {"layers": "layer.padding", "shapes": "shape.constant", "values": "layer.too_large"}, ""),
    "fixed classes": ("nn.Conv2d(6, n_class, 1)", "nn.Conv2d(6, 4, 1)", {"shapes": "shape.classes"}, "hard-coded"),
    "no backbone": ("backbone, n_class=4", "n_class=4", dict.fromkeys(KINDS, "code.signature"), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_what_it_must_and_is_named(name, tmp_path):
    old, new, lost, words = MISTAKES[name]
    assert old in DECODER + HEAD
    sources = [source.replace(old, new) if old else source for source in (DECODER, HEAD)]
    found = network(DECODER_SPEC, tmp_path, *sources)
    verdicts = {kind: verdict(found, judge, *parts) for kind, (judge, parts) in KINDS.items()}
    assert {kind: one.cause for kind, one in verdicts.items() if one.status != "earned"} == lost, verdicts
    assert any(words in one.message for one in verdicts.values()), verdicts


def test_names_count_where_they_are_asked_for_and_the_run_places_the_layers_anyway(tmp_path):
    head = HEAD.replace("classifier", "last").replace("norm1", "bn1")
    named = verdict(network(DECODER_SPEC, tmp_path, DECODER, head), judge_layers, "layers")
    assert named.cause == "layer.name" and "classifier: expected this name" in named.message
    (tmp_path / "free").mkdir()
    free = network(replace(DECODER_SPEC, named=False), tmp_path / "free", DECODER, head)
    assert verdict(free, judge_layers, "layers").status == verdict(free, judge_values, "values").status == "earned"


def test_hidden_values_reach_every_parameter_and_every_running_mean_and_variance(tmp_path):
    found = network(DECODER_SPEC, tmp_path, DECODER, HEAD)
    model = found.student.subject.model(found._load())
    before = decoder(CLASSES).state_dict()
    for key, values in model.state_dict().items():
        assert key.endswith("num_batches_tracked") or not torch.equal(values, before[key]), key
        assert not key.endswith("running_var") or float(values.min()) > 0


def test_shapes_by_settings_are_those_that_torch_gives():
    with torch.device("meta"):
        model = torch.nn.ModuleDict({
            "a": torch.nn.Conv2d(6, 4, (3, 5), groups=2, bias=False), "b": torch.nn.ConvTranspose2d(6, 4, 3, groups=2),
            "c": torch.nn.BatchNorm2d(7), "d": torch.nn.BatchNorm2d(7, affine=False, track_running_stats=False), "e": torch.nn.Linear(3, 2),
            "f": torch.nn.MaxPool2d(2), "g": torch.nn.BatchNorm2d(7, track_running_stats=False),
        })  # fmt: skip
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    found = {f"{layer.path}.{kind}": shape for layer in describe(model) for kind, shape in tensor_shapes(layer).items()}
    assert found == wanted


# name: (what is replaced, by what, cause, points of 1, words)
WRONG_MAPS = {
    "nothing": ("", "", None, 1.0, ""),
    "before the pool": ('{"x1": x1', '{"x1": self.features[:3](x)', "shape.size", 0.5, "x1: expected the shape (2, 8, 12, 18)"),
    "behind another layer": ('{"x1": x1', '{"x1": self.features[3](self.features[0](x))', "forward.values", 0.5,
                             "x1: expected the numbers"),
    "maps in a list": ('return {"x1": x1, "x2": self.features[4:](x1)}', "return [x1, self.features[4:](x1)]", "forward.type", 0.0,
                       "expected a dictionary with x1, x2, but got list"),
    "a name left out": (', "x2": self.features[4:](x1)', "", "forward.type", 0.0, "one without x2"),
    "a map that is none": ('{"x1": x1', '{"x1": 3', "forward.type", 0.0, "map x1"),
    "another kernel": ("nn.Conv2d(8, 12, 3, padding=1)", "nn.Conv2d(8, 12, 1)", None, 1.0, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_MAPS)
def test_each_map_of_a_dictionary_counts_by_itself(name, tmp_path):
    old, new, cause, points, words = WRONG_MAPS[name]
    assert old in DECODER
    found = verdict(network(BACKBONE_SPEC, tmp_path, DECODER.replace(old, new) if old else DECODER), judge_maps, "maps")
    assert (found.cause, found.points) == (cause, points) and words in found.message, found
