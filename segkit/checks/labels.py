"""Check of ``read_label``: a small palette PNG with all 13 values, decoded by hand."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segkit.checks.report import Report, describe_value
from segkit.facades import IGNORE_INDEX, PALETTE
from segkit.mistakes import label_mistake

__all__ = ["check_read_label"]

# 3 rows, 5 columns, ids as a label file of the database holds them, and below what training wants to see
IDS = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 2, 0]], dtype=np.uint8)
LABEL = np.array([[255, 0, 1, 2, 3], [4, 5, 6, 7, 8], [9, 10, 11, 1, 255]])


def check_read_label(read_label: Callable[[Path], torch.Tensor]) -> Report:
    """Check decoding of a label file: kind, shape, ids, and what becomes of "unknown".

    Args:
        read_label: The student's function.

    Returns:
        The printed report.
    """
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hand made.png"
        _write(path, IDS)
        ran, label = report.run("a file with all 13 ids", lambda: read_label(path))
        if not ran or not _check_kind(report, label):
            return report
        _check_values(report, np.asarray(label).astype(np.int64))
        wide = Path(folder) / "wide.png"
        _write(wide, np.full((2, 300), 12, np.uint8))
        ran, label = report.run("another size", lambda: read_label(wide))
        if ran:
            good = tuple(np.shape(label)) == (2, 300) and bool((np.asarray(label) == 11).all())
            cause, code = "a size or an array is written down as a constant in your function", "label.shape"
            if tuple(np.shape(label)) == (2, 300):
                cause, code = "the labels depend on which ids occur in a picture: id 12 is 11 in every one", "label.values"
            got = f"{describe_value(label)}, {np.unique(np.asarray(label))[:4].tolist()}"
            report.expect(good, "another size (2 x 300)", "shape (2, 300), all 11 (shop)", got, cause, code=code)
    return report


def _write(path: Path, ids: np.ndarray) -> None:
    picture = Image.fromarray(ids)  # (H, W) bytes; putpalette turns them into palette indices
    picture.putpalette(PALETTE.reshape(-1).tolist())
    picture.save(path)


def _check_kind(report: Report, label: Any) -> bool:
    if label is None:
        return report.fault("what comes back", "a tensor", "None", "the function has no `return`", "label.type")
    if not isinstance(label, torch.Tensor):
        return report.fault("what comes back", "a torch tensor", describe_value(label),
                            "the last step is missing: torch.from_numpy(...) or torch.as_tensor(...)", "label.type")  # fmt: skip
    if tuple(label.shape) != IDS.shape:
        cause = "the label must keep the height and width of the picture: no resizing, no number for a size"
        more = {(3, 5, n) for n in (3, 4)} | {(n, 3, 5) for n in (3, 4)}  # RGB, or RGB and alpha
        if tuple(label.shape) in more:
            cause = "the picture was converted to RGB: keep the palette index, one number per pixel"
        elif label.ndim == 3:
            cause = "a dimension for the classes (one-hot): cross entropy wants one class number per pixel"
        if tuple(label.shape) == IDS.shape[::-1]:
            cause = "rows and columns exchanged: a Pillow size is (width, height), an array is (height, width)"
        elif sorted(label.shape) == [1, *sorted(IDS.shape)]:
            cause = "an extra dimension of size 1 (ToTensor adds one): the label must be (H, W)"
        return report.fault("shape", IDS.shape, tuple(label.shape), cause, "label.shape")
    report.ok("shape", f"{tuple(label.shape)}, rows first")
    if label.dtype != torch.int64:
        if label.is_floating_point() and label.abs().max() <= 0.2:
            code, cause = label_mistake(label.detach().numpy(), IDS)
            return report.fault("classes", "ids 1..12 -> 0..11", f"{label.dtype} up to {float(label.max()):.3f}", cause, code)
        cause = "cross entropy wants class numbers as long: add .long()"
        if label.dtype == torch.uint8:
            cause = "still the bytes of the file: add .long() (and do it before you subtract, or 0 - 1 wraps around)"
        report.fault("dtype", "torch.int64", label.dtype, cause, "label.dtype")
    else:
        report.ok("dtype", "torch.int64")
    return True


def _check_values(report: Report, label: np.ndarray) -> None:
    known = IDS > 0
    if np.array_equal(label[known], LABEL[known]):
        report.ok("classes", "ids 1..12 became 0..11, in the order of CLASSES")
    else:
        code, cause = label_mistake(label, IDS)
        report.fault("classes", "ids 1..12 -> 0..11", _mapping(label), cause, code)
    unknown = sorted(set(label[~known].tolist()))
    report.expect(unknown == [IGNORE_INDEX], "unknown (id 0)", IGNORE_INDEX, ", ".join(map(str, unknown)),
                  _unknown_cause(unknown), detail=f"became {IGNORE_INDEX}, which the loss leaves out", code="label.ignored")  # fmt: skip


def _mapping(label: np.ndarray) -> str:
    pairs = [f"{number}->{int(label[number == IDS][0])}" for number in (1, 2, 3, 12)]
    return ", ".join(pairs)


def _unknown_cause(values: list[int]) -> str:
    if values == [0]:
        return "id 0 became 0, which is background: it must be set apart as 255"
    if values == [-1]:
        return "0 - 1 is -1: set the pixels of id 0 to 255 (the loss ignores 255, and -1 is an error there)"
    if values == [254]:
        return "the shift came after id 0 had been set to 255: set it last"
    return "pixels of id 0 are unknown: set them to 255"
