"""Checks of the three networks: their layers, their sizes, and what each layer reads while they run."""

from collections.abc import Callable
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.checks import shapes
from segkit.checks.networks import FORWARD_HINTS, Watched, build, forward, found_layers, quick_draws, watch
from segkit.checks.report import Report
from segkit.checks.satellite import finding  # noqa: F401  # refuses where work is graded
from segkit.checks.structure import check_trunk, check_upsampling, compare_with_table
from segkit.layers import Layer, describe
from segkit.tracing import trace

__all__ = ["check_forward", "check_layers", "check_shapes"]

N_CLASS = 7
HINTS = FORWARD_HINTS | {
    "Kernel size can't be greater": "the map has become smaller than a kernel: the head's kernels are 2, 1 and 1",
    "must match the size": "maps of different size are added: compare kernel and stride of each upsampling with the text above",
    "shapes cannot be multiplied": "the head's three layers are convolutions here, not nn.Linear",
}
"""The same parts of messages; here nothing is padded by 100, and nothing is cropped."""
UPSAMPLINGS = {
    "fcn32s": {"upscore": (0, 0, 64, 32)},
    "fcn16s": {"upfeature": (0, 512, 4, 2), "upscore": (512, 0, 16, 16)},
    "fcn8s": {"upfeature": (0, 256, 8, 4), "uppool4": (512, 256, 2, 2), "upscore": (256, 0, 8, 8)},
}  # fmt: skip
"""Transposed convolutions: channels in and out (0: the number of classes), kernel, stride."""
ADDED = {"fcn32s": ("score",), "fcn16s": ("upfeature", "pool4"), "fcn8s": ("upfeature", "uppool4", "pool3")}
"""What the last upsampling reads: the sum of these."""
POOLS = {"pool3": "features.14", "pool4": "features.21", "pool5": "features.28"}  # the convolution before each


def table(network: str, n_class: int = N_CLASS) -> list[Layer]:
    """The layers of a network."""
    from torchvision.models import vgg16  # as long to import as all the rest; masks are checked without it

    with torch.device("meta"):
        head = {"fc6": nn.Conv2d(512, 4096, 2), "fc7": nn.Conv2d(4096, 4096, 1), "score": nn.Conv2d(4096, n_class, 1)}
        ups = {name: nn.ConvTranspose2d(inputs or n_class, outputs or n_class, kernel, stride=stride, bias=False)
               for name, (inputs, outputs, kernel, stride) in UPSAMPLINGS[network].items()}  # fmt: skip
        return describe(nn.ModuleDict({"features": vgg16(weights=None).features} | head | ups))


def check_layers(network_class: Callable[..., nn.Module], network: str) -> Report:
    """Check the hyper-parameters of all layers, whatever their names, and how the weights begin.

    Args:
        network_class: The student's class.
        network: ``"fcn32s"``, ``"fcn16s"`` or ``"fcn8s"``.

    Returns:
        The printed report.
    """
    report = Report()
    model = build(report, network_class)
    if model is not None:
        layers = compare_with_table(report, model, table(network), lambda fault, kind: "compare with the table above", named=False)
        check_upsampling(report, {name: layer for name, layer in layers.items() if (network, name) == ("fcn32s", "upscore")})
        check_trunk(report, layers)
    return report


def check_shapes(network_class: Callable[..., nn.Module]) -> Report:
    """Check that every pixel gets ``n_class`` scores, at multiples of 32.

    Args:
        network_class: The student's class.

    Returns:
        The printed report.
    """
    misfit = "argmax, or a crop or stride that does not belong there"
    return shapes.check_shapes(network_class, sizes=((2, 64, 96), (1, 96, 64)), hints=HINTS, misfit=misfit)


def check_forward(network_class: Callable[..., nn.Module], network: str) -> Report:
    """Check what each layer reads while the network runs: nothing but what the notebook says, and dropout in train mode alone.

    Args:
        network_class: The student's class.
        network: As for ``check_layers``.

    Returns:
        The printed report.
    """
    report, x = Report(), torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    model = build(report, network_class)
    if model is None:
        return report
    norms = [path for path, kind in trace(model) if path and "Norm" in kind]
    report.expect(not norms, "no normalisation", "none", ", ".join(norms[:3]), "the network of the notebook has none: leave them out",
                  code="forward.extra_layer")  # fmt: skip
    layers = {name: layer for name, layer in found_layers(model, table(network)).items() if not isinstance(layer, nn.MaxPool2d)}
    with torch.no_grad(), quick_draws():
        for layer in layers.values():
            weight = next(layer.parameters())
            nn.init.normal_(weight, 0, (2 / weight[0].numel()) ** 0.5)
    with watch(layers) as seen:
        out = forward(report, "a run in eval mode", model, x, HINTS)
    missing = [layer.path for layer in table(network) if layer.kind != "MaxPool2d" and layer.path not in seen]
    others = [name for name, one in seen.items() if one.calls != 1 or one.seen is None]
    strange = ", ".join((missing + others)[:4])
    if out is not None and report.expect(not strange, "every layer runs once", "one run of each", strange,
                             "a layer is missing, not used, or used twice", code="forward.values"):  # fmt: skip
        second = forward(report, "again", model, x)
        report.expect(second is not None and torch.equal(second, out), "the same twice", "one result in eval mode", "two",
                      "dropout is active in eval mode: nn.Dropout2d, or training=self.training", code="forward.dropout_eval")  # fmt: skip
        _check_reads(report, network, seen, out)
        _check_dropout(report, network, model, layers, x)
    return report


def _near(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


def _maps(seen: dict[str, Watched]) -> dict[str, Tensor]:
    """What may be added: outputs of the layers, and both pools."""
    pools = {name: F.max_pool2d(torch.relu(seen[conv].gave), 2) for name, conv in POOLS.items()}
    return pools | {name: one.gave for name, one in seen.items()}


def _check_reads(report: Report, network: str, seen: dict[str, Watched], out: Tensor) -> None:
    """Hold the input of each layer against the outputs of those that it must come from."""
    before: Tensor | None = None
    wrong: list[str] = []
    for layer in table(network):
        if layer.path in UPSAMPLINGS[network]:
            break
        if layer.kind == "MaxPool2d":
            assert before is not None
            before = F.max_pool2d(before, 2)
            continue
        one = seen[layer.path]
        if before is not None and not _near(one.read, before):
            wrong.append(f"{layer.path} reads what no ReLU has passed" if one.read.min() < 0 else f"{layer.path} reads another map")
        before = torch.relu(one.gave)
    report.expect(not wrong, "trunk and head", "a ReLU behind each convolution", "; ".join(wrong[:2]),
                  "a ReLU, a pool or a layer is left out", code="forward.values")  # fmt: skip
    maps, terms, read = _maps(seen), ADDED[network], seen["upscore"].read
    if "uppool4" in seen:
        report.expect(_near(seen["uppool4"].read, maps["pool4"]), "pool4", "pool4 as the second upsampling's input", "another map",
                      "features[:24] is pool4, features[:17] is pool3", code="forward.values")  # fmt: skip
    got, cause = "another map", "one of the maps comes from another place, or something happens to their sum"
    for few in (few for count in range(1, len(terms)) for few in combinations(terms, count)):
        if _near(read, _sum(maps, few)):
            got, cause = " + ".join(few), "a map is not added"
    if _near(read, torch.relu(_sum(maps, terms))):
        got, cause = "its ReLU", "nothing comes between the sum and the last upsampling"
    report.expect(_near(read, _sum(maps, terms)), "what the last upsampling reads", " + ".join(terms), got, cause, code="forward.skip")
    report.expect(_near(out, seen["upscore"].gave), "raw scores", "what the last upsampling gives", "something else",
                  "softmax, argmax or a crop in forward", code="forward.softmax")  # fmt: skip


def _sum(maps: dict[str, Tensor], terms: tuple[str, ...]) -> Tensor:
    found = maps[terms[0]]
    for name in terms[1:]:
        found = found + maps[name] if maps[name].shape == found.shape else found
    return found


def _check_dropout(report: Report, network: str, model: nn.Module, layers: dict[str, nn.Module], x: Tensor) -> None:
    """In train mode whole channels of half the map are zero behind both ReLUs of the head, and nowhere else."""
    torch.manual_seed(0)
    with watch(layers) as seen:
        ran = forward(report, "a run in train mode", model.train(), x) is not None
    model.eval()
    for before, name in (("fc6", "fc7"), ("fc7", "score")) if ran else ():
        dropped = (seen[name].read == 0)[seen[before].gave > 0].float().mean()  # of channels or of single numbers
        report.expect(bool(0.4 < dropped < 0.6), f"dropout behind {before}", "half of its numbers gone in train mode", f"{dropped:.0%}",
                      "nn.Dropout2d(0.5) behind the ReLU", code="dropout.missing")  # fmt: skip
    if ran:
        maps = _maps(seen)
        plain = _near(seen["upscore"].read, _sum(maps, ADDED[network])) and _near(seen["fc6"].read, maps["pool5"])
        plain = plain and ("uppool4" not in seen or _near(seen["uppool4"].read, maps["pool4"]))
        report.expect(plain, "no other dropout", "the same maps as in eval mode elsewhere", "other ones in train mode",
                      "a dropout that does not belong there", code="dropout.extra")  # fmt: skip
