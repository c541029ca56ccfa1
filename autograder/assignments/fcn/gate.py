"""The mIoU gates: predictions of a checkpoint against labels that never leave the judge."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autograder.assignments.fcn.prepare import COLOURS, LEGEND
from autograder.checking import Grading
from autograder.gates import gate_points_lost, near_a_step, predictions
from autograder.run import GateData
from autograder.student import Student
from segkit.facades import CLASSES
from segkit.reference import confusion_matrix, scores

__all__ = ["judge"]


def judge(student: Student, grading: Grading) -> None:
    """Mean IoU over the test list; full points at the threshold, none at the lower end, linear between."""
    settings, data = grading.check.settings, grading.context.data
    maps = predictions(student, grading, settings["defines"], settings["checkpoint"])  # or why not: no checkpoint, no data
    limits = settings[data.split]
    hist = _count(maps, data)
    run, share = grading.context.run, grading.check.points
    if run.gate_precision != "float32" and near_a_step(scores(hist)[2], limits["full"], limits["zero"], share):
        maps = predictions(student, grading, settings["defines"], settings["checkpoint"], exact=True)
        hist = _count(maps, data)
    accuracy, iou, mean = scores(hist)
    measured = {"mean_iou": round(mean, 4), "pixel_accuracy": round(accuracy, 4), "full": limits["full"]}
    _remember(grading, maps, mean)
    best = sorted((float(v), n) for v, n in zip(iou, CLASSES, strict=True) if not np.isnan(v))
    summary = f"mean IoU {mean:.4f}, pixel accuracy {accuracy:.4f} on {len(maps)} pictures of the test list ({data.split})"
    lost = gate_points_lost(mean, limits["full"], limits["zero"])
    if lost == 0:
        (low, worst), (high, good) = best[0], best[-1]
        grading.note(f"{summary[0].upper()}{summary[1:]}. Best class: {good} {high:.2f}; worst: {worst} {low:.2f}.")
        return
    weakest = ", ".join(f"{name} {value:.2f}" for value, name in best[:3])
    text = (f"Expected mean IoU of at least {limits['full']:.2f} (some points from {limits['zero']:.2f} on), got {summary}. "
            f"Weakest classes: {weakest}.{_likely(hist)}")
    grading.lose(cause="gate.low", message=text, measured=measured, share=lost)


def _count(maps: Mapping[str, NDArray[np.uint8]], data: GateData) -> NDArray[np.int64]:
    """Confusion matrix over all pictures."""
    n_class = len(CLASSES)
    hist = np.zeros((n_class, n_class), dtype=np.int64)
    for name, predicted in maps.items():
        label = data.label(name)
        # a network of more classes may answer beyond the twelve: such pixels are wrong, whatever they should have been
        clipped = np.minimum(predicted, n_class)
        wide = confusion_matrix(clipped, np.where(label < n_class, label, 255), n_class + 1)
        hist += wide[:n_class, :n_class]
        missed = wide[:n_class, n_class]
        hist[np.arange(n_class), (np.arange(n_class) + 1) % n_class] += missed
    return hist


def _likely(hist: np.ndarray) -> str:
    """What a low score usually comes from, as far as the counts tell."""
    predicted = hist.sum(axis=0)
    if predicted.max() > 0.95 * predicted.sum():
        name = CLASSES[int(predicted.argmax())]
        return f"\nNearly everything was predicted as {name}: train longer, or check the learning rate and labels."
    return "\nLikely cause: too few epochs, no pretrained trunk, or another normalisation of the pictures than in training."


def _remember(grading: Grading, maps: dict, mean: float) -> None:
    """Keep the predictions for the report's pictures."""
    context = grading.context
    context.predictions[grading.check.id] = maps
    context.picture_notes[grading.check.id] = f"mean IoU {mean:.3f}"
    context.colours, context.legend = COLOURS, LEGEND
