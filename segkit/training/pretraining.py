"""Train VGG-16 on the photographs themselves, for machines that cannot get ImageNet's weights.

The task needs only the label maps: predict which share of a random patch, and of each of its cells, belongs to which class.
The learned layers (13 convolutions and two hidden layers) have the layout of torchvision's file, so that all code which
copies VGG-16 into an FCN works with it. Only training images are read; a tenth of them is held out to watch the progress.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.atomic import replacing
from segkit.datasets import DataError, dataset
from segkit.download import hash_file
from segkit.precision import best_device, choose_precision
from segkit.progress import bar, say
from segkit.training.batches import Augmentation, EpochBatches, fingerprint
from segkit.training.descent import Descent, Diverged
from segkit.training.loading import normalised, read_ahead
from segkit.training.patches import Answering, Repeated, SharesTask, cell_shares
from segkit.training.recipes import RECIPES
from segkit.training.resuming import (
    EPOCH_SAVED_AFTER,
    FREE,
    TrainingError,
    capture,
    demand_same_run,
    read_resume,
    restore,
    save_resume,
)
from segkit.training.sources import Items, open_pairs
from segkit.training.steps import Stepper

__all__ = ["PretrainConfig", "fresh_vgg16", "pretrain"]

RECORD = "pretraining.json"


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of pretraining.

    Attributes:
        epochs: passes over the patches.
        patches: per image and epoch.
        side: of a patch in pixels; 224 makes fc6 see 7 x 7 cells, as in the FCN.
        scale: range of the factor by which a picture is resized before a patch is cut.
        batch_size: patches per step.
        learning_rate: Adam's at the beginning; it falls to zero.
        weight_decay: L2 penalty; Adam lets a large one wipe out fc6, whose gradients are small.
        precision: see :mod:`segkit.precision`.
        seed: of everything that is drawn.
        workers: threads that prepare patches.
        cache: see :class:`segkit.training.TrainConfig`.
    """

    epochs: int = 30
    patches: int = 8
    side: int = 224
    scale: tuple[float, float] = (0.4, 1.0)
    batch_size: int = 64
    learning_rate: float = 3e-4
    weight_decay: float = 2e-5
    precision: str = "auto"
    seed: int = 0
    workers: int = 4
    cache: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "patches", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} above 0, but got {getattr(self, name)}.")
        if self.side < 32:
            raise ValueError(f"Expected a side of at least 32 pixels, which VGG-16 makes one cell of, but got {self.side}.")


def fresh_vgg16() -> nn.Module:
    """torchvision's VGG-16 with He weights, as in the FCNs; its 1000 outputs are zero."""
    from torchvision.models import vgg16

    model = vgg16(weights=None, init_weights=False)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    nn.init.zeros_(model.classifier[6].weight)
    network: nn.Module = model
    return network


def pretrain(
    train_set: Items[tuple[Tensor, Tensor]],
    *,
    n_class: int,
    config: PretrainConfig,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    device: torch.device | str | None = None,
    resume_every: float = EPOCH_SAVED_AFTER,
    network: Callable[[], nn.Module] = fresh_vgg16,
) -> Path:
    """Train VGG-16 to tell the shares of the classes in patches of the training pictures, and in the patches' cells.

    Args:
        train_set: the training pictures, and nothing else.
        n_class: number of classes.
        config: see :class:`PretrainConfig`.
        out: folder for the weights, ``pretraining.json`` (settings, list of images, accuracies, sha256), and, until it is
            done, ``resume.pt``.
        resume: go on with the run in ``out``, if there is one.
        overwrite: start again although ``out`` holds one.
        progress: show bars and one line per epoch.
        device: None takes the GPU if there is one.
        resume_every: seconds since the last saving after which the end of an epoch is saved (VGG-16 and its moments are
            1.5 GiB, longer to write than a short epoch takes); the last epoch always is.
        network: makes the network: ``features``, ``avgpool``, ``classifier``, as :func:`fresh_vgg16`.

    Returns:
        Path of the weights: ``vgg16_facades-`` (or another data set's name) and the first 8 digits of the file's sha256, as
        ``load_vgg16`` wants it.

    Raises:
        TrainingError: fewer than two images; the loss is no number; ``out`` holds another run.
        DataError: a damaged file; the run can be resumed.
    """
    run = _Pretraining(train_set, n_class, config, Path(out), device, progress, resume_every, network)
    if run.record_file.exists() and resume:
        return run.finished_file(same=True)
    run.begin(resume, overwrite)
    while run.epoch <= config.epochs:
        run.train_epoch()
    return run.finish()


class _Pretraining:
    def __init__(
        self,
        train_set: Items[tuple[Tensor, Tensor]],
        n_class: int,
        config: PretrainConfig,
        out: Path,
        device: torch.device | str | None,
        progress: bool,
        resume_every: float,
        network: Callable[[], nn.Module],
    ) -> None:
        if len(train_set) < 2:
            raise TrainingError(f"Expected at least two training images, one of them to watch, but got {len(train_set)}.")
        self.config, self.n_class, self.progress, self.train_set = config, n_class, progress, train_set
        self.record_file, self.resume_file = out / RECORD, out / "resume.pt"
        self.device = torch.device(device) if device is not None else best_device()
        torch.manual_seed(config.seed)
        self.model = Answering(network(), n_class).to(self.device)
        try:
            precision = choose_precision(self.device, config.precision)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        if precision.half:
            self.model.to(memory_format=torch.channels_last)
        pairs = open_pairs(train_set, config.cache)
        held_out = max(1, len(train_set) // 10)
        self.patches = Repeated(pairs, range(len(train_set) - held_out), config.patches)
        self.watched = Repeated(pairs, range(len(train_set) - held_out, len(train_set)), config.patches)
        steps = config.epochs * -(-len(self.patches.names) // config.batch_size)
        recipe = dataclasses.replace(
            RECIPES["fast"], recipe="pretrain", epochs=config.epochs, learning_rate=config.learning_rate,
            weight_decay=config.weight_decay, batch_size=config.batch_size, precision=config.precision, seed=config.seed,
        )  # fmt: skip
        self.descent = Descent(self.model, recipe, precision, steps)
        task = SharesTask(n_class, self.model.strides)
        self.stepper = Stepper(self.model, self.descent, pairs, n_class, self.device, self._say, task.loss, task.mass)
        self.epoch = 1
        self.records: list[dict[str, object]] = []
        self.resume_every, self.saved, self.kept = resume_every, time.monotonic(), 0  # kept: the last epoch in resume.pt

    def description(self) -> dict[str, Any]:
        """What must agree on resuming; the names are those of a training run."""
        return dataclasses.asdict(self.config) | {
            "schedule": "poly",
            "model": type(self.model.vgg).__name__,
            "parameters": sum(value.numel() for value in self.model.parameters()),
            "train_images": fingerprint(self.train_set),
        }

    def begin(self, resume: bool, overwrite: bool) -> None:
        """Start, or go on after the last epoch that was saved."""
        if resume and self.resume_file.exists():
            state = read_resume(self.resume_file)
            demand_same_run(self.resume_file, state, self.description(), self.model)
            restore(state, self.model, self.device)
            self.descent.restore(state)
            self.epoch, self.records, self.kept = state["epoch"], state["records"], state["epoch"] - 1
            self._say(f"resuming in epoch {self.epoch}")
            return
        there = [file for file in (self.record_file, self.resume_file) if file.exists()]
        if there and not overwrite:
            raise TrainingError(
                f"{there[0]} is there: this folder already holds a pretraining run; nothing was changed. Go on with it "
                "(--resume), replace it (--overwrite), or give another folder."
            )
        if self.record_file in there:
            self.finished_file().unlink(missing_ok=True)
        for file in there:
            file.unlink()

    def _batches(self, patches: Repeated, epoch: int) -> EpochBatches:
        config = self.config
        return EpochBatches(
            patches, seed=config.seed, epoch=epoch, batch_size=config.batch_size, pad_to=config.side, n_class=self.n_class,
            augmentation=Augmentation(config.side, config.scale, True), pin=self.device.type == "cuda" and patches.parallel,
        )  # fmt: skip

    def train_epoch(self) -> None:
        """Train on all patches of an epoch, and score the held-out patches."""
        begun, losses, patches = time.monotonic(), 0.0, 0
        batches = self._batches(self.patches, self.epoch)
        self.model.train()
        workers = self.config.workers if self.patches.parallel else 0
        shown = bar(
            read_ahead(batches, 0, workers), total=len(batches), show=self.progress, leave=False, unit="batch",
            desc=f"epoch {self.epoch}/{self.config.epochs}",
        )  # fmt: skip
        try:
            for number, batch in enumerate(shown):
                self.stepper.step(batch, number)
                if (number + 1) % self.descent.config.read_every == 0 or number + 1 == len(batches):
                    for loss, count in self.stepper.read():
                        losses, patches = losses + loss * count, patches + count
            held_out = self._watch()
        except Diverged as error:
            raise TrainingError(self._diverged(error)) from error
        except MemoryError as error:
            raise TrainingError(f"{error} A smaller --batch-size or --side needs less.") from error
        except DataError as error:
            raise DataError(f"{error}\nEpoch {self.kept} is the last that is kept; repair the file and use --resume.") from error
        self.records.append({
            "epoch": self.epoch, "loss": losses / max(patches, 1), "held_out": held_out,
            "seconds": round(time.monotonic() - begun, 3),
        })  # fmt: skip
        told = ", ".join(f"{name} {right:.3f} ({usual:.3f})" for name, (right, usual) in held_out.items())
        self._say(
            f"epoch {self.epoch}/{self.config.epochs}  loss {losses / max(patches, 1):.3f}  held out, largest class right (one "
            f"answer for all): {told}  {time.monotonic() - begun:.0f} s"
        )
        self.epoch += 1
        if self.epoch > self.config.epochs or time.monotonic() - self.saved >= self.resume_every:
            self._save_resume()

    def _save_resume(self) -> None:
        position = {"epoch": self.epoch, "records": self.records, "description": self.description()}
        save_resume(self.resume_file, position | capture(self.model, self.device) | self.descent.state())
        self.saved, self.kept = time.monotonic(), self.epoch - 1

    def _diverged(self, error: Diverged) -> str:
        kept = f"{self.resume_file} holds epoch {self.kept}. " if self.resume_file.exists() else ""
        return (
            f"The loss became {error} in epoch {self.epoch}, batch {error.batch} ({', '.join(error.names[:4])}, ...), at "
            f"learning rate {self.descent.learning_rate:.1e}. {kept}Start in another folder with a smaller rate."
        )

    @torch.inference_mode()
    def _watch(self) -> dict[str, tuple[float, float]]:
        """Held-out patches and their cells, by size: the share whose largest class was named, and what one answer would get."""
        self.model.eval()
        sizes = [*(f"{stride} px" for stride in self.model.strides), "patches"]
        found: list[list[Tensor]] = [[] for _ in sizes]
        wanted: list[list[Tensor]] = [[] for _ in sizes]
        batches = self._batches(self.watched, 0)  # the same patches after every epoch
        for batch in read_ahead(batches, 0, self.config.workers if self.watched.parallel else 0):
            with self.descent.precision.autocast():
                logits = self.model(normalised(batch, self.device))
            shares = cell_shares(batch.labels.to(self.device), self.n_class, self.model.strides)
            for size, (told, share) in enumerate(zip(logits.split([each.shape[2] for each in shares], 2), shares, strict=True)):
                labelled = share.sum(1) > 0
                found[size].append(told.argmax(1)[labelled])
                wanted[size].append(share.argmax(1)[labelled])
        return {name: _right(torch.cat(told), torch.cat(true)) for name, told, true in zip(sizes, found, wanted, strict=True)}

    def finish(self) -> Path:
        """Write the weights under the name that carries their checksum, and the record."""
        spec = getattr(self.train_set, "spec", None) or dataset()
        unnamed = self.resume_file.with_name(f"vgg16_{spec.name}.pth")
        state = {name: value.detach().cpu().contiguous() for name, value in self.model.vgg.state_dict().items()}
        with replacing(unnamed) as partial, open(partial, "wb") as file:
            torch.save(state, file)
        digest = hash_file(unnamed)
        path = unnamed.rename(unnamed.with_stem(f"{unnamed.stem}-{digest[:8]}"))
        record = {
            "schema": "segkit-pretraining/1", "file": path.name, "sha256": digest, "bytes": path.stat().st_size,
            "config": self.description(), "device": self.device.type, "computed_in": self.descent.precision.name,
            "task": f"shares of the classes in random patches of the training {spec.pictures} and in their cells", "epochs": self.records,
        }  # fmt: skip
        with replacing(self.record_file) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        self.resume_file.unlink(missing_ok=True)
        return path

    def finished_file(self, same: bool = False) -> Path:
        """The weights that the record names; with ``same``, only if its settings are those of this run."""
        try:
            record = json.loads(self.record_file.read_text(encoding="utf-8"))
            there, path = record["config"], self.record_file.with_name(record["file"])
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{self.record_file} is no record of a pretraining run ({error}). Give another folder.") from error
        wanted = json.loads(json.dumps(self.description()))
        differing = [name for name in wanted if there.get(name) != wanted[name] and name not in FREE]
        if same and differing:
            name = differing[0]
            raise TrainingError(
                f"{self.record_file}: the finished run there has {name} {there.get(name)!r}, now {wanted[name]!r} is asked for; "
                "nothing was changed. Give another folder, or --overwrite."
            )
        return path

    def _say(self, text: str) -> None:
        if self.progress:
            say(text)


def _right(answers: Tensor, truth: Tensor) -> tuple[float, float]:
    """Share of right answers, and of the most common truth; 0 where nothing is labelled."""
    count = max(len(truth), 1)
    return float((answers == truth).sum()) / count, float(torch.bincount(truth, minlength=1).max()) / count
