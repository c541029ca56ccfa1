"""Gates: predictions of a submitted checkpoint on pictures whose labels the worker never sees."""

import hashlib
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import segkit
from autograder.checking import CannotGrade, Grading
from autograder.run import GateData
from autograder.student import Student
from segkit.subject import StudentError

__all__ = ["gate_points_lost", "predictions"]


def mirrored(grading: Grading, name: str) -> bool:
    """Whether a picture is asked mirrored: fixed per course, unknown to students, so memorised answers fail."""
    return bool(grading.seeds.digest("mirror", name)[0] & 1)


def _checkpoint(student: Student, grading: Grading, name: str) -> Any:
    """The checkpoint, or the reason why the gate is not earned or cannot be graded."""
    checkpoint = grading.context.submission_checkpoints.get(name)
    if checkpoint is None:
        raise StudentError(
            f"No checkpoint: expected checkpoints/{name}.safetensors (or .pth) in the submission. Train the network, save "
            "it, and hand in again with `python -m segkit submit`.",
            "checkpoint.missing",
        )
    if checkpoint.path is None:
        if checkpoint.sha256:
            raise CannotGrade(f"The checkpoint {name} was {checkpoint.problem}.", "checkpoint.elsewhere")
        raise StudentError(f"The checkpoint {name} cannot be read: {checkpoint.problem}.", "checkpoint.unreadable")
    if grading.context.data is None:
        raise CannotGrade(f"There are no test pictures to measure on: {grading.context.data_problem}")
    return checkpoint


def predictions(student: Student, grading: Grading, class_name: str, checkpoint_name: str) -> dict[str, NDArray[np.uint8]]:
    """Predict every picture of the gate's test list with a student's class and checkpoint.

    The pictures cross the pipe one at a time; label maps come back. Predictions of the same network, checkpoint, rubric,
    data, seed and precision are reused; two judges that ask for the same at once measure it once.

    Returns:
        Picture name -> label map (H, W), uint8, not mirrored.
    """
    checkpoint = _checkpoint(student, grading, checkpoint_name)
    data: GateData = grading.context.data
    key_parts = [
        student.program(class_name).digest, checkpoint.sha256, data.digest, grading.seeds.name, segkit.__version__,
        "float32", grading.context.device_name, str(grading.rubric.settings.get("padding")),
    ]  # fmt: skip
    key = "gate-" + hashlib.sha256("\0".join(key_parts).encode()).hexdigest()[:32]

    def measure() -> dict[str, NDArray[np.uint8]]:
        with grading.context.run.gate_turn(), student.at_the_gate() as behind:
            return _predict_all(behind, grading, class_name, checkpoint_name, data)

    return grading.context.run.gate_cache.once(key, measure)


def _predict_all(
    student: Student, grading: Grading, class_name: str, checkpoint_name: str, data: GateData
) -> dict[str, NDArray[np.uint8]]:
    handle = _load(student, class_name, checkpoint_name)
    result, started = {}, time.monotonic()
    for number, name in enumerate(data.names):
        _, image, label = data.load(name)
        flip = mirrored(grading, name)
        answer = student.predict(handle, image[:, :, ::-1] if flip else image)
        if answer.shape != label.shape or answer.dtype != np.uint8:
            raise StudentError(f"expected a label map of shape {label.shape}, but got {answer.shape}", "shape.size")
        result[name] = np.ascontiguousarray(answer[:, ::-1] if flip else answer)
        grading.context.gate_progress(grading.check.id, number + 1, len(data.names), time.monotonic() - started)
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
