"""Alignment of a network's output with its input, measured by sending a ramp through the network itself.

The trunk is set so that it only hands the picture on: a position becomes a brightness, and whoever reads the brightness
at the output knows which input pixel it came from. Max pooling would lift a rising ramp by half a cell; the difference
of a rising and a falling ramp cancels that exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from segkit import assignment
from segkit.checks.networks import build, clear, expected, forward, found_layers
from segkit.checks.report import Report
from segkit.upsampling import bilinear_weight

__all__ = ["Alignment", "check_alignment", "measure_alignment"]

SIZE = (160, 192)
# path -> pixels that one cell of its map covers, i.e. what one step of its crop moves
STEP = {"score": 1, "score_pool_4": 16, "score_pool_3": 8}


@dataclass(frozen=True)
class Alignment:
    """What came out.

    Attributes:
        shifts: Path (``score``, ``score_pool_4``, ``score_pool_3``) -> (dy, dx), by how many pixels the output lies too low and
            too far right: its pixel (y, x) shows the input pixel (y - dy, x - dx). The grader's sign: a crop that begins one row
            late gives dy = -1. None where no ramp came through.
        gains: Path -> by what the ramp was multiplied on its way (1.0 is right).
        ramp: The image that went in, (2, H, W): row position and column position, both from -1 to 1.
        outputs: Path -> what came out, (2, H, W), for a picture.
        more_padding: Padding of ``conv1_1`` beyond the course's; it moves the uncropped map by as much.
    """

    shifts: dict[str, tuple[float, float] | None]
    gains: dict[str, float]
    ramp: Tensor
    outputs: dict[str, Tensor]
    more_padding: int = 0


class AlignmentReport(Report):
    """A report with what was measured.

    Attributes:
        alignment: The measurement; None where nothing came out.
    """

    alignment: Alignment | None = None


def check_alignment(network_class: Callable[..., nn.Module], network: str) -> AlignmentReport:
    """Check each crop of a network, rows and columns apart.

    Args:
        network_class: The student's class.
        network: ``"fcn32s"`` or ``"fcn8s"``.

    Returns:
        The printed report. The measurement for a picture is in ``report.alignment`` (None where nothing came out).
    """
    report = AlignmentReport()
    report.alignment = found = measure_alignment(network_class, network, report=report)
    if found is None:
        return report
    out = found.shifts["score"]
    if out is None:
        report.fault("output crop", "a ramp at the output", "none", "the scores do not reach the output: see the check of values")
        return report
    _check_output(report, out, found.more_padding, network)
    _check_gain(report, found, "score")
    shifts = {}
    for path, name in (("score_pool_4", "pool4"), ("score_pool_3", "pool3")):
        if path not in found.shifts:
            continue
        shift = found.shifts[path]
        if shift is None:
            report.fault(f"{name} crop", "a ramp at the output", "none", f"{path} does not reach the output: is it added to the scores?")
            continue
        shifts[name] = (shift, out, STEP[path])
        _check_gain(report, found, path)
    crops = assignment.load().crops
    for name, (shift, base, step) in shifts.items():
        _check_path(report, f"{name} crop", crops[name], shift, base, step, _skip_cause(name, shifts, crops))
    return report


def measure_alignment(network_class: Callable[..., nn.Module], network: str, *, report: Report | None = None) -> Alignment | None:
    """Send a ramp through every path of a network.

    Args:
        network_class: The student's class.
        network: ``"fcn32s"`` or ``"fcn8s"``.
        report: Where faults are printed.

    Returns:
        The measured shifts, or None where the network does not run.
    """
    report = Report() if report is None else report  # an empty one is false
    paths = ["score"] if network == "fcn32s" else list(STEP)
    n_class = 2 * len(paths)
    model = build(report, network_class, n_class)
    if model is None:
        return None
    layers = found_layers(model, expected(network, n_class))
    _set_weights(layers, paths)
    height, width = SIZE
    rows = (torch.arange(height) / height).view(-1, 1).expand(SIZE)
    columns = (torch.arange(width) / width).expand(SIZE)
    out = forward(report, "a ramp as picture", model, torch.stack([rows, columns, torch.ones(SIZE)])[None])
    if out is None:
        return None
    if out.ndim != 4 or out.shape[1] != n_class or not out.is_floating_point() or min(out.shape[2:]) < 96:
        report.fault("a ramp as picture", (1, n_class, *SIZE), tuple(out.shape), "see the check of shapes")
        return None
    shifts, gains, outputs = {}, {}, {}
    for index, path in enumerate(paths):
        outputs[path] = pair = out[0, 2 * index : 2 * index + 2]  # (2, H, W): rows, columns
        dy = _read(pair[0, :, pair.shape[2] // 2], height)
        dx = _read(pair[1, pair.shape[1] // 2], width)
        shifts[path] = (-dy[0], -dx[0]) if dy and dx else None
        gains[path] = (dy[1] + dx[1]) / 2 if dy and dx else 0.0
    padding = getattr(layers.get("conv1_1"), "padding", (0, 0))[0]
    more = padding - assignment.load().padding if isinstance(padding, int) else 0
    return Alignment(shifts, gains, 2 * torch.stack([rows, columns]) - 1, outputs, more)


def _set_weights(layers: dict[str, nn.Module], paths: list[str]) -> None:
    clear({name: layer for name, layer in layers.items() if not isinstance(layer, nn.MaxPool2d)})
    with torch.no_grad():
        for name, layer in layers.items():
            if isinstance(layer, nn.MaxPool2d):
                continue
            weight = cast(Tensor, layer.weight)
            middle = weight.shape[2] // 2
            if isinstance(layer, nn.ConvTranspose2d):
                weight.copy_(bilinear_weight(weight.shape[0], weight.shape[2]))
            elif name == "conv1_1":
                # carriers 0, 1: row and its mirror (one minus row); 2, 3: column and its mirror. All are 0 in the padding.
                for carrier, (axis, sign) in enumerate(((0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0))):
                    weight[carrier, axis, middle, middle] = sign
                    if sign < 0:
                        weight[carrier, 2, middle, middle] = 1.0
            elif name in STEP:
                for axis in range(2):
                    weight[2 * paths.index(name) + axis, 2 * axis, middle, middle] = 1.0
                    weight[2 * paths.index(name) + axis, 2 * axis + 1, middle, middle] = -1.0
            else:
                for carrier in range(4):
                    weight[carrier, carrier, middle, middle] = 1.0


def _read(profile: Tensor, size: int) -> tuple[float, float] | None:
    """Find the ramp in a profile: the longest straight piece that rises. Returns how far on it is, and its gain."""
    step = profile.double().diff()
    straight = (step.diff().abs() < 2e-5) & (step[1:] > 2e-4)
    best, start = (0, 0), None
    for index, flag in enumerate([*straight.tolist(), False]):
        if flag and start is None:
            start = index
        elif not flag and start is not None:
            best, start = max(best, (index - start, start)), None
    length, first = best
    if length < 20:
        return None
    window = slice(first, first + length + 1)
    gain = float(step[window].mean()) * size / 2
    positions = torch.arange(len(profile), dtype=torch.float64)[window]
    value = profile.double()[window] / gain if abs(gain - 1) > 0.01 else profile.double()[window]
    return float(((value + 1) / 2 * size - positions).mean()), gain


def _check_gain(report: Report, found: Alignment, path: str) -> None:
    if abs(found.gains[path] - 1) > 0.01:
        report.fault(
            f"scale of {path}",
            "the ramp as it went in",
            f"multiplied by {found.gains[path]:.3f}",
            "a factor in forward, or a map that is resized",
        )


def _check_path(report: Report, name: str, crop: int, shift: tuple, base: tuple, step: int, cause: str) -> None:
    """Compare in cells of the map that is cropped: there an offset is a whole number."""
    dy, dx = ((base[axis] - shift[axis]) / step for axis in range(2))  # found offset minus the course's
    if max(abs(dy), abs(dx)) < 0.02:
        report.ok(name, "aligned: dy +0.0, dx +0.0 px")
        return
    scores = f"{name.removesuffix(' crop')}'s scores"
    got = f"{_begins(crop + dy, crop + dx)}: {scores} lie {_off(-dy * step, -dx * step)}"
    report.fault(name, f"from {crop}", got, cause)


def _begins(row: float, column: float) -> str:
    """Where a crop begins; measured, so that a whole number is one only after rounding."""
    return f"rows from {round(row, 2) + 0.0:g}, columns from {round(column, 2) + 0.0:g}"


def _off(dy: float, dx: float) -> str:
    """A shift in the grader's words and with its sign."""
    return f"(dy, dx) = ({round(dy, 1) + 0.0:+.1f}, {round(dx, 1) + 0.0:+.1f}) px off"


def _check_output(report: Report, shift: tuple[float, float], more: int, network: str) -> None:
    """Compare the offset itself with the course's: a wrong padding is the layer table's business and counts there."""
    crop = assignment.load().crops[network]
    dy, dx = (more - value for value in shift)  # found offset minus the course's
    moved = f"the output lies {_off(*shift)}"
    if max(abs(dy), abs(dx)) >= 0.02:
        cause = _output_cause(crop, (dy, dx), network)
        if more and max(map(abs, shift)) < 0.02:
            cause = "it fits the padding that your conv1_1 has, but the course has another one: change both"
        report.fault("output crop", f"from {crop}", f"{_begins(crop + dy, crop + dx)}: {moved}", cause)
    elif more:
        report.ok("output crop", f"from {crop}, as the course has it; {moved} by the padding of conv1_1")
    else:
        report.ok("output crop", "aligned: dy +0.0, dx +0.0 px")


def _output_cause(crop: int, more: tuple[float, float], network: str) -> str:
    dy, dx = (round(value) for value in more)
    if dy != dx:
        return "rows and columns are cropped differently"
    others = {name: value for name, value in assignment.load().crops.items() if name.startswith("fcn") and name != network}
    for name, value in others.items():
        if crop + dy == value:
            return f"this is the offset of {name.upper().replace('S', 's')}"
    if crop + dy == 0:
        return "the crop is missing: the window begins at the corner of the uncropped map"
    if abs(dy) == 1:
        return "off by one: counting begins at 0"
    return "another offset: compare with the picture of the crop above"


def _skip_cause(name: str, shifts: dict, crops: dict[str, int]) -> str:
    cells = {key: tuple(round((b[axis] - s[axis]) / step) for axis in range(2)) for key, (s, b, step) in shifts.items()}
    dy, dx = cells[name]
    if dy != dx:
        return "rows and columns are cropped differently"
    other = "pool3" if name == "pool4" else "pool4"
    if crops[name] + dy == crops[other]:
        return f"this is the offset of {other}: the two are exchanged"
    if crops[name] + dy == 0:
        return f"the crop of {name} is missing: cutting at the corner alone is not enough"
    return "another offset: count in cells of this map, not in pixels of the picture"
