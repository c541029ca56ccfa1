"""Check of the VGG-16 copy: every tensor, nothing shared, VGG unchanged."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import VGG, vgg16

from segkit.checks.networks import build, expected, found_layers
from segkit.checks.report import Report, arguments_hint
from segkit.layers import describe

__all__ = ["check_copy"]

SAMPLES = 2000
MATRICES = "fc6 and fc7 of VGG-16 are matrices: give them the shape of a convolution's weight first"
PAIRS = "layers are paired wrongly: both lists must run in the same order (VGG-16's features holds ReLUs and pools in between)"


def check_copy(copy: Callable[..., object] | None, network_class: Callable[..., nn.Module], network: str = "fcn32s") -> Report:
    """Check a function that copies VGG-16 into an FCN, on random weights (no download needed).

    Args:
        copy: The student's ``copy_params_from_vgg16(model, vgg16)``; None where it is a method of the class.
        network_class: The student's network.
        network: ``"fcn32s"`` or ``"fcn8s"``.

    Returns:
        The printed report.
    """
    report = Report()
    model = build(report, network_class)
    if model is None:
        return report
    vgg = _random_vgg()
    settings = {layer.path: layer.settings for layer in describe(model)}
    before = {name: float(value.sum(dtype=torch.float64)) for name, value in vgg.state_dict().items()}
    call = (lambda: copy(model, vgg)) if copy else (lambda: cast(Any, model).copy_params_from_vgg16(vgg))
    hints = arguments_hint(copy, "def copy_params_from_vgg16(model, vgg16)") | {
        "output with shape [4096, ": "the copy runs in the wrong direction: the FCN's parameter receives, VGG's is only read",
        "(7) must match the size of tensor b (25088)": MATRICES,
        "(1) must match the size of tensor b (4096)": MATRICES,
        "must match": PAIRS,
        "is invalid for input of size": PAIRS,
        "shape": MATRICES,
        "has no attribute": "a layer has another name than in the table, or a Sequential is indexed wrongly",
        "leaf Variable": "writing into a parameter needs torch.no_grad() around it",
    }
    ran, _ = report.run("copying", call, hints)
    if not ran:
        return report
    layers = found_layers(model, expected(network, 12))
    with torch.no_grad():
        now = {name: float(value.sum(dtype=torch.float64)) for name, value in vgg.state_dict().items()}
        changed = [name for name in before if before[name] != now[name]]
        report.expect(
            not changed,
            "VGG-16 itself",
            "unchanged",
            f"changed: {', '.join(changed[:3])}",
            "the copy runs in the wrong direction: the FCN's parameter receives, VGG's is only read",
            "unchanged",
            "copy.source",
        )
        now_settings = {layer.path: layer.settings for layer in describe(model)}
        others = [path for path, setting in settings.items() if now_settings.get(path) != setting]
        report.expect(not others, "the FCN's own layers", "the same settings as before", f"others in {', '.join(others[:3])}",
                      "VGG's layers were put in the place of the FCN's: copy their values alone", "as they were", "copy.layer")  # fmt: skip
        _check_features(report, layers, vgg)
        _check_head(report, layers, vgg)
        _check_alias(report, layers, vgg)
    return report


def _random_vgg() -> VGG:
    with torch.device("meta"):
        vgg = vgg16(weights=None, init_weights=False)
    vgg = vgg.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(4)
    for parameter in vgg.parameters():
        parameter.data.uniform_(-0.1, 0.1, generator=generator)
    return vgg


def _features(vgg: VGG) -> dict[str, nn.Module]:
    """VGG-16's convolutions, by the names of their copies."""
    from segkit.specification import VGG16_FEATURES  # here: a worker, which has no such file, may still import this one

    return {name: vgg.features[index] for index, name in VGG16_FEATURES.items()}


def _check_features(report: Report, layers: dict[str, nn.Module], vgg: VGG) -> None:
    wrong: dict[str, list[str]] = {"weight": [], "bias": []}
    for name, source in _features(vgg).items():
        for kind, names in wrong.items():
            mine = getattr(layers.get(name), kind, None)
            theirs = getattr(source, kind)
            if mine is None or mine.shape != theirs.shape or not torch.equal(mine, theirs):
                names.append(name)
    for kind, names in wrong.items():
        cause = (
            "the biases are copied too: each layer has .weight and .bias"
            if kind == "bias"
            else "these layers were skipped, or paired with another one of VGG-16 (features holds ReLUs and pools in between)"
        )
        got = f"different in {len(names)}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
        plural = "weights" if kind == "weight" else "biases"
        report.expect(not names, f"13 convolutions, {plural}", "VGG-16's", got, cause, "max diff 0.0e+00",
                      "copy.bias" if kind == "bias" else "copy.values")  # fmt: skip


def _check_head(report: Report, layers: dict[str, nn.Module], vgg: VGG) -> None:
    for name, index, channels, side in (("fc6", 0, 512, 7), ("fc7", 3, 4096, 1)):
        mine: Any = layers.get(name)
        theirs = vgg.classifier[index]
        label = f"{name} weight"
        if mine is None or tuple(mine.weight.shape) != (4096, channels, side, side):
            report.fault(label, (4096, channels, side, side), "another shape", "see the layer check of notebook 2")
            continue
        orders = _orders(mine.weight, theirs.weight)
        if orders[0] < 1e-7:
            report.ok(label, f"max diff {orders[0]:.1e} in {SAMPLES} sampled numbers")
        else:
            cause = "it was left out: VGG-16's classifier[0] is fc6, classifier[3] is fc7"
            if min(orders[1:]) < 1e-7:
                cause = "wrong axis order: VGG-16 flattens (channel, row, column), which is the order of a convolution too: no permute"
            report.fault(label, "VGG-16's", f"max diff {orders[0]:.2f}", cause, "copy.order" if "axis" in cause else "copy.left_out")
        same = mine.bias is not None and torch.equal(mine.bias, theirs.bias)
        report.expect(same, f"{name} bias", "VGG-16's", "another one", "the bias is copied too", "max diff 0.0e+00", "copy.bias")


def _orders(mine: Tensor, theirs: Tensor) -> list[float]:
    """Largest difference over sampled entries, for the right order of axes and two wrong ones."""
    out, channels, rows, columns = mine.shape
    generator = torch.Generator().manual_seed(5)
    o, c, i, j = (torch.randint(size, (SAMPLES,), generator=generator) for size in (out, channels, rows, columns))
    places = (
        c * rows * columns + i * columns + j,  # channel, row, column
        i * columns * channels + j * channels + c,  # row, column, channel
        c * rows * columns + j * rows + i,  # channel, column, row
    )
    return [float((mine[o, c, i, j] - theirs[o, place]).abs().max()) for place in places]


def _check_alias(report: Report, layers: dict[str, nn.Module], vgg: VGG) -> None:
    """Change the copy and look whether the original moves."""
    pairs = _features(vgg) | {"fc6": vgg.classifier[0], "fc7": vgg.classifier[3]}
    shared = []
    for name, theirs in pairs.items():
        for kind in ("weight", "bias"):
            mine, other = getattr(layers.get(name), kind, None), getattr(theirs, kind)
            if mine is None:
                continue
            old = float(other.reshape(-1)[0])
            mine.view(-1)[0] += 1.0
            if float(other.reshape(-1)[0]) != old:
                shared.append(f"{name}.{kind}")
            mine.view(-1)[0] -= 1.0
    report.expect(not shared, "a copy of its own", "VGG-16 stays when the FCN changes", f"shared: {', '.join(shared[:3])} ({len(shared)})",
                  "aliasing: `a.data = b.data` makes two names for one tensor; copy values with copy_",
                  "nothing shared", "copy.alias")  # fmt: skip
