"""What is saved when a run fails, and the message that tells how it goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch

from segkit.datasets import DataError
from segkit.inference import EvaluationError
from segkit.training.descent import Diverged
from segkit.training.memory import let_go, means_out_of_memory, no_room
from segkit.training.resuming import TrainingError

if TYPE_CHECKING:
    from segkit.training.run import Run

__all__ = ["diverged", "memory_named", "rescued"]


@contextmanager
def memory_named(device: torch.device, what: str = "", undo: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Where no smaller batch would help, turn lack of memory into an error with advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, TrainingError) or not means_out_of_memory(error):
            raise
        undo()
        let_go(error)
        raise TrainingError(no_room(device, error, what)) from error


@contextmanager
def rescued(run: "Run", before: str = "") -> Iterator[None]:
    """Save a run where it stands if the block fails for a reason that can be put right.

    Args:
        run: between two steps, whenever the block fails.
        before: what it was about to do; empty for its next batch.

    Raises:
        TrainingError: in place of the error, with its text, what is saved and how to go on. Errors of the network's code stay as
            they are: their traceback shows where.
    """
    try:
        yield
    except Diverged as error:
        raise TrainingError(_diverged(run, error)) from error
    except (DataError, EvaluationError, MemoryError, RuntimeError) as error:
        memory = means_out_of_memory(error)
        if isinstance(error, RuntimeError) and not memory and not isinstance(error, TrainingError):
            raise
        if memory:
            let_go(error)
        where = f"in epoch {run.at.epoch}, before {before or f'batch {run.at.batch}'}"
        reason = f"{str(error) or type(error).__name__} {run.task.lighter if memory else ''}".rstrip()
        raise TrainingError(f"{reason}\n{_stopped(run, where)}") from error


def _stopped(run: "Run", where: str) -> str:
    """Save a run between two steps, and tell whether it is saved there."""
    try:
        run.save()
    except Diverged as error:  # found when the losses were read for saving
        return f"The run stopped {where}. {_diverged(run, error)}"
    except (OSError, RuntimeError, MemoryError) as error:  # a full disk, no memory again
        return f"The run stopped {where}, and could not be saved there ({error})."
    return f"The run is saved {where}; put that right and go on with it (resume=True, --resume)."


def _diverged(run: "Run", error: Diverged) -> str:
    saved = _saved_after_all(run)  # may write the best weights, of which the task tells
    return diverged(error, run.at.epoch, run.descent.learning_rate, run.task.safe(saved))


def _saved_after_all(run: "Run") -> str:
    """What can be resumed after a loss that is no number.

    Steps whose gradient was not finite were not taken, or with a gradient of zero, so the run can go on where it stands.
    It is saved there if an epoch ended since it was saved last, and otherwise left as it was.
    """
    last = f"{run.resume_file} is as it was saved last (go on: resume=True, --resume)." if run.resume_file.exists() else ""
    if run.at.epoch == run.epoch_saved:
        return last
    try:
        if not all(bool(value.isfinite().all()) for value in run.model.state_dict().values()):
            if not last:  # else the best weights would be newer than the file that the run goes on from
                run.task.keep_best()
            return f"The network's weights are not finite, so the run was not saved there. {last}".strip()
        run.save()
    except (OSError, RuntimeError, MemoryError) as failed:
        if not last:
            with suppress(OSError):
                run.task.keep_best()
        return f"The run could not be saved there ({failed}). {last}".strip()
    return f"The run is saved in this epoch, batches done: {run.at.batch} (go on: resume=True, --resume)."


def diverged(error: Diverged, epoch: int, rate: float, safe: str) -> str:
    """Why a run cannot go on after a loss that is no number; ``safe`` tells what is left of it."""
    learned = "Its gradient was finite, and its step was taken." if error.taken else "Nothing was learned from this batch."
    return (
        f"The loss became {error} in epoch {epoch}, batch {error.batch} ({', '.join(error.names)}), at learning "
        f"rate {rate:.1e}. {learned} {safe and safe + ' '}"
        "Usual causes: a learning rate that is too high, a loss that is summed instead of averaged, "
        "or NaN in the network's weights or in this image."
    )
