"""One training run: where it stands, what it tells while it goes on, and the file from which it can be resumed."""

import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.precision import best_device, choose_precision, lay_out
from segkit.progress import bar, say
from segkit.training.batches import Augmentation, Batch, EpochBatches
from segkit.training.descent import Descent
from segkit.training.loading import read_ahead
from segkit.training.loop import Task
from segkit.training.recipes import TrainConfig
from segkit.training.rescue import memory_named, rescued
from segkit.training.resuming import TrainingError, capture, demand_same_run, read_resume, restore, save_resume
from segkit.training.sources import Pairs
from segkit.training.steps import Stepper

__all__ = ["Position", "Run"]

ESTIMATE_AFTER = 20
"""Steps after which the remaining time is told: the first ones also set up the GPU and read images."""


EPOCH_SAVED_AFTER = 30.0
"""The end of an epoch is saved if the last saving is at least this many seconds old: a kill then costs little."""

SAVINGS_APART = 20
"""The last saving must also be this many times as old as it took, unless ``resume_every`` is sooner: at most 5 % of the time."""


@dataclass
class Position:
    """Where in which epoch a run stands.

    Attributes:
        epoch: the one in progress.
        batch: its next batch.
        loss_sum: sum over the images of the losses that were read.
        images: their number.
        seconds: that the epoch took so far.
    """

    epoch: int = 1
    batch: int = 0
    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0

    @property
    def loss(self) -> float:
        """Mean over the images; NaN where none had a label."""
        return self.loss_sum / self.images if self.images else math.nan


class Run:
    """The network, its descent, and where it stands.

    Args:
        model: the network; it stays on the device.
        task: what it learns.
        config: see :class:`segkit.training.TrainConfig`.
        resume_file: is written while the run goes on.
        device: where to train; None takes the GPU if there is one.
        progress: show bars and lines.
        resume_every: see :func:`segkit.training.fit`.

    Raises:
        TrainingError: the device lacks the precision, or memory for the weights.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        config: TrainConfig,
        resume_file: Path,
        *,
        device: torch.device | str | None,
        progress: bool,
        resume_every: float,
    ) -> None:
        self.model, self.task, self.config, self.resume_file = model, task, config, resume_file
        self.progress, self.resume_every = progress, resume_every
        self.device = torch.device(device) if device is not None else best_device()
        try:
            self.precision = choose_precision(self.device, config.precision)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        home = next((value.device for value in model.parameters()), self.device)
        with memory_named(self.device, "the weights of the network", undo=lambda: model.to(home)):
            model.to(self.device)
            if self.precision.half:
                lay_out(model, self.precision.layout)
        steps = config.epochs * -(-len(task.pairs.names) // config.batch_size)
        self.descent = Descent(model, config, self.precision, steps)
        self.at = Position()
        self.saved, self.saving, self.epoch_saved = time.monotonic(), 0.0, 1  # when, how long it took, in which epoch
        self.steps_here, self.begun_here = 0, time.monotonic()  # since this program began, for the remaining time

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the last ones brought no improvement."""
        return self.at.epoch > self.config.epochs or self.task.stops_after(self.at.epoch - 1)

    def begin(self, resume: bool, overwrite: bool) -> None:
        """Start, or go on with the run in the folder, if there is one and it is the same."""
        state = None
        if resume and self.resume_file.exists():
            state = read_resume(self.resume_file)
            demand_same_run(self.resume_file, state, self.task.description(self), self.model)
            self.task.restore(self, state)
            self.at = Position(**{name: state[name] for name in asdict(self.at) if name in state})
            self.epoch_saved = self.at.epoch
        else:
            self.task.start(self, overwrite)
        task = self.task
        self.stepper = Stepper(self.model, self.descent, task.pairs, task.n_class, self.device, self.say, task.loss, task.mass)
        self.begun_here = time.monotonic()
        if state is not None:
            restore(state, self.model, self.device)  # last, since reading images may draw random numbers
            self.descent.restore(state)
            self.say(f"resuming in epoch {self.at.epoch}, after {self.at.batch} batches")

    # -- an epoch ----------------------------------------------------------------------------------

    def batches_of(self, pairs: Pairs, epoch: int) -> EpochBatches:
        """The batches that images make in an epoch."""
        config = self.config
        return EpochBatches(
            pairs, seed=config.seed, epoch=epoch, batch_size=config.batch_size, augmentation=Augmentation.of(config),
            pad_to=config.pad_to, n_class=self.task.n_class, pin=self.device.type == "cuda" and pairs.parallel,
        )  # fmt: skip

    @contextmanager
    def batches(self) -> Iterator[Iterator[Batch]]:
        """The batches of the epoch that are still to be done; what fails with them leaves a run that can go on."""
        pairs, config = self.task.pairs, self.config
        planned = self.batches_of(pairs, self.at.epoch)
        self._planned, self._begun = len(planned), time.monotonic() - self.at.seconds
        ahead = read_ahead(planned, self.at.batch, config.workers if pairs.parallel else 0)
        with rescued(self), closing(ahead), bar(
            total=len(planned), initial=self.at.batch, show=self.progress, leave=False, unit="batch",
            desc=f"epoch {self.at.epoch}/{config.epochs}",
        ) as self._shown:  # fmt: skip
            yield ahead
            self.read_losses()
            self.at.seconds = time.monotonic() - self._begun

    def count_batch(self) -> None:
        """Note that a batch was learned from; save the run if that is due."""
        self.at.batch += 1
        self.steps_here += 1
        if self.at.batch % self.config.read_every == 0:
            self.read_losses()
        self.at.seconds = time.monotonic() - self._begun
        self._shown.update()
        if self.at.images:
            self._shown.set_postfix_str(f"loss {self.at.loss:.3f}", refresh=False)
        if self.steps_here == ESTIMATE_AFTER:
            self._tell_remaining()
        if self._unsaved_for(self.resume_every) and self.at.batch < self._planned:
            self.save()

    def read_losses(self) -> None:
        """Add up the losses since the last reading, in the order of the batches. The program waits for the GPU here."""
        for loss, images in self.stepper.read():
            self.at.loss_sum += loss * images
            self.at.images += images

    def _tell_remaining(self) -> None:
        self.read_losses()  # without this, the GPU may still be computing the timed steps
        per_step = (time.monotonic() - self.begun_here) / self.steps_here
        epochs = self.config.epochs - self.at.epoch + 1
        rest = per_step * (self._planned * epochs - self.at.batch) + self.task.scoring * epochs
        self.say(f"{per_step:.2f} s per batch of {self.config.batch_size}: about {_duration(rest)} left")

    def evaluate(self) -> Any:
        """Scores of the network as it is. Changes nothing where it fails: a resumed run starts again here."""
        begun = time.monotonic()
        with rescued(self, before="its scores"):
            scores = self.task.evaluate(self)
        self.at.seconds += time.monotonic() - begun
        return scores

    def end_epoch(self) -> None:
        """Go to the next epoch, and save the run where that is due."""
        self.at = Position(self.at.epoch + 1)
        wait = max(EPOCH_SAVED_AFTER, SAVINGS_APART * self.saving)
        if self.finished or self._unsaved_for(self.resume_every if math.isinf(self.resume_every) else min(self.resume_every, wait)):
            self.save()

    # -- files and messages ------------------------------------------------------------------------

    def _unsaved_for(self, seconds: float) -> bool:
        return time.monotonic() - self.saved >= seconds

    def save(self) -> None:
        """Write where the run stands, and the best weights: the two files belong together."""
        self.read_losses()
        begun = time.monotonic()
        state = asdict(self.at) | self.task.state() | {"description": self.task.description(self)}
        state |= capture(self.model, self.device) | self.descent.state()
        save_resume(self.resume_file, state, self.task.keep_best)
        self.saved = time.monotonic()
        self.saving, self.epoch_saved = self.saved - begun, self.at.epoch

    def end(self) -> None:
        """Free the memory, since another stage may follow and a traceback may keep this object alive."""
        self.descent.let_go()
        self.__dict__.pop("stepper", None)  # it holds a method of this object: a reference cycle
        with suppress(RuntimeError):  # a GPU that failed fails here again
            torch.cuda.empty_cache()

    def say(self, text: str) -> None:
        """Print a line, if lines are wanted."""
        if self.progress:
            say(text)


def _duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``2.5 h``."""
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
