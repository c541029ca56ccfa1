"""Training: the recipe of the course, a faster one, and a run that survives being killed.

A run keeps three files in its folder: ``best.safetensors`` (the weights of the best epoch by validation
mean IoU, by value), ``history.json``, and ``resume.pt`` (all that is needed to go on).
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.batches import EpochBatches, fingerprint, load_batches
from segkit.checkpoints import load_checkpoint, save_checkpoint
from segkit.evaluation import best_device, evaluate
from segkit.facades import IGNORE_INDEX
from segkit.history import EpochRecord, History
from segkit.progress import bar
from segkit.recipes import RECIPES, TrainConfig
from segkit.resuming import TrainingError, capture, demand_same_run, read_resume, restore, save_resume

__all__ = ["RECIPES", "TrainConfig", "TrainingError", "fit"]


def fit(
    model: nn.Module,
    train_set: Sequence,
    val_set: Sequence,
    *,
    config: TrainConfig,
    out: str | Path,
    confusion_matrix: Callable,
    scores: Callable,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    device: torch.device | str | None = None,
    resume_every: float = 600.0,
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
        resume_every: seconds between two savings inside an epoch; the end of an epoch is always saved.

    Returns:
        The history, epoch 0 being the untrained model. ``model`` then holds the best weights.

    Raises:
        TrainingError: the loss is NaN; ``out`` holds another run; a label is out of range.
        DiskFullError: no space for a file; the files written before are whole.
    """
    run = _Run(model, train_set, val_set, config, Path(out), device, progress, resume_every)
    run.metrics = {"confusion_matrix": confusion_matrix, "scores": scores}
    if resume and run.resume_file.exists():
        run.resume()
    else:
        run.start(overwrite)
    while run.epoch <= config.epochs:
        run.train_epoch()
        run.finish_epoch()
    run.history.save(run.history_file)  # a kill may have come between resume.pt and this file
    load_checkpoint(model, run.best_file)
    return run.history


class _Run:
    """One training run: network, optimizer, schedule, history, and where in which epoch it stands."""

    def __init__(
        self,
        model: nn.Module,
        train_set: Sequence,
        val_set: Sequence,
        config: TrainConfig,
        out: Path,
        device: torch.device | str | None,
        progress: bool,
        resume_every: float,
    ) -> None:
        if len(train_set) == 0 or len(val_set) == 0:
            raise TrainingError(f"Expected images, but got {len(train_set)} to train and {len(val_set)} to validate.")
        self.device = torch.device(device) if device is not None else best_device()
        self.model, self.train_set, self.val_set = model.to(self.device), train_set, val_set
        self.config, self.progress, self.resume_every = config, progress, resume_every
        self.best_file, self.resume_file = out / "best.safetensors", out / "resume.pt"
        self.history_file = out / "history.json"
        self.mixed = config.mixed_precision and self.device.type == "cuda"
        if self.mixed:
            model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(
            model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=self.mixed
        )
        self.scheduler = self._scheduler()
        self.history = History(self.description())
        self.epoch, self.batch = 1, 0  # the epoch in progress, and its next batch
        self.loss_sum, self.images, self.seconds = 0.0, 0, 0.0  # of the epoch in progress
        self.metrics: dict[str, Callable] = {}

    def _scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        config = self.config
        if config.schedule == "plateau":
            return torch.optim.lr_scheduler.ReduceLROnPlateau(
                self.optimizer, patience=config.patience, min_lr=config.min_learning_rate
            )
        steps = config.epochs * -(-len(self.train_set) // config.batch_size)
        return torch.optim.lr_scheduler.PolynomialLR(self.optimizer, total_iters=steps, power=0.9)

    def description(self) -> dict:
        """Settings, network and data as plain values: stands in the history, and must agree on resuming."""
        return dataclasses.asdict(self.config) | {
            "model": type(self.model).__name__,
            "parameters": sum(value.numel() for value in self.model.parameters()),
            "train_images": fingerprint(self.train_set),
            "val_images": fingerprint(self.val_set),
            "device": self.device.type,
        }

    # -- beginning ---------------------------------------------------------------------------------

    def start(self, overwrite: bool) -> None:
        """Seed, and score the untrained network: what training brings is only seen against that."""
        there = [file for file in (self.best_file, self.resume_file) if file.exists()]
        if there and not overwrite:
            raise TrainingError(
                f"{there[0].parent} already holds a training run ({', '.join(file.name for file in there)}); "
                "nothing was changed. Go on with it (resume=True, --resume), replace it (overwrite=True, "
                "--overwrite), or give another folder."
            )
        torch.manual_seed(self.config.seed)
        self._validate(None)
        for file in there:
            file.unlink()

    def resume(self) -> None:
        """Go on where ``resume.pt`` was written, if it belongs to the same run."""
        state = read_resume(self.resume_file)
        demand_same_run(self.resume_file, state, self.description(), self.model)
        self.history = History.from_json(state["history"])
        self.history.config = self.description()
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.loss_sum, self.images, self.seconds = state["loss_sum"], state["images"], state["seconds"]
        restore(state, self.model, self.optimizer, self.scheduler)
        self._say(f"resuming in epoch {self.epoch}, after {self.batch} batches")

    # -- one epoch ---------------------------------------------------------------------------------

    def train_epoch(self) -> None:
        """The batches of the epoch that are still to be done."""
        config = self.config
        batches = EpochBatches(
            self.train_set, seed=config.seed, epoch=self.epoch, batch_size=config.batch_size,
            crop=config.crop, flip=config.flip,
        )  # fmt: skip
        self.model.train()
        begun, saved = time.monotonic() - self.seconds, time.monotonic()
        with bar(
            total=len(batches), initial=self.batch, show=self.progress, leave=False, unit="batch",
            desc=f"epoch {self.epoch}/{config.epochs}",
        ) as shown:  # fmt: skip
            for images, labels, names in load_batches(batches, self.batch, config.workers):
                loss = self._step(images, labels, names)
                self.batch += 1
                if loss is not None:
                    self.loss_sum += loss * len(names)
                    self.images += len(names)
                self.seconds = time.monotonic() - begun
                shown.update()
                shown.set_postfix_str(f"loss {self.loss_sum / max(self.images, 1):.3f}", refresh=False)
                if time.monotonic() - saved >= self.resume_every and self.batch < len(batches):
                    self._save_resume()
                    saved = time.monotonic()

    def _step(self, images: Tensor, labels: Tensor, names: list[str]) -> float | None:
        """One step of gradient descent; returns the loss before it, None if no pixel is labelled."""
        images, labels = images.to(self.device), labels.to(self.device)
        if self.mixed:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed):
            logits = self.model(images)  # (B, n_class, H, W)
        self._check_labels(labels, logits.shape[1], names)
        if bool((labels == IGNORE_INDEX).all()):
            return None  # the mean over no pixel is NaN, through no fault of the network
        loss = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX)
        if not math.isfinite(value := loss.item()):
            raise TrainingError(self._diverged(value, names))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.config.schedule == "poly":
            self.scheduler.step()
        return value

    def _check_labels(self, labels: Tensor, n_class: int, names: list[str]) -> None:
        """Before the loss sees them: on a GPU a label out of range kills the whole process."""
        wrong = ((labels < 0) | (labels >= n_class)) & (labels != IGNORE_INDEX)
        if bool(wrong.any()):
            index = int(wrong.flatten(1).any(1).nonzero()[0])
            raise TrainingError(
                f"{names[index]}: expected labels 0..{n_class - 1} or {IGNORE_INDEX}, but got "
                f"{int(labels[wrong][0])}. Does read_label subtract 1, and turn 0 into {IGNORE_INDEX}?"
            )

    def _diverged(self, value: float, names: list[str]) -> str:
        best = self.history.best
        safe = f"{self.best_file} holds epoch {best.epoch}." if best else "No epoch was finished yet."
        return (
            f"The loss became {value} in epoch {self.epoch}, batch {self.batch} ({', '.join(names)}), at learning "
            f"rate {self.optimizer.param_groups[0]['lr']:.1e}. The weights were not changed by this batch. {safe} "
            "Usual causes: a learning rate that is too high, a loss that is summed instead of averaged, "
            "or NaN in the network's weights or in this image."
        )

    def finish_epoch(self) -> None:
        """Score, keep the best, write everything down, go to the next epoch."""
        train_loss = self.loss_sum / self.images if self.images else math.nan
        if self.config.schedule == "plateau":
            self.scheduler.step(train_loss)
        self._validate(train_loss)
        if self.history.best_epoch == self.epoch:
            save_checkpoint(self.best_file, self.model)
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.images, self.seconds = 0.0, 0, 0.0
        self._save_resume()
        self.history.save(self.history_file)

    def _validate(self, train_loss: float | None) -> None:
        begun = time.monotonic()
        result = evaluate(
            self.model, self.val_set, device=self.device, progress=self.progress, bootstrap=0,
            autocast=self.mixed, **self.metrics,
        )  # fmt: skip
        record = EpochRecord(
            epoch=self.epoch if train_loss is not None else 0,
            train_loss=train_loss,
            val_loss=result.loss,
            pixel_accuracy=result.pixel_accuracy,
            mean_iou=result.mean_iou,
            iou=list(result.iou.values()),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            seconds=round(self.seconds + time.monotonic() - begun, 3),
        )
        self.history.epochs.append(record)
        if train_loss is None:
            self.history.save(self.history_file)
        self._say(_line(record, self.config.epochs, self.history.best is record))

    # -- files and messages ------------------------------------------------------------------------

    def _save_resume(self) -> None:
        position = {
            "epoch": self.epoch, "batch": self.batch, "loss_sum": self.loss_sum, "images": self.images,
            "seconds": self.seconds, "description": self.description(), "history": self.history.to_json(),
        }  # fmt: skip
        save_resume(self.resume_file, position | capture(self.model, self.optimizer, self.scheduler))

    def _say(self, text: str) -> None:
        if self.progress:
            print(text, flush=True)


def _line(record: EpochRecord, epochs: int, best: bool) -> str:
    train = "untrained" if record.train_loss is None else f"train loss {record.train_loss:.3f}"
    return (
        f"epoch {record.epoch:>{len(str(epochs))}}/{epochs}  {train:<16}  val loss {record.val_loss:.3f}  "
        f"accuracy {record.pixel_accuracy:.3f}  mean IoU {record.mean_iou:.3f}{' *' if best else '  '}  "
        f"{record.seconds:.0f} s"
    )
