"""``grade --retrain``: the student's class is trained with the kit's recipe, and what comes out goes through the gate.

It proves that the handed-in network learns what its checkpoint is said to have learnt. Training runs in the gate's worker, which
may read the pictures and labels of the training list for it, and no others.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.course.rubric import RubricError
from autograder.judge.checking import CannotGrade
from autograder.judge.student import Student
from segkit.download import hash_file

if TYPE_CHECKING:
    from autograder.judge.run import Run

__all__ = ["TRAINING", "WEIGHTS", "Retraining", "retrained_in_words", "retrained_network", "write_training"]

TRAINING = "training"
WEIGHTS = "weights of the trunk"
EPOCHS = 25
HELD_OUT = 10  # every so many training pictures one is left out, to choose the best epoch by
LIST = "list.json"
GLANCE = 2.0  # seconds between two words on how long a training has taken


@dataclass(frozen=True)
class Retraining:
    """How networks are trained again.

    Attributes:
        minutes: For each network, at most.
        recipe: Of ``segkit.training.RECIPES``.
        weights: File of VGG-16's weights, or None to begin from scratch.
        epochs: How many, at most.
    """

    minutes: float
    recipe: str = "fast"
    weights: Path | None = None
    epochs: int = EPOCHS

    def key(self, run: "Run") -> str:
        """What predictions of a retrained network depend on, beside its code. Where it has to stop is a matter of luck."""
        listed = json.loads((run.folder / TRAINING / LIST).read_text(encoding="utf-8"))
        return f"retrained {self.minutes} {self.recipe} {self.epochs} {listed['weights']} {listed['digest']}"


def write_training(run: "Run") -> None:
    """Write what is trained on into the run's folder.

    Raises:
        RubricError: The assignment has nothing to train on, or it cannot be read.
    """
    write = run.assignment.hook("write_training")
    if write is None:
        raise RubricError(f"The assignment {run.rubric.assignment} has no training pictures (write_training in its prepare.py).")
    folder = run.folder / TRAINING
    folder.mkdir()
    try:
        names = write(folder, run.settings.data, run.rubric)
    except (OSError, ValueError, LookupError) as error:
        raise RubricError(f"--retrain: the training pictures cannot be read: {error}") from error
    held_out = names[HELD_OUT - 1 :: HELD_OUT] or names[-1:]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    weights = run.settings.retraining.weights if run.settings.retraining else None
    content = {
        "train": [name for name in names if name not in held_out], "held_out": held_out, "digest": digest.hexdigest(),
        "weights": hash_file(weights) if weights else "none",  # half a gigabyte: once for the class
    }  # fmt: skip
    (folder / LIST).write_text(json.dumps(content), encoding="utf-8")


@contextmanager
def _clock(tell: Callable[[float], None]) -> Iterator[None]:
    """Tell, again and again, how many minutes have gone by. The judge's own clock: a worker may say of its training what it likes."""
    over, begun = threading.Event(), time.monotonic()

    def run() -> None:
        while not over.wait(GLANCE):
            with suppress(OSError):  # a full disk, which the judge meets itself
                tell((time.monotonic() - begun) / 60)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def retrained_network(student: Student, run: "Run", class_name: str, tell: Callable[[str], None]) -> tuple[str, dict[str, Any]]:
    """Build and train a network in the worker.

    Args:
        student: Behind the gate.
        run: The run.
        class_name: Of the network.
        tell: Called with how long the training has taken, of how long at most.

    Returns:
        Its handle, and what became of the training (see ``autograder.sandbox.retraining``).

    Raises:
        StudentError: It cannot be built or trained.
        CannotGrade: The time did not do for one epoch, which says nothing of the student's work.
    """
    how = run.settings.retraining
    assert how is not None  # no other run comes here
    listed = json.loads((run.folder / TRAINING / LIST).read_text(encoding="utf-8"))
    handle = student.build(class_name)
    if how.weights is not None:
        begin = run.assignment.hook("begin_training")
        assert begin is not None  # it is there where weights may be given
        begin(student, handle)
    with _clock(lambda minutes: tell(f"{minutes:.1f}/{how.minutes:g} min of training")):
        found = student.retrain(
            handle, seconds=60 * how.minutes, train=listed["train"], held_out=listed["held_out"], recipe=how.recipe, epochs=how.epochs
        )
    if not found["in_time"] and not found["best_epoch"]:
        raise CannotGrade(
            f"{class_name} was trained again for {how.minutes:g} minutes with the recipe {how.recipe}, which did not do for one epoch of "
            f"{len(listed['train'])} pictures on {student.device}. Give it more: --retrain-minutes, or a GPU.",
            "grader.budget",
        )
    begun = "from given weights" if how.weights else "from scratch"
    return handle, found | {"of": how.epochs, "recipe": how.recipe, "begun": begun, "minutes": how.minutes}


def retrained_in_words(found: dict[str, Any]) -> str:
    """What became of a training, for people."""
    if found["in_time"]:
        end = f"{found['epochs']} epochs in {found['seconds'] / 60:.1f} min"
    else:
        end = f"stopped after {found['minutes']:g} min, with {found['epochs']} of {found['of']} epochs done"
    best = f"best epoch {found['best_epoch']}, mean IoU {found['mean_iou'] or 0:.3f} on held-out training pictures"
    return f"trained again {found['begun']}, recipe {found['recipe']}: {end} ({best})"
