"""The order in which layers run: it places layers whatever their names, and leaves the network as it was."""

import torch
from torch import nn
from torch.nn import functional as F

from segkit.layers import Layer, compare_layers, expected_layers
from segkit.tracing import trace

SPEC = expected_layers("fcn8s", 12)
PLACES = [layer.path for layer in SPEC]


def renamed(names: dict[str, str]) -> list[Layer]:
    return [Layer(names.get(layer.path, layer.path), layer.kind, layer.settings) for layer in SPEC]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.second = nn.Conv2d(4, 5, 1)
        self.first = nn.Conv2d(3, 4, 3)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout2d(), nn.BatchNorm2d(5))
        self.never = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return F.leaky_relu(self.head(self.second(F.relu(self.first(x)))))


def test_layers_and_functions_are_noted_in_the_order_in_which_they_run():
    assert trace(Net()) == [
        ("first", "Conv2d"), ("", "relu"), ("second", "Conv2d"), ("head.0", "ReLU"), ("head.1", "Dropout2d"), ("head.2", "BatchNorm2d"),
        ("", "leaky_relu"), ("", "return"),
    ]  # fmt: skip


def test_the_network_stays_as_it_was():
    model = Net().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    trace(model)
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_ran_before_a_failure_is_known():
    class Failing(Net):
        def forward(self, x):
            return self.second(self.first(x)) + self.missing

    assert trace(Failing()) == [("first", "Conv2d"), ("second", "Conv2d")]


def test_the_usual_public_names_collide_with_ours_and_are_placed_by_the_run():
    names = {"upscore1": "upscore2", "upscore2": "upscore_pool4", "upscore3": "upscore8"}
    found = renamed(names)
    match = compare_layers(found, SPEC, {"upscore3": ["upscore8"]}, [layer.path for layer in found])
    assert {name: match.paths[name] for name in names} == names and len(match.paths) == 26
    assert [(fault.cause, fault.layer, fault.found) for fault in match.faults] == [
        ("layer.name", "upscore1", "upscore2"), ("layer.name", "upscore2", "upscore_pool4"),
    ]  # fmt: skip


def test_layers_registered_in_another_order_than_they_run_are_no_fault():
    assert compare_layers(SPEC[::-1], SPEC, run=PLACES).faults == []


def test_a_layer_that_never_runs_keeps_its_name_and_its_place():
    match = compare_layers(SPEC, SPEC, run=[path for path in PLACES if path != "conv3_3"])
    assert match.faults == [] and match.paths["conv3_3"] == "conv3_3"


def test_an_unused_layer_does_not_take_the_place_of_one_that_runs():
    found = [Layer("spare", "Conv2d", next(s for s in SPEC if s.path == "fc7").settings), *renamed({"fc7": "head"})]
    match = compare_layers(found, SPEC, run=["head" if path == "fc7" else path for path in PLACES])
    assert match.paths["fc7"] == "head" and match.extra == ["spare"]


def test_one_pool_in_five_places_is_one_fault_of_its_name():
    pool = next(layer for layer in SPEC if layer.kind == "MaxPool2d")
    found = [Layer("pool", "MaxPool2d", pool.settings), *(layer for layer in SPEC if layer.kind != "MaxPool2d")]
    run = ["pool" if layer.kind == "MaxPool2d" else layer.path for layer in SPEC]
    match = compare_layers(found, SPEC, run=run)
    assert [fault.cause for fault in match.faults] == ["layer.name"] and match.paths["pool5"] == "pool"


def test_one_object_under_two_names_has_the_right_one():
    found = [Layer("features.0", SPEC[0].kind, SPEC[0].settings), Layer("conv1_1", SPEC[0].kind, SPEC[0].settings, "features.0"), *SPEC[1:]]
    assert compare_layers(found, SPEC, run=["features.0", *PLACES[1:]]).faults == []
