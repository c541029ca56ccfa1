"""Gates: predictions of a submitted checkpoint on pictures whose labels the worker never sees."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import segkit
from autograder.course.rubric import round_down
from autograder.judge.asking import PIXELS_AT_ONCE, Picture, ask_all
from autograder.judge.checking import CannotGrade, Grading
from autograder.judge.kit import kit_digest
from autograder.judge.retraining import retrained_in_words, retrained_network
from autograder.judge.run import GateData, Run
from autograder.judge.student import Student
from autograder.sandbox import gpus
from autograder.sandbox.client import GraderFault
from segkit.notebooks import Program
from segkit.subject import StudentError

__all__ = ["JudgesNetwork", "asked_pictures", "checkpoint_of", "gate_points_lost", "grained", "mirrored", "near_a_step", "predictions",
           "rounded"]  # fmt: skip

Found = TypeVar("Found")
FACTS = "facts of the measurement"  # a line for people, kept beside the label maps; no picture has this name
GRAIN = 200  # one of so many values is changed
FINAL = ("checkpoint.unreadable", "code.unfinished", "code.signature", "code.died", "code.timeout")  # no use to try it otherwise
SUSPECT = ("code.raises", "code.device", "code.died", "code.timeout", "code.garbage")  # a GPU that fails shows itself in these too
CROWDED = 0.05  # share of a GPU's memory that others may hold before a lack of it is no longer the student's


@dataclass(frozen=True)
class JudgesNetwork:
    """A network of the judge's that is measured in the place of a student's class: in a worker that runs no code of theirs.

    Attributes:
        program: Its code.
        arguments: Of its constructor: plain data.
    """

    program: Program
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of code and arguments."""
        text = json.dumps([self.program.digest, dict(self.arguments)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def mirrored(grading: Grading, name: str) -> bool:
    """Whether a picture is asked mirrored: fixed per course, unknown to students, so memorised answers fail."""
    return bool(grading.seeds.digest("mirror", name)[0] & 1)


def grained(grading: Grading, name: str, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture of which one value in 200 lies about a grey level nearer to its mean: nobody knows its hash beforehand.

    A network does not feel it: a JPEG loses more. Fixed per course, as the mirroring is.

    Args:
        grading: Whose seeds draw the values.
        name: Of the picture.
        image: (C, H, W), float32, normalised: its spread is some 60 grey levels.
    """
    random = grading.seeds.generator("grain", name)
    changed = image.flatten()
    places = random.integers(0, changed.size, max(1, changed.size // GRAIN))
    values = changed[places]
    changed[places] = values + np.where(values < image.mean(), 1, -1).astype(np.float32) * image.std() / 60
    return changed.reshape(image.shape)


def asked_pictures(grading: Grading) -> Iterator[tuple[str, NDArray[np.float32], bool]]:
    """The pictures of the gate as the network gets them: name, input (3, H, W), grained, whether it is mirrored.

    Raises:
        CannotGrade: There are none.
    """
    for name in _data(grading).names:
        yield name, _asked_picture(grading, name), mirrored(grading, name)


def _asked_picture(grading: Grading, name: str) -> NDArray[np.float32]:
    image = grained(grading, name, _data(grading).image(name))
    return image[:, :, ::-1] if mirrored(grading, name) else image


def _data(grading: Grading) -> GateData:
    if grading.context.data is None:
        raise CannotGrade(f"There are no test pictures to measure on: {grading.context.data_problem}")
    return grading.context.data


def checkpoint_of(grading: Grading, name: str) -> Any:
    """The checkpoint of a submission.

    Raises:
        StudentError: There is none, or it cannot be read.
        CannotGrade: It was only named, and its file is needed here.
    """
    handover = grading.context.handover
    file_needed = handover is None or handover.needs_checkpoints
    checkpoint = grading.context.submission_checkpoints.get(name)
    if checkpoint is None:
        raise StudentError(
            f"No checkpoint: expected checkpoints/{name}.safetensors (or .pth) in the submission. Train the network, save "
            "it, and hand in again with `python -m segkit submit`.",
            "checkpoint.missing",
        )
    if checkpoint.packed:
        raise CannotGrade(f"The checkpoint {name} cannot be read: {checkpoint.problem}.", "submission.unreadable")
    if checkpoint.path is None and not checkpoint.sha256:
        raise StudentError(f"The checkpoint {name} cannot be read: {checkpoint.problem}.", "checkpoint.unreadable")
    if checkpoint.path is None and file_needed:
        raise CannotGrade(f"The checkpoint {name} was {checkpoint.problem}.", "checkpoint.elsewhere")
    return checkpoint


def predictions(
    student: Student, grading: Grading, class_name: str, checkpoint_name: str, exact: bool = False, network: JudgesNetwork | None = None,
    again: bool = False,
) -> dict[str, NDArray[np.uint8]]:  # fmt: skip
    """Predict every picture of the gate's test list with a student's class and checkpoint.

    The pictures cross the pipe, on a GPU several at a time; label maps come back. Predictions of the same network, checkpoint,
    rubric, data, seed, device and precision are reused; two judges that ask for the same at once measure it once.

    Args:
        student: The fixture.
        grading: The fixture.
        class_name: Of the network.
        checkpoint_name: Of its weights.
        exact: One picture at a time in float32, whatever is faster.
        network: What takes the place of the class; None for the class itself.
        again: Whether the caller asks again, exactly, where a step of points is near: then 16 bits are taken unasked.

    Returns:
        Picture name -> label map (H, W), uint8, not mirrored.
    """
    run, handover = grading.context.run, grading.context.handover
    if run.settings.retraining is not None:
        key = run.settings.retraining.key(run)
        return _measure(student, grading, class_name, checkpoint_name, key, True, None)  # exact at once: nobody trains twice
    checkpoint = checkpoint_of(grading, checkpoint_name)

    def measure() -> dict[str, NDArray[np.uint8]]:
        slow = exact or (handover is not None and run.gate_precision == "float32")  # where points are given nothing is measured again
        slow = slow or (run.settings.precision == "auto" and not again)
        return _measure(student, grading, class_name, checkpoint_name, checkpoint.sha256, slow, network)

    if handover is not None:
        code = (f"the judge's {network.program.name}", network.digest) if network else (class_name, student.program(class_name).digest)
        return handover.gate(student, grading, code, checkpoint_name, checkpoint.sha256, measure, exact)
    return measure()


def _measure(
    student: Student, grading: Grading, class_name: str, checkpoint_name: str, sha256: str, exact: bool, network: JudgesNetwork | None
) -> dict[str, NDArray[np.uint8]]:
    """Predict in a worker, or take what another judge of the class predicted for the same."""
    data, run = _data(grading), grading.context.run
    precision = "float32" if exact else run.gate_precision
    batches = run.uses_gpu and not exact and network is not None  # a student's class may answer otherwise in a batch
    key_parts = [
        (network or student.program(class_name)).digest, sha256, data.digest, grading.seeds.name, segkit.__version__,
        kit_digest(run.assignment), precision, str(batches), run.gate_device, str(grading.rubric.settings.get("padding")),
    ]  # fmt: skip
    key = "gate-" + hashlib.sha256("\0".join(key_parts).encode()).hexdigest()[:32]

    def predict() -> dict[str, NDArray[np.uint8]]:
        with run.gate_turn(), student.at_the_gate() as behind:
            _start(behind, run)  # imports torch, for seconds in which another gate may have the GPU; nothing of the student's runs
            with run.gpu_turn():
                before = gpus.memory() if run.uses_gpu else None
                try:
                    _not_for_want_of_memory(before, lambda: _probe(behind, run))
                    found = _not_for_want_of_memory(
                        before, lambda: _predict_all(behind, grading, class_name, checkpoint_name, precision, batches, network)
                    )
                except StudentError as error:
                    behind.subject.close()
                    if error.cause in SUSPECT:
                        with student.at_the_gate() as fresh:  # no student's code ran there either
                            _probe(fresh, run, f"{error}")
                    raise
                finally:
                    behind.subject.close()  # the GPU is handed on empty
                if left := gpus.memory_left_behind(before):
                    student.notes.append(f"{grading.check.id}: {left / 2**20:.0f} MiB of the GPU were not free again after the gate.")
            return found

    found = run.gate_cache.once(key, predict)
    if (facts := found.pop(FACTS, None)) is not None:
        student.notes.append(f"{grading.check.id}: {facts}.")
    return found


def _start(student: Student, run: Run) -> None:
    """Start the gate's worker with a question that runs nothing of the student's and takes nothing of the GPU.

    Raises:
        CannotGrade: The gate is to be measured on a GPU, and the worker finds none.
    """
    student.peak_bytes()
    if run.uses_gpu and student.device != "cuda":
        raise CannotGrade(
            f"The gate was to be measured on {gpus.gpu_name()}, but PyTorch found no CUDA GPU in the worker. Look at the device files "
            "/dev/nvidia*, at CUDA_VISIBLE_DEVICES and LD_LIBRARY_PATH, or grade with --device cpu.",
            "grader.fault",
        )


def _probe(student: Student, run: Run, after: str = "") -> None:
    """Let a worker that ran nothing of the student's compute a little on the GPU. What fails there is no student's fault.

    Args:
        student: Behind the gate.
        run: The run; where gates are measured on a CPU, nothing is asked.
        after: What was found before.

    Raises:
        GraderFault: The GPU does not compute.
    """
    if not run.uses_gpu:
        return
    student.subject.strange = False
    try:
        student.subject.probe()
    except (StudentError, GraderFault) as error:
        found = f" That was asked because of: {after}" if after else ""
        raise GraderFault(
            f"{gpus.gpu_name()} does not compute a small convolution: {error}. Look at nvidia-smi and the kernel's log, or grade with "
            f"--device cpu.{found}"
        ) from error
    finally:
        student.subject.strange = True


def _not_for_want_of_memory(before: gpus.Memory | None, work: Callable[[], Found]) -> Found:
    """Probe or predict; a network that finds no room because others hold the GPU's memory is not judged."""
    try:
        return work()
    except (StudentError, GraderFault) as error:
        lacking = error.cause == "code.memory" if isinstance(error, StudentError) else "out of memory" in str(error)
        if not lacking or before is None or before.used <= CROWDED * before.total:
            raise
        raise CannotGrade(
            f"The GPU has no room: other programs held {before.used / 2**30:.1f} of its {before.total / 2**30:.1f} GiB. End them, or "
            f"grade with --device cpu. ({error})",
            "grader.memory",
        ) from error


def _predict_all(
    student: Student, grading: Grading, class_name: str, checkpoint_name: str, precision: str = "float32",
    batches: bool = False, network: JudgesNetwork | None = None,
) -> dict[str, NDArray[Any]]:  # fmt: skip
    data, trained = _data(grading), ""
    if grading.context.run.settings.retraining is not None:
        handle, retrained = retrained_network(
            student, grading.context.run, class_name, lambda words: grading.context.progress(f"{grading.check.id} {words}")
        )
        trained = f"{retrained_in_words(retrained)}; "
    elif network is not None:
        handle = _load_judges(student, network, checkpoint_name)
    else:
        handle = _load(student, class_name, checkpoint_name)
    started = time.monotonic()
    gpu, size = student.device == "cuda", data.size
    pictures = [Picture(name, size(name) if gpu and size else None, partial(_asked_picture, grading, name)) for name in data.names]

    def progress(done: int) -> None:
        grading.context.gate_progress(grading.check.id, done, len(pictures), time.monotonic() - started)

    maps, how = ask_all(student, handle, pictures, PIXELS_AT_ONCE if batches else 0, precision, progress)
    seconds, mib = time.monotonic() - started, student.peak_bytes() // 2**20
    memory, device = f", at most {mib} MiB" if mib else "", gpus.gpu_name() if gpu else "the CPU"
    facts = f"{trained}{len(maps)} pictures in {seconds:.1f} s on {device}, {how}{memory}"
    found = {name: np.ascontiguousarray(maps[name][:, ::-1] if mirrored(grading, name) else maps[name]) for name in data.names}
    return {**found, FACTS: np.array(facts)}


def _load(student: Student, class_name: str, checkpoint_name: str) -> str:
    """Build the network without initialising it, where the student's constructor allows that, and load the checkpoint."""
    try:
        handle = student.build(class_name, meta=True)
        student.load_checkpoint(handle, checkpoint_name)
        return handle
    except StudentError as error:
        if error.cause in FINAL:
            raise
    handle = student.build(class_name)  # the constructor reads values, which the meta device does not have
    student.load_checkpoint(handle, checkpoint_name)
    return handle


def _load_judges(student: Student, network: JudgesNetwork, checkpoint_name: str) -> str:
    """Build the judge's network and load the checkpoint; tensors that it has no use for are named."""
    student.subject.strange = False  # no code of the student's runs in this worker
    student.subject.define(network.program)
    handle = student.subject.build(network.program.name, meta=True, **network.arguments)
    unused = student.subject.load_checkpoint(handle, checkpoint_name, extra=True)
    if unused:
        more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
        student.notes.append(f"The checkpoint {checkpoint_name} holds tensors of no layer of the network: {', '.join(unused[:8])}{more}.")
    return handle


def rounded(grading: Grading) -> bool:
    """Whether predictions may differ by rounding from those of one picture at a time in float32."""
    handed_over = getattr(grading.context.handover, "facts", None)
    run = grading.context.run
    return handed_over["precision"] != "float32" if handed_over else run.uses_gpu or run.gate_precision != "float32"


def near_a_step(value: float, full: float, zero: float, points: float, within: float = 0.01) -> bool:
    """Whether a gate's points would be others if its value were a little different (half points are steps too)."""

    def earned(value: float) -> float:
        return round_down(points * (1 - gate_points_lost(value, full, zero))) if value < full else points

    return earned(value - within) != earned(value + within)


def gate_points_lost(value: float, full: float, zero: float) -> float:
    """Share of a gate's points that is lost: none at ``full`` and above, all at ``zero`` and below, linear between."""
    if not np.isfinite(value):
        return 1.0
    return float(np.clip((full - value) / (full - zero), 0.0, 1.0))
