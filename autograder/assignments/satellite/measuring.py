"""Gates: the classifier's accuracy, and the better of the fused networks; both with the reference in the place of a student's class."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import segkit.reference.satellite
from autograder.judge.checking import CannotGrade, Grading
from autograder.judge.gates import checkpoint_of, gate_points_lost, mirrored, near_a_step, predictions, rounded
from autograder.judge.run import GateData
from autograder.judge.student import Student
from autograder.segmentation import gate
from autograder.segmentation.network import Network
from autograder.segmentation.reference_gate import judges_reference
from autograder.segmentation.spec import NetworkSpec
from segkit.datasets.satellite import SPEC, ClassPictures, LabelledPictures, digits
from segkit.datasets.spec import DataError
from segkit.subject import StudentError

__all__ = ["judge_accuracy", "judge_improved"]

SIDE, ACROSS = 32, 8  # pixels of a small picture, and how many lie beside and below each other on a sheet
NOBODY = 255  # label of a place without a picture
WITHIN = 0.01  # of another score, in which rounding may decide
FCN32S = "fcn32s"


# --------------------------------------------------------------------------------------------------------------- classifier
def judge_accuracy(student: Student, grading: Grading, spec: NetworkSpec) -> None:
    """Share of the pictures of the validation set that a checkpoint tells right."""
    if grading.context.run.settings.retraining is not None:
        raise CannotGrade("Only networks that segment are trained again.")
    checkpoint_of(grading, spec.name)  # without one nothing is asked
    pictures, limits = _pictures(grading)
    sheets = _sheets(grading, pictures)
    own = judges_reference(Network(student, grading, spec), len(pictures.classes), SIDE)
    run = copy.copy(grading.context.run)
    run.data = sheets
    elsewhere = replace(grading, context=replace(grading.context, run=run))
    try:
        maps = predictions(student, elsewhere, spec.class_name, spec.name, network=own)
    except StudentError as error:
        if len(pictures.classes) != spec.n_class and f"found ({spec.n_class}," in str(error):
            raise CannotGrade(f"The checkpoint tells {spec.n_class} classes apart, and there are digits alone to measure it on. Expected "
                              "the course's val_50/ below the root of --data or --gate-data.") from None  # fmt: skip
        raise
    labels = {name: sheets.label(name) for name in sheets.names}
    right = sum(int(((maps[name] == label) & (label < NOBODY)).sum()) for name, label in labels.items() if label is not None)
    share = right / (len(pictures) * SIDE * SIDE)
    text = f"accuracy {share:.4f} on {len(pictures)} pictures of {len(pictures.classes)} classes"
    measured = {"accuracy": round(share, 4), "full": limits["full"]}
    if lost := gate_points_lost(share, limits["full"], limits["zero"]):
        grading.lose(cause="gate.accuracy", share=lost, measured=measured,
                     message=f"Expected an accuracy of at least {limits['full']:.2f} (some points from {limits['zero']:.2f} on), got "
                     f"{text}. Likely cause: too few epochs, no pretrained layers, or another normalisation than in training.")  # fmt: skip
    else:
        grading.note(f"A{text[1:]}.", measured)


def _pictures(grading: Grading) -> tuple[LabelledPictures, dict[str, float]]:
    """The course's pictures where they lie beside the masks, else digits; and the limits that belong to them."""
    settings = grading.context.run.settings
    try:
        return ClassPictures(SPEC.find_root(settings.gate_data or settings.data), "val"), grading.check.settings["course"]
    except DataError:
        pass
    try:
        return digits("val"), grading.check.settings["sample"]
    except DataError as error:
        raise CannotGrade(f"There are no pictures to classify: {error}") from None


def _sheets(grading: Grading, pictures: LabelledPictures) -> GateData:
    """The pictures on sheets of 8 x 8. What the gate mirrors is mirrored beforehand: a digit in a mirror is another one."""
    images = np.zeros((-(-len(pictures) // ACROSS**2) * ACROSS**2, 3, SIDE, SIDE), np.float32)
    labels = np.full(len(images), NOBODY)
    for number in range(len(pictures)):
        image, labels[number] = pictures[number]
        images[number] = image.numpy()
    sheets = images.reshape(-1, ACROSS, ACROSS, 3, SIDE, SIDE).transpose(0, 3, 1, 4, 2, 5).reshape(-1, 3, ACROSS * SIDE, ACROSS * SIDE)
    maps = labels.reshape(-1, ACROSS, ACROSS).repeat(SIDE, 1).repeat(SIDE, 2)  # (sheets, 256, 256)
    names = tuple(f"sheet_{number}" for number in range(len(sheets)))
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()

    def turned(array: NDArray, name: str) -> NDArray:
        sheet = array[names.index(name)]
        return np.ascontiguousarray(sheet[..., ::-1]) if mirrored(grading, name) else sheet

    return GateData("pictures to classify", "val", names, lambda name: turned(sheets, name).transpose(1, 2, 0),
                    lambda name: turned(sheets, name), lambda name: turned(maps, name), digest)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------------ improved
def judge_improved(student: Student, grading: Grading, specs: Sequence[NetworkSpec], plain: NetworkSpec) -> None:
    """The better of the fused networks, against the threshold and against the submission's own FCN-32s."""
    there = grading.context.submission_checkpoints
    fused = {spec.name: spec for spec in specs if spec.name in there}
    if not fused:
        checkpoint_of(grading, specs[-1].name)  # tells what is missing
    wanted = [*fused.values(), *([plain] if plain.name in there else [])]
    scores = _scores(student, grading, wanted)
    best = max((name for name in scores if name in fused), key=scores.__getitem__, default="")
    limits = grading.check.settings[grading.context.data.split] if grading.context.data else {}
    close = abs(scores[best] - scores.get(plain.name, 0.0)) < WITHIN or near_a_step(scores[best], points=grading.check.points, **limits)
    _tell(grading, best, _scores(student, grading, wanted, exact=True) if rounded(grading) and close else scores, plain.name)


def _scores(student: Student, grading: Grading, specs: Sequence[NetworkSpec], exact: bool = False) -> dict[str, float]:
    """Mean IoU of each network that can be measured; the last one, FCN-32s, may be missing.

    Raises:
        StudentError: None of the others can.
        CannotGrade: There are no pictures, or predictions are only taken down here: of all networks.
    """
    scores: dict[str, float] = {}
    refused: list[Exception] = []
    for spec in specs:
        try:
            scores[spec.name], maps = _measured(student, grading, spec, exact)
            if spec.name != FCN32S and scores[spec.name] == max(scores.values()):  # FCN-32s comes last
                gate.remember(grading, maps, SPEC)
        except (CannotGrade, StudentError) as error:
            refused.append(error)
    if not_graded := [error for error in refused if isinstance(error, CannotGrade)] or (refused if not scores.keys() - {FCN32S} else []):
        raise not_graded[0]
    return scores


def _measured(student: Student, grading: Grading, spec: NetworkSpec, exact: bool) -> tuple[float, Mapping[str, NDArray]]:
    """Mean IoU of a network, and its predictions."""
    network = Network(student, grading, spec)
    own = gate.judges_network(network)[0] if spec.graph else judges_reference(network, spec.n_class)  # as fcn32s.miou has measured it
    maps = predictions(student, grading, spec.class_name, spec.name, exact, own, again=True)
    data = grading.context.data
    assert data is not None  # without pictures there are no predictions
    labels = np.stack([np.asarray(data.label(name)) for name in maps])
    return segkit.reference.satellite.mean_iou(np.stack([*maps.values()]), labels, grading.rubric.settings["unknown"] == "wrong"), maps


def _tell(grading: Grading, best: str, scores: dict[str, float], plain: str) -> None:
    assert grading.context.data is not None
    limits, value = grading.check.settings[grading.context.data.split], scores[best]
    measured = {"mean_iou": round(value, 4)} | {name: round(score, 4) for name, score in scores.items()}
    said = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    if lost := gate_points_lost(value, limits["full"], limits["zero"]):
        text = (f"Expected a mean IoU of at least {limits['full']:.2f} of the better fused network (some points from {limits['zero']:.2f} "
                f"on), got {said}. Likely cause: too few epochs, no pretrained trunk, or pictures normalised otherwise.")  # fmt: skip
        grading.lose("miou", cause="gate.low", message=text, measured=measured, share=lost)
    if value <= (floor := scores.get(plain, limits["zero"])):  # the same for all who have no FCN-32s that can be measured
        than = "your own FCN-32s" if plain in scores else f"an FCN-32s ({floor:.2f}; yours was not measured)"
        text = f"Expected {best} to be better than {than}, but got {said}. Train all for as many epochs, from the same trunk."
        grading.lose("better", cause="gate.not_better", message=text, measured=measured)
    if not grading.faults:
        grading.note(f"Mean IoU: {said}.", measured)
