"""Check of a network's output size: odd sizes, other numbers of classes, more than one image."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from segkit.checks.networks import FORWARD_HINTS, build, forward
from segkit.checks.report import Report

__all__ = ["check_shapes"]

# (N, H, W): odd and even, high and wide, more than one image, and smaller than one score cell
SIZES = ((2, 37, 70), (1, 96, 41), (1, 1, 9))


def check_shapes(
    network_class: Callable[..., nn.Module],
    n_class: int = 5,
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    hints: dict[str, str] = FORWARD_HINTS,
    misfit: str = "",
) -> Report:
    """Check that every input pixel gets ``n_class`` scores.

    Args:
        network_class: The student's class.
        n_class: Number of classes to build it with.
        sizes: (N, H, W) of the inputs.
        hints: Part of PyTorch's message -> what is usually behind it.
        misfit: The likely cause of another height or width; empty for those of a network that pads and crops.

    Returns:
        The printed report.
    """
    report = Report()
    model = build(report, network_class, n_class)
    if model is None:
        return report
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        image = torch.rand(size[0], 3, *size[1:], generator=generator)
        name = f"{size[0]} x 3 x {size[1]} x {size[2]}"
        out = forward(report, name, model, image, hints)
        if out is None:
            return report
        wanted = (size[0], n_class, *size[1:])
        if tuple(out.shape) == wanted and out.is_floating_point():
            report.ok(name, f"-> {tuple(out.shape)}")
        else:
            report.fault(
                name, wanted, f"{tuple(out.shape)} {str(out.dtype).replace('torch.', '')}", _cause(out, wanted, misfit), _code(out, wanted)
            )
    return report


def _code(out: Tensor, wanted: tuple[int, ...]) -> str:
    return "shape.classes" if out.ndim == 4 and out.shape[1] != wanted[1] else "shape.size"


def _cause(out: Tensor, wanted: tuple[int, ...], misfit: str) -> str:
    if tuple(out.shape) == wanted[1:]:
        return "the batch dimension is lost: no squeeze, no [0]"
    if not out.is_floating_point() or out.ndim == 3:
        return "argmax in forward: return the scores of all classes; the loss needs them"
    if out.ndim != 4:
        return "the batch dimension is lost: no squeeze, no [0]"
    if tuple(out.shape) == (wanted[0], *wanted[2:], wanted[1]):
        return "the classes are in the last dimension: no permute in forward, the loss wants them in the second one"
    if out.shape[0] != wanted[0]:
        return "only one image of the batch comes back"
    if out.shape[1] != wanted[1]:
        return "the number of classes is written down as a constant: use n_class everywhere"
    if misfit:
        return misfit
    if tuple(out.shape[2:]) == wanted[:1:-1] and wanted[2] != wanted[3]:
        return "rows and columns exchanged in the crop: H = x.shape[2] is cut from dimension 2, W = x.shape[3] from dimension 3"
    if min(out.shape[2] - wanted[2], out.shape[3] - wanted[3]) > 0:
        return "the crop is missing or too large: cut out a window as large as the input"
    if out.shape[2] < wanted[2] or out.shape[3] < wanted[3]:
        return (
            "the window runs over the edge (a Python slice then gets shorter without a word): is the crop too late, "
            "a padding missing, or ceil_mode forgotten in a pool?"
        )
    return "rows and columns are cut differently"
