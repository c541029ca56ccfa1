"""Check of a network's layers against the table, and of its initial weights."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from segkit.checks.networks import build, expected, is_score
from segkit.checks.report import Report
from segkit.layers import Layer, LayerFault, compare_layers, describe
from segkit.tracing import paths_in_run
from segkit.upsampling import bilinear_weight

__all__ = ["check_layers", "check_trunk", "check_upsampling", "compare_with_table"]

CAUSES = {
    "layer.ceil_mode": "ceil_mode is forgotten: without it every pool may drop a row, and small pictures lose their border",
    "layer.bias": "bias=False is forgotten: a transposed convolution here only interpolates",
    "layer.name": "another name: copying VGG-16 and reading a checkpoint go by the names of the table",
    "layer.missing": "the layer is not there (or it hides in a plain Python list)",
    "layer.stride": "a convolution has stride 1, a pool stride 2",
    "layer.out_channels": "the number of classes is written down as a constant: use n_class, or compare with the table",
    "layer.in_channels": "a layer takes as many channels as the one before it gives",
}


def check_layers(network_class: Callable[..., nn.Module], network: str) -> Report:
    """Check names and hyper-parameters of all layers, and how the weights begin.

    Args:
        network_class: The student's class.
        network: ``"fcn32s"`` or ``"fcn8s"``.

    Returns:
        The printed report.
    """
    report = Report()
    model = build(report, network_class)
    if model is not None:
        layers = compare_with_table(report, model, expected(network, 12), _cause)
        check_upsampling(report, {k: v for k, v in layers.items() if isinstance(v, nn.ConvTranspose2d)})
        check_trunk(report, layers)
        if "fc7" in layers and float(layers["fc7"].get_parameter("weight").detach().std()) < 0.5 * (2 / 4096) ** 0.5:
            report.note("trunk weights", "smaller than He's: from scratch this network will hardly train (with VGG-16's weights it will)")
    return report


def compare_with_table(
    report: Report, model: nn.Module, table: Sequence[Layer], cause: Callable[[LayerFault, str], str], named: bool = True
) -> dict[str, nn.Module]:
    """Compare a network's layers with a table: one line for all layers of a kind that have the same fault.

    Args:
        report: Takes the lines.
        model: The student's network.
        table: The layers that it has to have.
        cause: The likely cause of a fault, from it and its layer's kind.
        named: Whether layers must have the names of the table.

    Returns:
        The network's module for every layer of the table, where there is one.
    """
    match, kinds = compare_layers(describe(model), table, run=paths_in_run(model)), {layer.path: layer.kind for layer in table}
    groups: dict[tuple, list[LayerFault]] = {}
    for fault in match.faults:
        if named or fault.cause != "layer.name":
            groups.setdefault((kinds[fault.layer], fault.cause, str(fault.expected)), []).append(fault)
    for (kind, *_), faults in groups.items():
        first = faults[0]
        setting = first.cause.partition(".")[2]
        name = first.layer if len(faults) == 1 else f"{first.layer} ... {faults[-1].layer} ({len(faults)})"
        label = "" if setting in ("missing", "name") else f"{setting}="
        found = first.found or "nothing" if not label else first.found
        report.fault(name, f"{label}{first.expected}", f"{label}{found}", cause(first, kind), first.cause)
    if not groups:
        report.ok("layer table", f"{len(match.paths)} layers, {'names and ' if named else ''}hyper-parameters")
    for path in match.extra:
        report.note(path, "a layer that the table does not know; it costs nothing, but is it used?")
    report.note("parameters", f"{sum(p.numel() for p in model.parameters()):,}".replace(",", " "))
    modules = dict(model.named_modules(remove_duplicate=False))
    return {name: modules[path] for name, path in match.paths.items()}


def _cause(fault: LayerFault, kind: str) -> str:
    setting = fault.cause.partition(".")[2]
    if fault.layer == "conv1_1" and setting == "padding":
        return "the padding of conv1_1 is missing: the first convolution alone has the large one"
    if fault.layer == "fc6" and setting == "kernel_size":
        return "wrong kernel in fc6: it sees the whole 7 x 7 map of VGG-16"
    if setting == "bias" and fault.expected:
        return "bias=False is too much here: only the transposed convolutions have no bias"
    if setting == "stride" and kind == "ConvTranspose2d":
        return "the stride of an upsampling is its factor, and the kernel is twice the factor"
    if setting == "padding":
        return "a 3x3 convolution keeps its size with padding 1; fc6, 1x1 and transposed ones have none"
    return CAUSES.get(fault.cause, "compare with the table above")


def check_upsampling(report: Report, layers: Mapping[str, nn.Module]) -> None:
    """Check that transposed convolutions begin bilinear."""
    for name, layer in layers.items():
        weight = layer.get_parameter("weight").detach()
        n_in, n_out, size, width = weight.shape
        label = f"{name} weight"
        if n_in != n_out or size != width:
            continue  # the table has said so
        wanted = bilinear_weight(n_in, size)
        off = weight.clone()
        off[range(n_in), range(n_in)] = 0
        difference = float((weight - wanted).abs().max())
        if difference < 1e-5:
            report.ok(label, f"bilinear, max diff {difference:.1e}")
        elif torch.allclose(weight, wanted.sum(0, keepdim=True).expand_as(weight), atol=1e-5):
            report.fault(label, "bilinear on the channel diagonal", "bilinear on all channel pairs",
                         "every class would receive the sum of all classes: only weight[c, c] holds the kernel",
                         "weights.bilinear")  # fmt: skip
        elif not weight.any():
            report.fault(label, "a bilinear kernel", "all zeros", "the kernel was never copied into .weight", "weights.bilinear")
        else:
            report.fault(label, "a bilinear kernel", f"something else (max diff {difference:.2f})",
                         "the weights are still random, or the kernel is of another size or scale: see bilinear_weight",
                         "weights.bilinear")  # fmt: skip


def check_trunk(report: Report, layers: Mapping[str, nn.Module]) -> None:
    """Check that the convolutions begin with numbers that can learn."""
    convolutions = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    trunk = {name: layer for name, layer in convolutions.items() if not is_score(name)}
    dead = [name for name, layer in trunk.items() if not layer.weight.detach().any()]
    if dead:
        report.fault("trunk weights", "random numbers", f"all zeros in {len(dead)} layers ({dead[0]}, ...)",
                     "a trunk of zeros cannot learn: no gradient gets through. Zero belongs to the score layers only",
                     "weights.zero_trunk")  # fmt: skip
        return
    broken = [name for name, layer in convolutions.items() if not torch.stack(layer.weight.detach().aminmax()).isfinite().all()]
    if broken:
        report.fault("trunk weights", "finite numbers", f"nan or inf in {broken[0]}")
        return
    report.ok("trunk weights", "not zero")
