"""Visible checks: what a notebook calls after each TODO. One line each: ``[ok]``, or expected / got / likely cause.

The checks know hand-worked cases and properties, no reference implementation. They never raise because of a mistake in
a student's code; they print it. One topic per file: labels, metrics, the parts of a network, the VGG copy.
"""

import importlib

# name -> module; imported when asked for, so that notebook 1 does not wait for the network checks
WHERE = {
    "Alignment": "alignment",
    "Report": "report",
    "check_read_label": "labels",
    "check_confusion_matrix": "metrics",
    "check_scores": "scoring",
    "check_layers": "structure",
    "check_shapes": "shapes",
    "check_values": "values",
    "check_alignment": "alignment",
    "measure_alignment": "alignment",
    "check_offset": "offsets",
    "check_copy": "pretraining",
    "check_first_loss": "learning",
    "check_train_step": "learning",
    "check_overfit": "learning",
    "NotTested": "trained",
    "check_checkpoint": "trained",
}

__all__ = sorted(WHERE)


def __getattr__(name: str) -> object:
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
