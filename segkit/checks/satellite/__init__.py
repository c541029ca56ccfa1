"""Visible checks of the assignment ``satellite``: what its notebooks call after each TODO, from the code that the grader asks too."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from segkit import assignment
from segkit.checks.networks import build
from segkit.checks.report import Report
from segkit.checks.satellite.embedding import embed_mistakes, features_mistakes
from segkit.checks.satellite.finding import Finding
from segkit.checks.satellite.masks import iou_mistakes, mask_mistakes
from segkit.checks.satellite.networks import check_forward, check_layers, check_shapes
from segkit.checks.satellite.tables import table_mistakes
from segkit.layers import compare_layers, describe
from segkit.subject import LocalSubject, StudentError

__all__ = [
    "check_classifier", "check_embed", "check_forward", "check_layer_table", "check_layers", "check_mean_iou", "check_read_mask",
    "check_shapes",
]  # fmt: skip

SEED = 11  # other inputs than the grader's
PARAMETERS = ("weight", "bias")


def _report(name: str, function: Callable[..., Any], parts: Mapping[str, str], ask: Callable[..., Iterator[Finding]]) -> Report:
    """Ask, and print a line for each part."""
    report = Report()
    with TemporaryDirectory() as folder:
        subject = LocalSubject(Path(folder))
        subject.adopt(name, function)
        _print(report, name, parts, partial(ask, subject))
    return report


def _print(report: Report, name: str, parts: Mapping[str, str], ask: Callable[[], Iterator[Finding]]) -> None:
    try:
        found = [*ask()]
    except StudentError as error:
        cause = "the cell above is still to be written: fill it in, run it, then run this cell" if error.cause == "code.unfinished" else ""
        report.fault(name, "a result", str(error).strip(), cause, error.cause)
        return
    finally:
        torch.set_grad_enabled(True)
    wrong = {finding.part: finding for finding in reversed(found)}
    for part, words in parts.items():
        if part in wrong:
            mistake = wrong[part]
            report.fault(words, mistake.expected, mistake.got, mistake.why, mistake.code)
        else:
            report.ok(words)


def check_layer_table(layer_table: Callable[..., Any]) -> Report:
    """Check ``layer_table`` on a network with containers, repeated and idle layers, and on VGG-16."""
    parts = {"rows": "a row for each run", "shapes": "shapes of outputs", "parameters": "parameters", "untouched": "left as it was"}
    return _report("layer_table", layer_table, parts, lambda subject: table_mistakes(subject, np.random.default_rng(SEED)))


def check_classifier(classifier: Callable[..., nn.Module], n_class: int = 5) -> Report:
    """Check the classifier's layers, and that its features are what its last layer reads."""
    from torchvision.models import vgg16

    report = Report()
    model = build(report, classifier, n_class)
    if model is None:
        return report
    with torch.device("meta"):
        vgg = vgg16(weights=None, num_classes=n_class)
    table = describe(vgg)
    layers = describe(model)
    norms = [layer.path for layer in layers if "Norm" in layer.kind]
    report.expect(not norms, "no normalisation", "none", ", ".join(norms[:3]), "take vgg16, not vgg16_bn", code="forward.extra_layer")
    match = compare_layers([layer for layer in layers if layer.path not in norms], table)
    faults = [fault for fault in match.faults if fault.cause != "layer.name"]
    for fault in faults[:1]:
        report.fault(fault.path or fault.layer, fault.expected, fault.found, f"compare with torchvision's VGG-16 ({fault})", fault.cause)
    usual = build(report, classifier)
    if not faults and not norms and usual is not None:
        last = dict(usual.named_modules(remove_duplicate=False))[match.paths["classifier.6"]]
        found = getattr(last, "out_features", None)
        report.expect(found == 50, "n_class left out", 50, found, "the signature is __init__(self, n_class=50)", code="layer.classes")
        report.ok("layers", f"those of VGG-16, {n_class} outputs")
        subject = LocalSubject(Path())
        subject.adopt("built", lambda: model)
        images = np.random.default_rng(SEED).standard_normal((2, 3, 32, 32)).astype(np.float32)
        modules = dict(model.named_modules(remove_duplicate=False))
        weights = {f"{name}.{kind}": getattr(modules[path], kind) for name, path in match.paths.items() for kind in PARAMETERS
                   if hasattr(modules[path], kind)}  # fmt: skip
        vgg.load_state_dict(weights, assign=True)
        with torch.no_grad():
            logits = vgg.eval()(torch.from_numpy(images))
        ask = partial(features_mistakes, subject, subject.build("built"), match.paths["classifier.6"], images, logits.numpy())
        _print(report, "Classifier", {"features": "features(x): (N, 4096), behind the ReLU", "forward": "raw scores"}, ask)
    return report


def check_embed(embed: Callable[..., Any]) -> Report:
    """Check ``embed`` on a small classifier with dropout, five pictures in three batches."""
    parts = {"features": "features of all pictures", "labels": "labels beside them", "mode": "the mode", "gradients": "no gradients"}
    return _report("embed", embed, parts, lambda subject: embed_mistakes(subject, np.random.default_rng(SEED)))


def check_read_mask(read_mask: Callable[..., Any]) -> Report:
    """Check ``read_mask`` on a mask with all colours, and on one with a foreign pixel."""
    return _report("read_mask", read_mask, {"ids": "seven colours", "dtype": "int64", "foreign": "a foreign colour is an error"},
                   lambda subject: mask_mistakes(subject, np.random.default_rng(SEED)))  # fmt: skip


def check_mean_iou(mean_iou: Callable[..., Any]) -> Report:
    """Check ``mean_iou``: six classes, unknown pixels by the course's rule, an absent class."""
    rule = assignment.facts().get("unknown", "left out")
    parts = {"mean": "mean over six classes", "unknown": "unknown pixels", "absent": "an absent class"}
    return _report("mean_iou", mean_iou, parts, lambda subject: iou_mistakes(subject, np.random.default_rng(SEED), rule))
