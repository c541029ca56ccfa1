"""The mIoU gates: predictions of a checkpoint against labels that never leave the judge.

The checkpoint is measured with the judge's own network, made of the hyper-parameters and crops found in the student's, so that
nothing a ``forward`` does can earn anything. Where the student's network computes something else, it is measured too: points that
it alone would earn are for a person to give. A network that is described without a graph has only the student's class.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autograder.judge.checking import CannotGrade, Grading, NeedsPerson
from autograder.judge.gates import JudgesNetwork, checkpoint_of, gate_points_lost, near_a_step, predictions, rounded
from autograder.judge.run import GateData
from autograder.judge.student import Student
from autograder.segmentation.network import Network
from autograder.segmentation.spec import NetworkSpec
from segkit.datasets import DatasetSpec
from segkit.notebooks import Chunk, Program
from segkit.reference import confusion_matrix, scores
from segkit.subject import StudentError

__all__ = ["judge", "judges_network", "remember"]

SAME_LABELS = ("logits", "softmax", "log_softmax", "sigmoid", "argmax")  # views of the logits in which the largest stays the largest


@dataclass(frozen=True)
class Score:
    """What predictions are worth.

    Attributes:
        hist: Confusion matrix over all pictures.
        lost: Share of the points that is lost.
        maps: The predictions.
    """

    hist: NDArray[np.int64]
    lost: float
    maps: Mapping[str, NDArray[np.uint8]]

    @property
    def mean_iou(self) -> float:
        return scores(self.hist)[2]


def judge(student: Student, grading: Grading, spec: NetworkSpec, dataset: DatasetSpec) -> None:
    """Mean IoU over the test list; full points at the threshold, none at the lower end, linear between.

    Args:
        student: The fixture.
        grading: The fixture; its check has ``checkpoint``, ``defines`` and the limits of each split.
        spec: The network. Without a graph the judge has none of its own, and the student's class is measured.
        dataset: What the pictures are of.
    """
    settings, retrained = grading.check.settings, grading.context.run.settings.retraining is not None
    own, same = None, False
    if not retrained:
        checkpoint_of(grading, settings["checkpoint"])  # without one nothing is asked
        own, same = judges_network(Network(student, grading, spec)) if spec.graph else (None, False)
    score = None if own is None else _judged(student, grading, own, same, dataset.n_class)
    if score is None or (score.lost and not same):
        theirs = _of_the_class(student, grading, score, dataset.n_class)
        if not retrained and spec.graph and theirs is not None and theirs.lost < (1.0 if score is None else score.lost):
            raise _needs_person(grading, score, theirs, dataset)
        score = score or theirs
        assert score is not None  # theirs is missing only beside a score
    _tell(grading, score, dataset)


def judges_network(network: Network) -> tuple[JudgesNetwork | None, bool]:
    """The network that a student's checkpoint is measured with, and whether theirs gives the same label maps.

    Args:
        network: The student's, under the probe.

    Returns:
        None where layers with weights are missing, so that there is no such network.

    Raises:
        StudentError: The class is missing, or cannot be built.
    """
    spec, expected = network.spec, network.table(network.spec.n_class)
    layers = network.described()
    match, found = network.match()[0], {layer.path: layer for layer in layers}
    weighted = [layer.path for layer in expected if layer.kind != "MaxPool2d"]
    if any(match.paths.get(name) not in found for name in weighted):
        return None, False
    settings = {layer.path: dict(found[match.paths[layer.path]].settings if match.paths.get(layer.path) in found else layer.settings)
                for layer in expected}  # fmt: skip
    try:
        measurement = network.measurement()
    except StudentError:
        measurement = None  # its forward fails: the weights may be right all the same
    same = measurement is not None and measurement.exact and measurement.view in SAME_LABELS
    offsets, graph = network.offsets | dict(measurement.offsets if measurement else {}), spec.chain
    arguments = {
        "trunk": [*graph.trunk, *graph.head], "score": graph.score,
        "steps": [[up.layer, [up.skip.name, up.skip.tap, up.skip.layer] if up.skip else None] for up in graph.upsamplings],
        "settings": settings, "paths": {name: match.paths[name] for name in weighted},
        "offsets": {name: list(offset) for name, offset in offsets.items()},
    }  # fmt: skip
    return JudgesNetwork(_program(spec.class_name), arguments), same


def _program(class_name: str) -> Program:
    """The code of ``gate_network.py``, under the name of the student's class: messages on the checkpoint speak of that."""
    path = Path(__file__).with_name("gate_network.py")
    source = path.read_text(encoding="utf-8").replace("GateNetwork", class_name)
    return Program(class_name, path.name, (Chunk(path.name, source, tuple(range(len(ast.parse(source).body)))),))


def _measured(student: Student, grading: Grading, network: JudgesNetwork | None, n_class: int) -> Score:
    """Measure the checkpoint with the judge's network, or with the student's class where there is none."""
    settings, data = grading.check.settings, grading.context.data
    limits = settings[data.split] if data else {}

    def predicted(exact: bool) -> Score:
        maps = predictions(student, grading, settings["defines"], settings["checkpoint"], exact, network, again=True)
        assert data is not None  # without pictures there are no predictions
        hist = _count(maps, data, n_class)
        return Score(hist, gate_points_lost(scores(hist)[2], limits["full"], limits["zero"]), maps)

    score = predicted(exact=False)
    if rounded(grading) and near_a_step(score.mean_iou, limits["full"], limits["zero"], grading.check.points):
        score = predicted(exact=True)
    return score


def _judged(student: Student, grading: Grading, network: JudgesNetwork, same: bool, n_class: int) -> Score:
    """Measure with the judge's network; where predictions are only taken down, the class's are too if they may be wanted."""
    try:
        return _measured(student, grading, network, n_class)
    except CannotGrade as error:
        if error.cause == "predictions.made" and not same:
            _measured(student, grading, None, n_class)
        raise


def _of_the_class(student: Student, grading: Grading, judged: Score | None, n_class: int) -> Score | None:
    """Measure with the student's class; None where it fails and there is another measurement."""
    try:
        return _measured(student, grading, None, n_class)
    except StudentError:
        if judged is None:
            raise
        return None


def _summary(score: Score, data: GateData) -> str:
    accuracy, _, mean = scores(score.hist)
    return f"mean IoU {mean:.4f}, pixel accuracy {accuracy:.4f} on {len(score.maps)} pictures of the test list ({data.split})"


def _needs_person(grading: Grading, judged: Score | None, own: Score, dataset: DatasetSpec) -> NeedsPerson:
    """Only what the student's ``forward`` makes of the pictures earns points: somebody must look at it."""
    name, network, data = grading.check.settings["defines"], grading.check.settings["checkpoint"], grading.context.data
    assert data is not None
    if judged is None:
        why, number = f"its layers are not those of the network (see {network}.layers), and no other network can use the checkpoint", None
    else:
        number = round(judged.mean_iou, 4)
        why = f"with the weights of the checkpoint the network of the paper has a mean IoU of {number:.4f} (see {network}.forward)"
    text = (f"Your class {name} has {_summary(own, data)}, but {why}. A person will look at your code before points "
            "are given; none are lost so far.")  # fmt: skip
    measured = {"mean_iou": round(own.mean_iou, 4), "of_the_network": number}
    remember(grading, own.maps, dataset)
    return NeedsPerson(text, "gate.differs", measured)


def _tell(grading: Grading, score: Score, dataset: DatasetSpec) -> None:
    """Give or take the points of a score."""
    data = grading.context.data
    assert data is not None
    full, zero = (grading.check.settings[data.split][key] for key in ("full", "zero"))
    accuracy, iou, mean = scores(score.hist)
    remember(grading, score.maps, dataset)
    best = sorted((float(v), n) for v, n in zip(iou, dataset.classes, strict=True) if not np.isnan(v))
    summary = _summary(score, data)
    measured = {"mean_iou": round(mean, 4), "pixel_accuracy": round(accuracy, 4), "full": full}
    if score.lost == 0:
        (low, worst), (high, good) = best[0], best[-1]
        grading.note(f"{summary[0].upper()}{summary[1:]}. Best class: {good} {high:.2f}; worst: {worst} {low:.2f}.", measured)
        return
    weakest = ", ".join(f"{name} {value:.2f}" for value, name in best[:3])
    text = (f"Expected mean IoU of at least {full:.2f} (some points from {zero:.2f} on), got {summary}. "
            f"Weakest classes: {weakest}.{_likely(score.hist, dataset)}")  # fmt: skip
    grading.lose(cause="gate.low", message=text, measured=measured, share=score.lost)


def _count(maps: Mapping[str, NDArray[np.uint8]], data: GateData, n_class: int) -> NDArray[np.int64]:
    """Confusion matrix over all pictures."""
    hist = np.zeros((n_class, n_class), dtype=np.int64)
    for name, predicted in maps.items():
        label = data.label(name)
        assert label is not None  # where labels are not read, nothing is counted
        # a network of more classes may answer beyond those of the data: such pixels are wrong, whatever they should have been
        clipped = np.minimum(predicted, n_class)
        wide = confusion_matrix(clipped, np.where(label < n_class, label, 255), n_class + 1)
        hist += wide[:n_class, :n_class]
        missed = wide[:n_class, n_class]
        hist[np.arange(n_class), (np.arange(n_class) + 1) % n_class] += missed
    return hist


def _likely(hist: np.ndarray, dataset: DatasetSpec) -> str:
    """What a low score usually comes from, as far as the counts tell."""
    predicted = hist.sum(axis=0)
    if predicted.max() > 0.95 * predicted.sum():
        name = dataset.classes[int(predicted.argmax())]
        return f"\nNearly everything was predicted as {name}: train longer, or check the learning rate and labels."
    return "\nLikely cause: too few epochs, no pretrained trunk, or another normalisation of the pictures than in training."


def remember(grading: Grading, maps: Mapping[str, NDArray[np.uint8]], dataset: DatasetSpec) -> None:
    """Keep the predictions for the report's pictures."""
    context = grading.context
    context.predictions[grading.check.id] = maps
    unknown, *colours = dataset.colours
    context.colours = (*colours, unknown)
    context.legend = [{"name": name, "color": list(colour)} for name, colour in zip(dataset.classes, colours, strict=True)]
