"""Check of a network's layers against the table, and of its initial weights."""

from collections.abc import Callable

import torch
from torch import nn

from segkit.checks.networks import build, expected, found_layers, is_score
from segkit.checks.report import Report
from segkit.layers import LayerFault, compare_layers, describe
from segkit.tracing import paths_in_run
from segkit.upsampling import bilinear_weight

__all__ = ["check_layers"]

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
    if model is None:
        return report
    table = expected(network, 12)
    match, kinds = compare_layers(describe(model), table, run=paths_in_run(model)), {layer.path: layer.kind for layer in table}
    groups: dict[tuple, list[LayerFault]] = {}
    for fault in match.faults:
        groups.setdefault((kinds[fault.layer], fault.cause, str(fault.expected)), []).append(fault)
    for (kind, *_), faults in groups.items():
        _print_faults(report, faults, kind)
    if not groups:
        report.ok("layer table", f"{len(match.paths)} layers, names and hyper-parameters")
    for path in match.extra:
        report.note(path, "a layer that the table does not know; it costs nothing, but is it used?")
    report.note("parameters", f"{sum(p.numel() for p in model.parameters()):,}".replace(",", " "))
    layers = found_layers(model, network, 12)
    _check_upsampling(report, {k: v for k, v in layers.items() if isinstance(v, nn.ConvTranspose2d)})
    _check_trunk(report, {k: v for k, v in layers.items() if isinstance(v, nn.Conv2d)})
    return report


def _print_faults(report: Report, faults: list[LayerFault], kind: str) -> None:
    """One line for all layers of a kind that have the same fault."""
    first = faults[0]
    setting = first.cause.partition(".")[2]
    name = first.layer if len(faults) == 1 else f"{first.layer} ... {faults[-1].layer} ({len(faults)})"
    cause = CAUSES.get(first.cause, "compare with the table above")
    if first.layer == "conv1_1" and setting == "padding":
        cause = "the padding of conv1_1 is missing: the first convolution alone has the large one"
    elif first.layer == "fc6" and setting == "kernel_size":
        cause = "wrong kernel in fc6: it sees the whole 7 x 7 map of VGG-16"
    elif setting == "bias" and first.expected:
        cause = "bias=False is too much here: only the transposed convolutions have no bias"
    elif setting == "stride" and kind == "ConvTranspose2d":
        cause = "the stride of an upsampling is its factor, and the kernel is twice the factor"
    elif setting == "padding":
        cause = "a 3x3 convolution keeps its size with padding 1; fc6, 1x1 and transposed ones have none"
    if setting in ("missing", "name"):
        report.fault(name, first.expected, first.found or "nothing", cause)
    else:
        report.fault(name, f"{setting}={first.expected}", f"{setting}={first.found}", cause)


def _check_upsampling(report: Report, layers: dict[str, nn.ConvTranspose2d]) -> None:
    for name, layer in layers.items():
        weight = layer.weight.detach()
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
                         "every class would receive the sum of all classes: only weight[c, c] holds the kernel")  # fmt: skip
        elif not weight.any():
            report.fault(label, "a bilinear kernel", "all zeros", "the kernel was never copied into .weight")
        else:
            report.fault(label, "a bilinear kernel", f"something else (max diff {difference:.2f})",
                         "the weights are still random, or the kernel is of another size or scale: see bilinear_weight")  # fmt: skip


def _check_trunk(report: Report, layers: dict[str, nn.Conv2d]) -> None:
    trunk = {name: layer for name, layer in layers.items() if not is_score(name)}
    dead = [name for name, layer in trunk.items() if not layer.weight.detach().any()]
    if dead:
        report.fault("trunk weights", "random numbers", f"all zeros in {len(dead)} layers ({dead[0]}, ...)",
                     "a trunk of zeros cannot learn: no gradient gets through. Zero belongs to the score layers only")  # fmt: skip
        return
    broken = [name for name, layer in layers.items() if not torch.stack(layer.weight.detach().aminmax()).isfinite().all()]
    if broken:
        report.fault("trunk weights", "finite numbers", f"nan or inf in {broken[0]}")
        return
    report.ok("trunk weights", "not zero")
    if "fc7" in trunk and float(trunk["fc7"].weight.detach().std()) < 0.5 * (2 / 4096) ** 0.5:
        report.note("trunk weights", "smaller than He's: from scratch this network will hardly train (with VGG-16's weights it will)")
