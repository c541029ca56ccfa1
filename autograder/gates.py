"""Gates: predictions of a submitted checkpoint on pictures whose labels the worker never sees."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import segkit
from autograder.checking import CannotGrade, Grading
from autograder.run import GateData
from autograder.student import Student
from segkit.subject import StudentError

__all__ = ["asked_pictures", "gate_points_lost", "predictions"]


def mirrored(grading: Grading, name: str) -> bool:
    """Whether a picture is asked mirrored: fixed per course, unknown to students, so memorised answers fail."""
    return bool(grading.seeds.digest("mirror", name)[0] & 1)


def asked_pictures(grading: Grading) -> Iterator[tuple[str, NDArray[np.float32], bool]]:
    """The pictures of the gate as the network gets them: name, input (3, H, W), whether it is mirrored.

    Raises:
        CannotGrade: There are none.
    """
    data = _data(grading)
    for name in data.names:
        image, flip = data.load(name)[1], mirrored(grading, name)
        yield name, image[:, :, ::-1] if flip else image, flip


def _data(grading: Grading) -> GateData:
    if grading.context.data is None:
        raise CannotGrade(f"There are no test pictures to measure on: {grading.context.data_problem}")
    return grading.context.data


def _checkpoint(grading: Grading, name: str, file_needed: bool) -> Any:
    """The checkpoint, or the reason why the gate is not earned or cannot be graded."""
    checkpoint = grading.context.submission_checkpoints.get(name)
    if checkpoint is None:
        raise StudentError(
            f"No checkpoint: expected checkpoints/{name}.safetensors (or .pth) in the submission. Train the network, save "
            "it, and hand in again with `python -m segkit submit`.",
            "checkpoint.missing",
        )
    if checkpoint.path is None and not checkpoint.sha256:
        raise StudentError(f"The checkpoint {name} cannot be read: {checkpoint.problem}.", "checkpoint.unreadable")
    if checkpoint.path is None and file_needed:
        raise CannotGrade(f"The checkpoint {name} was {checkpoint.problem}.", "checkpoint.elsewhere")
    return checkpoint


def predictions(student: Student, grading: Grading, class_name: str, checkpoint_name: str) -> dict[str, NDArray[np.uint8]]:
    """Predict every picture of the gate's test list with a student's class and checkpoint.

    The pictures cross the pipe one at a time; label maps come back. Predictions of the same network, checkpoint, rubric,
    data, seed and precision are reused; two judges that ask for the same at once measure it once.

    Returns:
        Picture name -> label map (H, W), uint8, not mirrored.
    """
    handover = getattr(grading.context, "handover", None)
    checkpoint = _checkpoint(grading, checkpoint_name, handover is None or handover.needs_checkpoints)

    def measure() -> dict[str, NDArray[np.uint8]]:
        return _measure(student, grading, class_name, checkpoint_name, checkpoint.sha256)

    if handover is not None:
        return handover.gate(student, grading, class_name, checkpoint_name, checkpoint.sha256, measure)
    return measure()


def _measure(student: Student, grading: Grading, class_name: str, checkpoint_name: str, sha256: str) -> dict[str, NDArray[np.uint8]]:
    """Predict in a worker, or take what another judge of the class predicted for the same."""
    data = _data(grading)
    key_parts = [
        student.program(class_name).digest, sha256, data.digest, grading.seeds.name, segkit.__version__,
        "float32", grading.context.device_name, str(grading.rubric.settings.get("padding")),
    ]  # fmt: skip
    key = "gate-" + hashlib.sha256("\0".join(key_parts).encode()).hexdigest()[:32]

    def predict() -> dict[str, NDArray[np.uint8]]:
        with grading.context.run.gate_turn(), student.at_the_gate() as behind:
            return _predict_all(behind, grading, class_name, checkpoint_name)

    return grading.context.run.gate_cache.once(key, predict)


def _predict_all(student: Student, grading: Grading, class_name: str, checkpoint_name: str) -> dict[str, NDArray[np.uint8]]:
    handle = _load(student, class_name, checkpoint_name)
    result, started, total = {}, time.monotonic(), len(grading.context.data.names)
    for number, (name, image, flip) in enumerate(asked_pictures(grading), start=1):
        answer = student.predict(handle, image)
        if answer.shape != image.shape[1:] or answer.dtype != np.uint8:
            raise StudentError(f"expected a label map of shape {image.shape[1:]}, but got {answer.shape}", "shape.size")
        result[name] = np.ascontiguousarray(answer[:, ::-1] if flip else answer)
        grading.context.gate_progress(grading.check.id, number, total, time.monotonic() - started)
    return result


def _load(student: Student, class_name: str, checkpoint_name: str) -> str:
    """Build the network without initialising it, where the student's constructor allows that, and load the checkpoint."""
    try:
        handle = student.build(class_name, meta=True)
        student.load_checkpoint(handle, checkpoint_name)
        return handle
    except StudentError as error:
        if error.cause in ("checkpoint.unreadable", "code.unfinished", "code.signature", "code.died", "code.timeout"):
            raise
    handle = student.build(class_name)  # the constructor reads values, which the meta device does not have
    student.load_checkpoint(handle, checkpoint_name)
    return handle


def gate_points_lost(value: float, full: float, zero: float) -> float:
    """Share of a gate's points that is lost: none at ``full`` and above, all at ``zero`` and below, linear between."""
    if not np.isfinite(value):
        return 1.0
    return float(np.clip((full - value) / (full - zero), 0.0, 1.0))
