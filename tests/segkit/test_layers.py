"""Layers of a network against the table of the paper: each difference once, by its name."""

import pytest
import torch
from torch import nn

from segkit.checks import check_layers
from segkit.layers import Layer, compare_layers, describe, expected_layers

SPEC = expected_layers("fcn8s", 12)


def net(*layers: tuple[str, nn.Module]) -> nn.Module:
    model = nn.Module()
    for name, layer in layers:
        model.add_module(name, layer)
    return model


def test_the_tables_are_those_of_the_specification():
    for network, count in (("fcn32s", 22), ("fcn16s", 24), ("fcn8s", 26)):
        assert len({layer.path for layer in expected_layers(network)}) == len(expected_layers(network)), network
        convolutions = [layer for layer in expected_layers(network) if layer.kind != "MaxPool2d"]
        assert len(convolutions) == count - 5, network
    table = {layer.path: layer.settings for layer in expected_layers("fcn8s", 7, 103)}
    assert table["conv1_1"]["padding"] == 103 and table["conv5_3"]["padding"] == 1
    assert (table["fc6"]["in_channels"], table["fc6"]["out_channels"], table["fc6"]["kernel_size"], table["fc6"]["padding"]) == (
        512,
        4096,
        7,
        0,
    )
    assert (table["upscore3"]["kernel_size"], table["upscore3"]["stride"], table["upscore3"]["bias"]) == (16, 8, False)
    assert table["pool5"] == {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1, "ceil_mode": True}
    assert table["score_pool_3"]["in_channels"] == 256 and table["score"]["out_channels"] == 7


class Looped(nn.Module):
    """A network that has the checks' own table built."""

    def __init__(self, n_class: int = 12) -> None:
        super().__init__()
        for layer in expected_layers("fcn32s", n_class):
            self.add_module(layer.path, getattr(nn, layer.kind)(**layer.settings))


def test_a_network_built_from_the_table_is_told_so_before_it_is_handed_in(capsys):
    check_layers(Looped, "fcn32s")
    said = capsys.readouterr().out
    assert "write the layers of the network out by yourself" in said and "[ok]" not in said
    assert len(expected_layers("fcn32s")) == 22, "the table is to be read again"


def test_describe_lists_what_has_hyper_parameters_with_plain_numbers():
    model = net(("a", nn.Conv2d(3, 8, (3, 3), padding="same")), ("relu", nn.ReLU()), ("b", nn.MaxPool2d((2, 2))),
                ("c", nn.BatchNorm2d(8)), ("d", nn.ConvTranspose2d(8, 8, (4, 2), stride=2, bias=False)))  # fmt: skip
    found = {layer.path: layer for layer in describe(model)}
    assert set(found) == {"a", "b", "c", "d"}
    assert found["a"].settings["kernel_size"] == 3 and found["a"].settings["padding"] == 1 and found["a"].settings["bias"] is True
    assert found["b"].settings["stride"] == 2 and found["b"].settings["ceil_mode"] is False
    assert found["c"].kind == "BatchNorm2d" and found["d"].settings["kernel_size"] == [4, 2] and found["d"].settings["bias"] is False
    assert Layer.from_json(found["d"].to_json()) == found["d"]


def test_padding_same_of_an_even_or_dilated_kernel_is_counted_right():
    assert describe(net(("a", nn.Conv2d(1, 1, 5, padding="same", dilation=2))))[0].settings["padding"] == 4
    assert describe(net(("a", nn.Conv2d(1, 1, 5, padding="valid"))))[0].settings["padding"] == 0


def test_describe_works_without_memory_and_names_shared_layers():
    with torch.device("meta"):
        shared = nn.Conv2d(3, 3, 1)
        found = describe(net(("a", shared), ("b", shared)))
    assert [(layer.path, layer.same_as) for layer in found] == [("a", None), ("b", "a")]


def altered(name: str, **settings: object) -> list[Layer]:
    return [Layer(s.path, s.kind, {**s.settings, **settings}) if s.path == name else s for s in SPEC]


def test_the_specification_has_no_fault_with_itself_nested_or_not():
    assert compare_layers(SPEC, SPEC).faults == []
    nested = [Layer(f"features.block.{s.path}", s.kind, s.settings) for s in SPEC]
    match = compare_layers(nested, SPEC)
    assert match.faults == [] and match.extra == [] and match.paths["fc6"] == "features.block.fc6"


@pytest.mark.parametrize(("name", "setting", "value"), [
    ("conv1_1", "padding", 1), ("pool3", "ceil_mode", False), ("fc6", "kernel_size", 5), ("upscore3", "bias", True),
    ("upscore1", "stride", 4), ("score", "out_channels", 21), ("conv4_1", "dilation", 2), ("fc7", "groups", 2), ("upscore2",
     "output_padding", 1),
])  # fmt: skip
def test_one_wrong_setting_is_one_fault(name, setting, value):
    (fault,) = compare_layers(altered(name, **{setting: value}), SPEC).faults
    expected = next(s for s in SPEC if s.path == name).settings[setting]
    assert (fault.cause, fault.layer, fault.expected, fault.found) == (f"layer.{setting}", name, expected, value)
    assert str(fault) == f"{name}: expected {setting}={expected}, but found {setting}={value}"


@pytest.mark.parametrize("name", ["fc7", "conv3_2", "pool4", "score_pool_3", "upscore2"])
def test_a_misnamed_layer_is_one_fault_of_its_name(name):
    found = [Layer("other_name", s.kind, s.settings) if s.path == name else s for s in SPEC]
    match = compare_layers(found, SPEC)
    assert [(f.cause, f.layer, f.found) for f in match.faults] == [("layer.name", name, "other_name")]
    assert match.extra == [] and match.paths[name] == "other_name"


def test_a_misnamed_and_wrong_layer_is_still_found_by_its_kind():
    found = [Layer("head", s.kind, {**s.settings, "kernel_size": 5}) if s.path == "fc6" else s for s in SPEC]
    assert [f.cause for f in compare_layers(found, SPEC).faults] == ["layer.name", "layer.kernel_size"]


def test_an_accepted_other_name_is_no_fault():
    found = [Layer("upscore8", s.kind, s.settings) if s.path == "upscore3" else s for s in SPEC]
    assert compare_layers(found, SPEC, {"upscore3": ["upscore8"]}).faults == []
    assert [f.cause for f in compare_layers(found, SPEC).faults] == ["layer.name"]


def test_a_missing_layer_says_what_it_should_have_been():
    (fault,) = compare_layers([s for s in SPEC if s.path != "score_pool_4"], SPEC).faults
    assert fault.cause == "layer.missing" and fault.found is None
    assert "Conv2d(in_channels=512, out_channels=12, kernel_size=1" in str(fault)


def test_layers_that_nobody_needs_are_named_and_shared_names_are_not():
    more = [*SPEC, Layer("unused", "Conv2d", SPEC[0].settings), Layer("alias_of_fc6", "Conv2d", SPEC[-9].settings, same_as="fc6"),
            Layer("norm", "BatchNorm2d"), Layer("pool6", "MaxPool2d", SPEC[2].settings)]  # fmt: skip
    match = compare_layers(more, SPEC)
    assert match.faults == [] and match.extra == ["unused", "norm"]


def test_one_pool_used_five_times_is_known_by_its_first_name():
    one = Layer("pool1", "MaxPool2d", SPEC[2].settings)
    found = [s for s in SPEC if s.kind != "MaxPool2d"] + [one]
    assert [f.layer for f in compare_layers(found, SPEC).faults] == ["pool2", "pool3", "pool4", "pool5"]


UPS = ["upscore1", "upscore2", "upscore3"]


def renamed(names: dict[str, str]) -> list[Layer]:
    return [Layer(names.get(s.path, s.path), s.kind, s.settings) for s in SPEC]


def test_upsamplings_that_all_run_in_their_turn_are_known_by_it_whatever_their_names():
    names = dict(zip(UPS, ["upscore2", "upscore_pool4", "upscore8"], strict=True))
    found = renamed(names)
    match = compare_layers(found, SPEC, run=[layer.path for layer in found])
    assert {name: match.paths[name] for name in UPS} == names
    assert [fault.cause for fault in match.faults] == ["layer.name"] * 3


@pytest.mark.parametrize("reached", [2, 3])
def test_upsamplings_whose_sizes_are_exchanged_are_known_by_their_names(reached):
    sizes = {s.path: s.settings for s in SPEC}
    exchanged = {"upscore2": sizes["upscore3"], "upscore3": sizes["upscore2"]}
    found = [Layer(s.path, s.kind, exchanged.get(s.path, s.settings)) for s in SPEC]
    run = [layer.path for layer in found if layer.path not in UPS[reached:]]
    match = compare_layers(found, SPEC, run=run)
    assert {fault.cause for fault in match.faults} == {"layer.kernel_size", "layer.stride"}
    assert [(fault.layer, fault.path) for fault in match.faults[::2]] == [("upscore2", "upscore2"), ("upscore3", "upscore3")]
