"""Check of a trained network: whether its checkpoint fits the class, and its mean IoU on a few validation pictures."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from segkit.checkpoints import CheckpointError, load_checkpoint
from segkit.checks.networks import FORWARD_HINTS
from segkit.checks.report import Report
from segkit.datasets import DataError, DatasetSpec, PairDataset, dataset
from segkit.inference import EvaluationError, predict

__all__ = ["NotTested", "check_checkpoint"]

PICTURES = 4
SECONDS = 30.0
"""After so long no further picture is begun: a slow machine measures on fewer."""


class NotTested(Exception):
    """The check can say neither yes nor no on this machine; the text says why and what would help."""


def check_checkpoint(
    network_class: Callable[..., nn.Module], checkpoint: str | Path, limits: Mapping[str, Mapping[str, float]], *, untrained: float,
    read_label: Callable | None = None, confusion_matrix: Callable | None = None, scores: Callable | None = None,
) -> Report:  # fmt: skip
    """Check that a checkpoint fits into its class and segments the pictures of the assignment.

    Args:
        network_class: The student's class.
        checkpoint: The file.
        limits: Split -> ``full`` and ``zero``: mean IoU from which on the gate gives all points, and some.
        untrained: Mean IoU below which a network has learned nothing.
        read_label: The student's function; without any of these three nothing is measured.
        confusion_matrix: The student's function.
        scores: The student's function.

    Returns:
        The printed report.

    Raises:
        NotTested: The checkpoint fits, and more cannot be said: no photographs here, or a function is missing.
    """
    report = Report()
    model = _loaded(report, network_class, Path(checkpoint))
    if model is None:
        return report
    functions = {"read_label": read_label, "confusion_matrix": confusion_matrix, "scores": scores}
    lacking = [name for name, function in functions.items() if function is None]
    if read_label is None or confusion_matrix is None or scores is None:
        raise NotTested(f"it fits {network_class.__name__}; how well it segments needs your {' and '.join(lacking)}")
    spec = dataset()
    root, split = _pictures(spec)
    pairs = PairDataset(spec, root, split, names=_some(spec.split_names(split, "val")), read_label=read_label)
    ran, measured = report.run(f"{len(pairs)} validation pictures", lambda: _measure(model, pairs, confusion_matrix, scores),
                               FORWARD_HINTS)  # fmt: skip
    if ran:
        mean, count = measured
        _judge(report, spec, mean, count, split, limits, untrained)
    return report


def _loaded(report: Report, network_class: Callable[..., nn.Module], checkpoint: Path) -> nn.Module | None:
    """The network with the checkpoint in it, or None and a line."""
    ran, model = report.run("building it", lambda: _without_memory(network_class), FORWARD_HINTS)
    if not ran:
        return None
    try:
        return load_checkpoint(model, checkpoint).eval()
    except CheckpointError as error:
        text = str(error).replace(str(checkpoint), f"checkpoints/{checkpoint.name}")
        report.fault("checkpoint", "weights that fit the class", text)
    return None


def _without_memory(network_class: Callable[..., nn.Module]) -> nn.Module:
    """Build a network on the meta device; where its initialisation needs real numbers, build it for real."""
    try:
        with torch.device("meta"):
            return network_class()
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        return network_class()


def _pictures(spec: DatasetSpec) -> tuple[Path, str]:
    """Photographs where the notebooks find them, else the drawn sample."""
    try:
        root = spec.find_root()
    except DataError:
        root = spec.find_root("sample")
    return root, spec.split_of(root)


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    """A few names, spread over the list."""
    return names[:: max(1, len(names) // PICTURES)][:PICTURES]


def _measure(model: nn.Module, pairs: PairDataset, confusion_matrix: Callable, scores: Callable) -> tuple[float, int]:
    """Mean IoU, and on how many pictures."""
    total, count, started = None, 0, time.monotonic()
    for image, label in cast(Iterable[tuple[Any, Any]], pairs):  # by its items
        try:
            hist = confusion_matrix(predict(model, image), label, pairs.spec.n_class)
        except EvaluationError as error:
            raise ValueError(str(error)) from error
        total, count = hist if total is None else total + hist, count + 1
        if time.monotonic() - started > SECONDS:
            break
    return float(scores(total)[2]), count


def _judge(
    report: Report, spec: DatasetSpec, mean: float, count: int, split: str, limits: Mapping[str, Mapping[str, float]], untrained: float
) -> None:
    """One line: like an untrained network, below the first point, or good."""
    drawn = split == "sample"
    measured = f"{mean:.2f} on {count} {'drawn' if drawn else 'validation'} picture{'s' if count > 1 else ''}"
    numbers = limits.get(split, {})
    zero, full = numbers.get("zero", untrained), numbers.get("full", untrained)
    if not mean >= untrained:
        least = untrained if drawn else zero
        report.fault("mean IoU", f"at least {least:.2f}", measured, "like an untrained network: is this the file that training saved?")
    elif drawn:
        advice = " (`python -m segkit data fetch`)" if spec.fetch else ""
        raise NotTested(f"mean IoU {measured}; it counts on photographs, which are not here{advice}")
    elif mean < zero:
        report.fault("mean IoU", f"at least {zero:.2f}", measured, "trained too short, or without VGG-16's weights; "
                     f"on the test pictures points begin at {zero:.2f}, and all are earned at {full:.2f}")  # fmt: skip
    else:
        report.ok("mean IoU", f"{measured}; on the test pictures points begin at {zero:.2f}, and all are earned at {full:.2f}")
