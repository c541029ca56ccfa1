"""Learn to name the class of every pixel.

A run keeps three files in its folder: ``best.safetensors`` (the weights of the best epoch by validation
mean IoU, by value), ``history.json``, and ``resume.pt`` (all that is needed to go on).
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from segkit.checkpoints import load_checkpoint, save_checkpoint
from segkit.history import EpochRecord, History
from segkit.inference import Evaluation, scored
from segkit.training.batches import fingerprint
from segkit.training.loop import Task, train
from segkit.training.measuring import measure
from segkit.training.recipes import TrainConfig
from segkit.training.repeating import repeatable
from segkit.training.rescue import memory_named
from segkit.training.resuming import TrainingError
from segkit.training.run import Run
from segkit.training.sources import Items, open_pairs, read_pairs
from segkit.training.steps import label_mass, segmentation_loss

__all__ = ["EpochDone", "Metrics", "fit"]


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
    if len(train_set) == 0 or len(val_set) == 0:
        raise TrainingError(f"Expected images, but got {len(train_set)} to train and {len(val_set)} to validate.")
    metrics: Metrics = {"confusion_matrix": confusion_matrix, "scores": scores}
    with repeatable(config.deterministic):
        task = _Segmentation(train_set, val_set, config, Path(out), metrics, after_epoch)
        run = Run(model, task, config, Path(out) / "resume.pt", device=device, progress=progress, resume_every=resume_every)
        try:
            with memory_named(run.device):
                run.begin(resume, overwrite)
                train(run)
                task.history.save(task.history_file)  # a kill may have come between resume.pt and this file
                load_checkpoint(model, task.best_file)
                return task.history
        finally:
            run.end()


class _Segmentation(Task):
    """Names the class of every pixel; scored on the validation images, whose best epoch is kept."""

    def __init__(
        self,
        train_set: Items[tuple[Tensor, Tensor]],
        val_set: Items[tuple[Tensor, Tensor]],
        config: TrainConfig,
        out: Path,
        metrics: Metrics,
        callback: Callable[[EpochDone], None] | None,
    ) -> None:
        self.loss, self.mass, self.pairs = segmentation_loss, label_mass, open_pairs(train_set, config.cache)
        self.val_pairs = read_pairs(val_set) if config.cache == "off" else open_pairs(val_set, config.cache)
        self.lists = {"train_images": fingerprint(train_set), "val_images": fingerprint(val_set)}
        self.config, self.metrics, self.callback = config, metrics, callback
        self.best_file, self.history_file = out / "best.safetensors", out / "history.json"
        self.history = History()
        self.best_state: dict[str, Tensor] | None = None  # of the best epoch, until it is written

    def description(self, run: Run) -> dict[str, Any]:
        return asdict(self.config) | {
            "model": type(run.model).__name__,
            "parameters": sum(value.numel() for value in run.model.parameters()),
            **self.lists,
            "device": run.device.type,
            "computed_in": run.precision.name,
        }

    def start(self, run: Run, overwrite: bool) -> None:
        """Seed, and score the untrained network: its scores show what training adds."""
        there = [file for file in (self.best_file, run.resume_file) if file.exists()]
        if there and not overwrite:
            raise TrainingError(_taken(self.best_file, run.resume_file))
        torch.manual_seed(self.config.seed)
        self.history = History(self.description(run))
        begun = time.monotonic()
        self._note(run, 0, None, self.evaluate(run), time.monotonic() - begun)
        for file in there:
            file.unlink()
        self._read_untrained()

    def _read_untrained(self) -> None:
        """The scores of the untrained network tell the number of classes, and how long scoring takes."""
        untrained = self.history.epochs[0]
        self.n_class, self.scoring = len(untrained.iou), untrained.seconds

    def state(self) -> dict[str, Any]:
        return {"history": self.history.to_json()}

    def restore(self, run: Run, state: dict[str, Any]) -> None:
        self.history = History.from_json(state["history"])
        self.history.config = self.description(run)
        self._read_untrained()

    def stops_after(self, epoch: int) -> bool:
        wait = self.config.stop_after
        return bool(wait and epoch > 0 and epoch - self.history.best_epoch >= wait)

    def evaluate(self, run: Run) -> Evaluation:
        counts = measure(
            run.model, self.val_pairs, device=run.device, precision=run.precision, progress=run.progress, desc="validating",
            confusion_matrix=self.metrics["confusion_matrix"], threads=self.config.workers or None,
        )  # fmt: skip
        return scored(counts, self.metrics["scores"])

    def record(self, run: Run, scores: Evaluation) -> None:
        self._note(run, run.at.epoch, run.at.loss, scores, run.at.seconds)
        if self.history.best_epoch == run.at.epoch:
            # not on the GPU, which may be full
            self.best_state = {name: value.detach().to("cpu", copy=True) for name, value in run.model.state_dict().items()}

    def _note(self, run: Run, epoch: int, train_loss: float | None, result: Evaluation, seconds: float) -> None:
        record = EpochRecord(
            epoch, train_loss, result.loss, result.pixel_accuracy, result.mean_iou, list(result.iou.values()),
            run.descent.learning_rate, round(seconds, 3),
        )  # fmt: skip
        self.history.epochs.append(record)
        if epoch == 0:
            self._hand_out(run)
        run.say(_epoch_line(record, self.config.epochs, self.history.best is record))

    def _hand_out(self, run: Run) -> None:
        self.history.save(self.history_file)
        if self.callback is not None:
            epoch = self.history.epochs[-1].epoch
            self.callback(EpochDone(epoch, self.config.epochs, epoch > 0 and run.finished, run.model, self.history))

    def keep_best(self) -> None:
        if self.best_state is not None:
            save_checkpoint(self.best_file, self.best_state)
            self.best_state = None

    def after_epoch(self, run: Run) -> None:
        self._hand_out(run)
        if run.finished and run.at.epoch <= self.config.epochs:
            run.say(f"stopped early: no better mean IoU for {self.config.stop_after} epochs")

    def safe(self, saved: str) -> str:
        if self.history.best is None:
            return f"No epoch was finished yet. {saved}".rstrip()
        if self.best_state is not None:  # the file holds an older epoch, or is not there
            return saved
        anew = "If it comes again, begin with those weights in another folder at a smaller rate (--start-from)."
        return " ".join(part for part in (f"{self.best_file} holds epoch {self.history.best.epoch}.", saved, anew) if part)


def _epoch_line(record: EpochRecord, epochs: int, best: bool) -> str:
    """``epoch  3/25  train loss 1.766  val loss 1.531  accuracy 0.485  mean IoU 0.161 *  2 s``."""
    train = "untrained" if record.train_loss is None else f"train loss {record.train_loss:.3f}"
    return (
        f"epoch {record.epoch:>{len(str(epochs))}}/{epochs}  {train:<16}  val loss {record.val_loss:.3f}  "
        f"accuracy {record.pixel_accuracy:.3f}  mean IoU {record.mean_iou:.3f}{' *' if best else '  '}  "
        f"{record.seconds:.0f} s"
    )


def _taken(best_file: Path, resume_file: Path) -> str:
    """Why a run does not start in a folder that holds one, and what can be done with that."""
    if resume_file.exists():
        held = "a training run (" + ", ".join(file.name for file in (best_file, resume_file) if file.exists()) + ")"
        way = "Go on with it (resume=True, --resume)"
    else:
        held = f"{best_file.name} of a run that cannot go on, for there is no {resume_file.name} beside it"
        way = f"Begin with these weights in another folder (segkit.training.staging.start_from, --start-from {best_file})"
    others = "replace it (overwrite=True, --overwrite), or give another folder"
    return f"{best_file.parent} already holds {held}; nothing was changed. {way}, {others}."
