"""The two sides of the handover: ``Recorder`` asks student code and takes down what it says, ``Replay`` asks the notes.

A question is known by the check that asks it, its number within that check, and everything it says, to the last bit of every
array. So a reply can only stand for the question it was given to: other code, another secret, other pictures or another version of
the checks ask otherwise, and find no reply.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import segkit
from autograder.handins.submission import Submission
from autograder.judge.checking import CannotGrade, Grading
from autograder.judge.context import Handover
from autograder.judge.predictions.bundle import SCHEMA, BundleError, BundleWriter, Gate, Reply, read_bundle
from autograder.judge.run import Run
from autograder.judge.student import Student
from autograder.report.labels import clean_text
from autograder.sandbox.client import RemoteSubject, WorkerSettings, encoded
from segkit.subject import StudentError

__all__ = ["Recorder", "Replay", "facts_of", "name_of"]

Maps = dict[str, NDArray[np.uint8]]


def facts_of(run: Run, submission: Submission) -> dict[str, Any]:
    """What a bundle says of itself; what must be the same on both sides stands in ``Replay``."""
    settings = json.dumps(dict(run.rubric.settings), sort_keys=True, default=str)
    return {
        "schema": SCHEMA, "assignment": run.rubric.assignment, "submission": submission.name,
        "submission_sha256": submission.sha256, "kit_version": segkit.__version__,
        "settings": hashlib.sha256(settings.encode()).hexdigest(), "seed": run.seeds.name,
        "data": run.data.digest if run.data else None, "isolation": run.isolation, "device": "cuda" if run.uses_gpu else "cpu",
        "device_name": run.gate_device if run.uses_gpu else "CPU", "precision": run.gate_precision, "lost": [],
    }  # fmt: skip


def name_of(do: str, arguments: Mapping[str, Any], **beside: Any) -> str:
    """A question's name: a hash of everything it says, and of what is given beside it.

    Raises:
        GraderFault: It cannot be sent.
    """
    return hashlib.sha256(b"".join(encoded(do, arguments, **beside))).hexdigest()


class _Questions(Handover):
    """Gives each question of a check its name."""

    def __init__(self) -> None:
        self._check, self._number = "", 0

    def begin(self, check: str) -> None:
        self._check, self._number = check, 0

    def name(self, do: str, arguments: Mapping[str, Any]) -> str:
        self._number += 1
        return name_of(do, arguments, check=self._check, number=self._number - 1)

    def watch(self, progress: Callable[[str], None] | None) -> Callable[[str], None]:
        """What to call with the id of each check: numbers its questions anew."""

        def begun(check: str) -> None:
            self.begin(check)
            if progress is not None:
                progress(check)

        return begun


def _asked(image: NDArray[Any]) -> str:
    """Hash of a picture as a network gets it, mirrored or not."""
    image = np.ascontiguousarray(image)
    return hashlib.sha256(f"{image.dtype} {image.shape}\n".encode() + image.tobytes()).hexdigest()


class Recorder(_Questions):
    """Takes down what a submission replies.

    Attributes:
        lost: What could not be asked although the student is not at fault, one line each.
    """

    def __init__(self, writer: BundleWriter) -> None:
        super().__init__()
        self.writer = writer
        self.lost: list[str] = []

    def open(self, settings: WorkerSettings) -> RemoteSubject:
        """The worker of the checks."""
        return _Recording(settings, self)

    def gate(
        self, student: Student, grading: Grading, code: tuple[str, str], checkpoint: str, sha256: str, measure: Callable[[], Maps],
        exact: bool = False,
    ) -> Maps:  # fmt: skip
        """Predict and take down; never returns: there are no labels here to score with."""
        from autograder.judge.gates import asked_pictures

        (name_of_code, network), pictures, fault, lost = code, {}, None, ""
        student.subject.close()  # as in Replay, whether or not predictions of an earlier run are reused
        try:
            maps = measure()
            pictures = {name: (_asked(image), maps[name]) for name, image, _ in asked_pictures(grading)}
        except StudentError as error:
            fault = (str(error), error.cause)
            raise
        except Exception as error:
            lost = f"{type(error).__name__}: {error}"[:1000]
            raise
        finally:
            self.writer.gate(name_of_code, checkpoint, Gate(network, sha256, pictures, fault, lost))
        raise CannotGrade("Predicted. Points are given where the labels are.", "predictions.made")

    def sign(self, result: dict[str, Any]) -> dict[str, Any]:
        """Look for what could not be asked; the result itself is worth nothing."""
        for check in result["checks"]:
            if check["status"] == "could_not_grade" and check["cause"] != "predictions.made":
                self.lost.append(f"{check['id']}: {check['message']}"[:2000])
        return result


class _Recording(RemoteSubject):
    """A worker whose replies are taken down."""

    def __init__(self, settings: WorkerSettings, recorder: Recorder) -> None:
        super().__init__(settings)
        self._recorder, self._within = recorder, False

    def _ask(self, do: str, seconds: float | None = None, **arguments: Any) -> Any:
        if self._within:  # a fresh worker is told the definitions again
            return super()._ask(do, seconds, **arguments)
        question, self._within = self._recorder.name(do, arguments), True
        try:
            value = super()._ask(do, seconds, **arguments)
        except StudentError as error:
            self._recorder.writer.reply(question, Reply(None, (str(error), error.cause), self._process is None))
            raise
        finally:
            self._within = False
        self._recorder.writer.reply(question, Reply(value))
        return value


class Replay(_Questions):
    """Stands in for a submission's worker with what ``predict`` handed over. No process is started.

    Args:
        folder: What ``predict --out`` wrote.
        run: The run that scores.
        submission: The submission as this side reads it.

    Raises:
        BundleError: There is nothing for this submission, or it was made for other files, another secret, kit or rubric.

    Attributes:
        needs_checkpoints: Gates need no files of checkpoints here, only their hashes.
    """

    needs_checkpoints = False

    def __init__(self, folder: Path, run: Run, submission: Submission) -> None:
        super().__init__()
        self.bundle = read_bundle(folder / submission.name)
        self.facts = self.bundle.facts
        wanted, names = facts_of(run, submission), {
            "assignment": "another assignment", "submission_sha256": "other files than those that are graded here",
            "kit_version": "another version of the kit", "settings": "another rubric", "seed": "another course secret",
        }  # fmt: skip
        faults = [f"{words} ({key}: expected {wanted[key]}, found {clean_text(self.facts[key])})"
                  for key, words in names.items() if self.facts[key] != wanted[key]]  # fmt: skip
        if faults:
            raise BundleError(
                f"The predictions handed over for {submission.name} were made with {', and '.join(faults)}. Run `python -m autograder "
                "predict` on exactly these files, with this kit and this secret, and hand the folder over again."
            )

    def open(self, settings: WorkerSettings) -> RemoteSubject:
        """What the checks ask in the place of a worker."""
        return _Replaying(settings, self)

    def gate(
        self, student: Student, grading: Grading, code: tuple[str, str], checkpoint: str, sha256: str, measure: Callable[[], Maps],
        exact: bool = False,
    ) -> Maps:  # fmt: skip
        """The predictions that were handed over, if they are those of this network, checkpoint and these pictures.

        Raises:
            StudentError: The student's code failed there.
            CannotGrade: There are none, or they are of something else.
        """
        from autograder.judge.gates import asked_pictures

        class_name, network = code
        found = self.bundle.gates.get((class_name, checkpoint))
        if found is None:
            raise _missing(f"no predictions of {class_name} with the checkpoint {checkpoint}")
        student.subject.close()
        if found.fault:
            raise StudentError(*found.fault)
        if found.lost:
            raise _missing(f"no predictions of {class_name}: {clean_text(found.lost)}")
        if (found.network, found.sha256) != (network, sha256):
            raise _missing(f"predictions of {class_name} with other code or another checkpoint than those handed in")
        if exact and self.facts["precision"] != "float32":
            raise CannotGrade(
                f"The score of {class_name} is so near a step of points that it must be measured in float32, and what was handed over was "
                f"predicted in {clean_text(self.facts['precision'])}. Run `python -m autograder predict --precision float32` again.",
                "predictions.missing",
            )
        maps = {}
        for name, image, _ in asked_pictures(grading):
            asked, predicted = found.pictures.get(name, ("", None))
            if predicted is None:
                raise _missing(f"no prediction of the picture {name}")
            if asked != _asked(image):
                raise _missing(f"a prediction of another picture {name} (other data, other mirroring, or read by another Pillow)")
            if predicted.shape != image.shape[1:] or predicted.dtype != np.uint8:
                expected = f"a label map of shape {image.shape[1:]}, uint8"
                raise _missing(f"for the picture {name} an array of shape {predicted.shape}, {predicted.dtype}, expected {expected}")
            maps[name] = predicted
        return maps

    def sign(self, result: dict[str, Any]) -> dict[str, Any]:
        """Say in a result where the student's code ran."""
        note = f"Graded from predictions: the code ran elsewhere ({self.facts['isolation']}, {clean_text(self.facts['device_name'])})."
        return result | {"isolation": self.facts["isolation"], "device": self.facts["device"], "notes": [*result["notes"], note]}


class _Replaying(RemoteSubject):
    """Replies from the notes; what they do not hold cannot be graded."""

    def __init__(self, settings: WorkerSettings, replay: Replay) -> None:
        super().__init__(settings)
        self._replay, self._open = replay, False

    def _ask(self, do: str, seconds: float | None = None, **arguments: Any) -> Any:
        reply = self._replay.bundle.replies.get(self._replay.name(do, arguments))
        if reply is None:
            raise _missing(f"no answer to a question of this check ({do})")
        self._open = True
        if reply.ended:
            self.close()
        if reply.fault:
            raise StudentError(*reply.fault)
        return reply.value

    def forget(self, handle: str) -> None:
        if self._open:
            self._ask("forget", handle=handle)

    def close(self) -> None:
        if self._open:
            self._open = False
            self.generation += 1


def _missing(what: str) -> CannotGrade:
    return CannotGrade(
        f"What was handed over holds {what}. Run `python -m autograder predict` again on exactly these files, with the same kit, secret "
        "and pictures, and hand its folder over.",
        "predictions.missing",
    )
