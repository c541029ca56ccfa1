"""Training: the recipe of the course, a fast one, and a run that survives being killed.

A run keeps three files in its folder: ``best.safetensors`` (the weights of the best epoch by validation
mean IoU, by value), ``history.json``, and ``resume.pt`` (all that is needed to go on).
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from segkit.checkpoints import load_checkpoint, save_checkpoint
from segkit.datasets import DataError
from segkit.history import EpochRecord, History
from segkit.inference import Evaluation, EvaluationError
from segkit.precision import best_device, choose_precision
from segkit.progress import bar, say
from segkit.training.batches import Augmentation, Batch, EpochBatches, fingerprint
from segkit.training.descent import Descent, Diverged
from segkit.training.loading import read_ahead
from segkit.training.measuring import evaluate
from segkit.training.memory import let_go, means_out_of_memory, no_room
from segkit.training.recipes import TrainConfig
from segkit.training.repeating import repeatable
from segkit.training.resuming import (
    EPOCH_SAVED_AFTER,
    SAVINGS_APART,
    TrainingError,
    capture,
    demand_same_run,
    read_resume,
    restore,
    save_resume,
)
from segkit.training.sources import Items, open_pairs
from segkit.training.steps import Stepper
from segkit.training.telling import diverged, duration, epoch_line, taken
from segkit.training.validation import validate

__all__ = ["EpochDone", "fit"]

ESTIMATE_AFTER = 20
"""Steps after which the remaining time is told: the first ones also set up the GPU and read images."""


class Metrics(TypedDict):
    """The functions that score a network, see :func:`segkit.evaluation.evaluate`."""

    confusion_matrix: Callable[..., Any]
    scores: Callable[..., Any]


@dataclass(frozen=True)
class EpochDone:
    """Where a run stands after an epoch.

    Attributes:
        epoch: the epoch that ended; 0 for the untrained network.
        epochs: how many there will be.
        last: whether no other follows; an early stop is known too.
        model: the network as it is now; to be left as it is.
        history: all epochs so far.
    """

    epoch: int
    epochs: int
    last: bool
    model: nn.Module
    history: History


def fit(
    model: nn.Module,
    train_set: Items[tuple[Tensor, Tensor]],
    val_set: Items[tuple[Tensor, Tensor]],
    *,
    config: TrainConfig,
    out: str | Path,
    confusion_matrix: Callable[..., Any],
    scores: Callable[..., Any],
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    device: torch.device | str | None = None,
    resume_every: float = 600.0,
    after_epoch: Callable[[EpochDone], None] | None = None,
) -> History:
    """Train a network; keep its best epoch by validation mean IoU.

    Args:
        model: maps (N, 3, H, W) to logits (N, n_class, H, W).
        train_set: items ``(image (3, H, W), label (H, W))``; ``.names`` is used in messages if it is there.
        val_set: the same, for the scores after each epoch.
        config: see :class:`TrainConfig`.
        out: folder for ``best.safetensors``, ``history.json``, ``resume.pt``.
        confusion_matrix: see :func:`segkit.evaluation.evaluate`.
        scores: see :func:`segkit.evaluation.evaluate`.
        resume: go on with the run in ``out``, if there is one; the result is that of an unbroken run.
        overwrite: start again although ``out`` holds a run.
        progress: show bars and one line per epoch on stdout.
        device: where to train; None takes the GPU if there is one. The network stays there.
        resume_every: seconds between two savings inside an epoch. The end of an epoch is saved too if the last saving is half
            a minute and 20 times as old as it took (writing 1.5 GiB takes longer than a short epoch), or these seconds if
            that is sooner, and the end of the run always; with ``inf`` nothing but that.
        after_epoch: called when the untrained network was scored, and after every epoch.

    Returns:
        The history, epoch 0 being the untrained model. ``model`` then holds the best weights.

    Raises:
        TrainingError: the loss is NaN; ``out`` holds another run; a label is out of range; a file is damaged; no memory;
            an epoch cannot be scored. Where the run goes on from a file, the text says so.
        DiskFullError: no space for a file; the files written before are whole.
    """
    with repeatable(config.deterministic):
        metrics: Metrics = {"confusion_matrix": confusion_matrix, "scores": scores}
        run = _Run(model, train_set, val_set, config, Path(out), metrics, device, progress, resume_every)
        run.after_epoch = after_epoch
        try:
            with _memory_named(run.device):
                if resume and run.resume_file.exists():
                    run.resume()
                else:
                    run.start(overwrite)
                while not run.finished:
                    run.train_epoch()
                    run.finish_epoch()
                run.history.save(run.history_file)  # a kill may have come between resume.pt and this file
                load_checkpoint(model, run.best_file)
                return run.history
        finally:
            run.end()


@contextmanager
def _memory_named(device: torch.device, what: str = "", undo: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Where no smaller batch would help, turn lack of memory into an error with advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, TrainingError) or not means_out_of_memory(error):
            raise
        undo()
        let_go(error)
        raise TrainingError(no_room(device, error, what)) from error


class _Run:
    """One training run: network, descent, history, and where in which epoch it stands."""

    def __init__(
        self,
        model: nn.Module,
        train_set: Items[tuple[Tensor, Tensor]],
        val_set: Items[tuple[Tensor, Tensor]],
        config: TrainConfig,
        out: Path,
        metrics: Metrics,
        device: torch.device | str | None,
        progress: bool,
        resume_every: float,
    ) -> None:
        if len(train_set) == 0 or len(val_set) == 0:
            raise TrainingError(f"Expected images, but got {len(train_set)} to train and {len(val_set)} to validate.")
        self.device = torch.device(device) if device is not None else best_device()
        self.model, self.train_set, self.val_set = model, train_set, val_set
        self.config, self.metrics, self.progress, self.resume_every = config, metrics, progress, resume_every
        self.best_file, self.resume_file = out / "best.safetensors", out / "resume.pt"
        self.history_file = out / "history.json"
        try:
            self.precision = choose_precision(self.device, config.precision)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        home = next((value.device for value in model.parameters()), self.device)
        with _memory_named(self.device, "the weights of the network", undo=lambda: model.to(home)):
            model.to(self.device)
            if self.precision.half:
                model.to(memory_format=torch.channels_last)  # tensor cores need the channels of a pixel side by side
        steps = config.epochs * -(-len(train_set) // config.batch_size)
        self.descent = Descent(model, config, self.precision, steps)
        self.train_pairs = open_pairs(train_set, config.cache)
        self.val_pairs = open_pairs(val_set, config.cache)
        self.history = History(self.description())
        self.epoch, self.batch = 1, 0  # the epoch in progress, and its next batch
        self.loss_sum, self.images, self.seconds = 0.0, 0, 0.0  # of the epoch in progress
        self.saved, self.saving, self.epoch_saved = time.monotonic(), 0.0, 1  # when, how long it took, in which epoch
        self.best_state: dict[str, Tensor] | None = None  # of the best epoch, until it is written
        self.steps_here, self.begun_here = 0, time.monotonic()  # since this program began, for the remaining time
        self.after_epoch: Callable[[EpochDone], None] | None = None
        self.stepper: Stepper | None = None

    def description(self) -> dict[str, Any]:
        """Settings, network and data as plain values, for the history; they must agree when a run is resumed."""
        return asdict(self.config) | {
            "model": type(self.model).__name__,
            "parameters": sum(value.numel() for value in self.model.parameters()),
            "train_images": fingerprint(self.train_set),
            "val_images": fingerprint(self.val_set),
            "device": self.device.type,
            "computed_in": self.precision.name,
        }

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the last ones brought no improvement."""
        done, wait = self.epoch - 1, self.config.stop_after
        return done >= self.config.epochs or bool(wait and done - self.history.best_epoch >= wait and done > 0)

    # -- beginning ---------------------------------------------------------------------------------

    def start(self, overwrite: bool) -> None:
        """Seed, and score the untrained network: its scores show what training adds."""
        there = [file for file in (self.best_file, self.resume_file) if file.exists()]
        if there and not overwrite:
            raise TrainingError(taken(self.best_file, self.resume_file))
        torch.manual_seed(self.config.seed)
        self._record(None, *self._timed_scores())
        for file in there:
            file.unlink()
        self._ready()

    def resume(self) -> None:
        """Go on where ``resume.pt`` was written, if it belongs to the same run."""
        state = read_resume(self.resume_file)
        demand_same_run(self.resume_file, state, self.description(), self.model)
        self.history = History.from_json(state["history"])
        self.history.config = self.description()
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.epoch_saved = self.epoch
        self.loss_sum, self.images, self.seconds = state["loss_sum"], state["images"], state["seconds"]
        self._ready()
        restore(state, self.model, self.device)
        self.descent.restore(state)
        self._say(f"resuming in epoch {self.epoch}, after {self.batch} batches")

    def _ready(self) -> None:
        """Make the stepper: the scores of the untrained network tell the number of classes."""
        self.n_class = len(self.history.epochs[0].iou)
        self.stepper = Stepper(self.model, self.descent, self.train_pairs, self.n_class, self.device, self._say)

    # -- one epoch ---------------------------------------------------------------------------------

    def train_epoch(self) -> None:
        """The batches of the epoch that are still to be done."""
        config, pairs = self.config, self.train_pairs
        batches = EpochBatches(
            pairs, seed=config.seed, epoch=self.epoch, batch_size=config.batch_size, augmentation=Augmentation.of(config),
            pad_to=config.pad_to, n_class=self.n_class, pin=self.device.type == "cuda" and pairs.parallel,
        )  # fmt: skip
        self.model.train()
        begun = time.monotonic() - self.seconds
        ahead = read_ahead(batches, self.batch, config.workers if pairs.parallel else 0)
        with closing(ahead), bar(
            total=len(batches), initial=self.batch, show=self.progress, leave=False, unit="batch",
            desc=f"epoch {self.epoch}/{config.epochs}",
        ) as shown:  # fmt: skip
            while (batch := self._next(ahead)) is not None:
                self._learn(batch)
                self.seconds = time.monotonic() - begun
                shown.update()
                if self.images:
                    shown.set_postfix_str(f"loss {self.loss_sum / self.images:.3f}", refresh=False)
                self._tell_remaining(len(batches))
                if self._unsaved_for(self.resume_every) and self.batch < len(batches):
                    self._save_resume()
            self._read_losses()
            self.seconds = time.monotonic() - begun

    def _unsaved_for(self, seconds: float) -> bool:
        return time.monotonic() - self.saved >= seconds

    def _next(self, ahead: Iterator[Batch]) -> Batch | None:
        try:
            return next(ahead, None)
        except (DataError, TrainingError) as error:
            raise self._stopped(str(error)) from error

    def _learn(self, batch: Batch) -> None:
        try:
            with self._finite():
                assert self.stepper is not None, "_ready made it"
                self.stepper.step(batch, self.batch)
        except MemoryError as error:
            raise self._stopped(str(error)) from error
        self.batch += 1
        self.steps_here += 1
        if self.batch % self.config.read_every == 0:
            self._read_losses()

    def _read_losses(self) -> None:
        """Add up the losses since the last reading, in the order of the batches. The program waits for the GPU here."""
        assert self.stepper is not None, "_ready made it"
        with self._finite():
            for loss, images in self.stepper.read():
                self.loss_sum += loss * images
                self.images += images

    @contextmanager
    def _finite(self) -> Iterator[None]:
        try:
            yield
        except Diverged as error:
            saved = self._saved_after_all()
            best_file = self.best_file if self.best_state is None else None
            text = diverged(error, self.epoch, self.descent.learning_rate, self.history, best_file, saved)
            raise TrainingError(text) from error

    def _saved_after_all(self) -> str:
        """What can be resumed after a loss that is no number.

        Steps whose gradient was not finite were not taken, or with a gradient of zero, so the run can go on where it stands.
        It is saved there if an epoch ended since it was saved last, and otherwise left as it was.
        """
        last = f"{self.resume_file} is as it was saved last (go on: resume=True, --resume)." if self.resume_file.exists() else ""
        if self.epoch == self.epoch_saved:
            return last
        try:
            if not all(bool(value.isfinite().all()) for value in self.model.state_dict().values()):
                if not last:  # else the best weights would be newer than the file that the run goes on from
                    self._save_best()
                return f"The network's weights are not finite, so the run was not saved there. {last}".strip()
            self._save_resume()
        except (OSError, RuntimeError, MemoryError) as failed:
            if not last:
                with suppress(OSError):
                    self._save_best()
            return f"The run could not be saved there ({failed}). {last}".strip()
        return f"The run is saved in this epoch, batches done: {self.batch} (go on: resume=True, --resume)."

    def _stopped(self, reason: str, before: str = "") -> TrainingError:
        """An error between two steps: the run is saved where it stands, and can go on when the reason is gone."""
        where = f"in epoch {self.epoch}, before {before or f'batch {self.batch}'}"
        try:
            self._save_resume()
        except TrainingError as error:  # a loss that is no number, which tells what is saved
            return TrainingError(f"{reason}\nThe run stopped {where}. {error}")
        except (OSError, RuntimeError, MemoryError) as error:  # a full disk, no memory again
            return TrainingError(f"{reason}\nThe run stopped {where}, and could not be saved there ({error}).")
        return TrainingError(f"{reason}\nThe run is saved {where}; put that right and go on with it (resume=True, --resume).")

    def _tell_remaining(self, batches: int) -> None:
        if self.steps_here != ESTIMATE_AFTER:
            return
        self._read_losses()  # without this, the GPU may still be computing the timed steps
        per_step = (time.monotonic() - self.begun_here) / self.steps_here
        scoring = self.history.epochs[0].seconds
        epochs = self.config.epochs - self.epoch
        rest = per_step * (batches * (epochs + 1) - self.batch) + scoring * (epochs + 1)
        self._say(f"{per_step:.2f} s per batch of {self.config.batch_size}: about {duration(rest)} left")

    def finish_epoch(self) -> None:
        """Score the epoch, keep the best weights, save, and go to the next epoch."""
        train_loss = self.loss_sum / self.images if self.images else math.nan
        scores = self._scores_or_stopped()  # changes no state yet: a resumed run starts again at this line
        self.descent.end_epoch(train_loss)
        self._record(train_loss, *scores)
        if self.history.best_epoch == self.epoch:
            # not on the GPU, which may be full
            self.best_state = {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.images, self.seconds = 0.0, 0, 0.0
        wait = max(EPOCH_SAVED_AFTER, SAVINGS_APART * self.saving)
        if self.finished or self._unsaved_for(self.resume_every if math.isinf(self.resume_every) else min(self.resume_every, wait)):
            self._save_resume()
        self.history.save(self.history_file)
        self._call_back()
        if self.finished and self.epoch <= self.config.epochs:
            self._say(f"stopped early: no better mean IoU for {self.config.stop_after} epochs")

    def _scores_or_stopped(self) -> tuple[Evaluation, float]:
        try:
            return self._timed_scores()
        except (DataError, EvaluationError, MemoryError, RuntimeError) as error:
            memory = means_out_of_memory(error)
            if isinstance(error, RuntimeError) and not memory and not isinstance(error, TrainingError):
                raise  # an error in the network's code: its traceback shows where
            if memory:
                let_go(error)
            raise self._stopped(str(error) or type(error).__name__, "its scores") from error

    def _timed_scores(self) -> tuple[Evaluation, float]:
        """Scores of the network as it is, and the seconds that they took."""
        begun = time.monotonic()
        return self._scores(), time.monotonic() - begun

    def _record(self, train_loss: float | None, result: Evaluation, seconds: float) -> None:
        record = EpochRecord(
            epoch=self.epoch if train_loss is not None else 0,
            train_loss=train_loss,
            val_loss=result.loss,
            pixel_accuracy=result.pixel_accuracy,
            mean_iou=result.mean_iou,
            iou=list(result.iou.values()),
            learning_rate=self.descent.learning_rate,
            seconds=round(self.seconds + seconds, 3),
        )
        self.history.epochs.append(record)
        if train_loss is None:
            self.history.save(self.history_file)
            self._call_back()
            self.begun_here = time.monotonic()
        self._say(epoch_line(record, self.config.epochs, self.history.best is record))

    def _scores(self) -> Evaluation:
        if self.config.cache == "off":
            return evaluate(
                self.model, self.val_set, device=self.device, progress=self.progress, bootstrap=0,
                precision=self.precision.name, **self.metrics,
            )  # fmt: skip
        return validate(
            self.model, self.val_pairs, device=self.device, precision=self.precision, workers=self.config.workers,
            progress=self.progress, **self.metrics,
        )  # fmt: skip

    # -- files and messages ------------------------------------------------------------------------

    def _call_back(self) -> None:
        if self.after_epoch is not None:
            epoch = self.history.epochs[-1].epoch
            last = epoch > 0 and self.finished
            self.after_epoch(EpochDone(epoch, self.config.epochs, last, self.model, self.history))

    def _save_best(self) -> None:
        if self.best_state is not None:
            save_checkpoint(self.best_file, self.best_state)
            self.best_state = None

    def _save_resume(self) -> None:
        """Write where the run stands, and the best weights: the two files belong together."""
        self._read_losses()
        begun = time.monotonic()
        position = {
            "epoch": self.epoch, "batch": self.batch, "loss_sum": self.loss_sum, "images": self.images,
            "seconds": self.seconds, "description": self.description(), "history": self.history.to_json(),
        }  # fmt: skip
        state = position | capture(self.model, self.device) | self.descent.state()
        save_resume(self.resume_file, state, self._save_best)
        self.saved = time.monotonic()
        self.saving, self.epoch_saved = self.saved - begun, self.epoch

    def end(self) -> None:
        """Free the memory, since another stage may follow and a traceback may keep this object alive."""
        self.descent.let_go()
        self.stepper = None  # it holds a method of this object: a reference cycle
        with suppress(RuntimeError):  # a GPU that failed fails here again
            torch.cuda.empty_cache()

    def _say(self, text: str) -> None:
        if self.progress:
            say(text)
