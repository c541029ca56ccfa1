"""Train VGG-16 on the photographs themselves, for machines that cannot get ImageNet's weights.

The task needs only the label maps: predict which share of each cell of a random patch belongs to which class. The learned
layers (13 convolutions and two hidden layers) have the layout of torchvision's file, so that all code which copies VGG-16
into an FCN works with it. Only training images are read; a tenth of them is held out to watch the progress.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.atomic import replacing
from segkit.datasets import dataset
from segkit.download import hash_file
from segkit.pretrain_config import PretrainConfig
from segkit.training.batches import fingerprint
from segkit.training.loading import normalised, read_ahead
from segkit.training.loop import Task, train
from segkit.training.patches import Answering, Repeated, SharesLoss
from segkit.training.recipes import RECIPES
from segkit.training.rescue import memory_named
from segkit.training.resuming import FREE, TrainingError
from segkit.training.run import Run
from segkit.training.sources import Items, open_pairs

__all__ = ["PretrainConfig", "fresh_vgg16", "pretrain"]

RECORD = "pretraining.json"


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
    resume_every: float = 600.0,
    network: Callable[[], nn.Module] = fresh_vgg16,
) -> Path:
    """Train VGG-16 to tell the shares of the classes in the cells of patches of the training pictures.

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
        resume_every: see :func:`segkit.training.fit`; VGG-16 and its moments are 1.5 GiB.
        network: makes the network: ``features``, ``avgpool``, ``classifier``, as :func:`fresh_vgg16`.

    Returns:
        Path of the weights: ``vgg16_facades-`` (or another data set's name) and the first 8 digits of the file's sha256, as
        ``load_vgg16`` wants it.

    Raises:
        TrainingError: fewer than two images; the loss is no number; ``out`` holds another run; a file is damaged; no memory.
            Where the run goes on from a file, the text says so.
    """
    if len(train_set) < 2:
        raise TrainingError(f"Expected at least two training images, one of them to watch, but got {len(train_set)}.")
    recipe = dataclasses.replace(
        RECIPES["fast"], recipe="pretrain", epochs=config.epochs, learning_rate=config.learning_rate,
        weight_decay=config.weight_decay, batch_size=config.batch_size, precision=config.precision, seed=config.seed,
        crop=config.side, scale=config.scale, jitter=config.jitter, pad_to=config.side, workers=config.workers, cache=config.cache,
    )  # fmt: skip
    torch.manual_seed(config.seed)
    model = Answering(network(), n_class)
    task = _Pretraining(model, train_set, config, Path(out))
    if task.record_file.exists() and resume:
        return task.finished_file(same=True)
    run = Run(model, task, recipe, Path(out) / "resume.pt", device=device, progress=progress, resume_every=resume_every)
    try:
        with memory_named(run.device):
            run.begin(resume, overwrite)
            train(run)
            return task.finish(run)
    finally:
        run.end()


class _Pretraining(Task):
    """Tells the shares of the classes in cells of all pictures but a tenth; scored on those that are held out."""

    lighter = "A smaller --batch-size or --side needs less."

    def __init__(self, model: Answering, train_set: Items[tuple[Tensor, Tensor]], config: PretrainConfig, out: Path) -> None:
        self.model, self.train_set, self.config, self.n_class = model, train_set, config, model.n_class
        self.record_file = out / RECORD
        pairs, count = open_pairs(train_set, config.cache), len(train_set)
        trained = count - max(1, count // 10)
        self.pairs = Repeated(pairs, range(trained), config.patches)
        self.watched = Repeated(pairs, range(trained, count), config.patches)
        self.shares = SharesLoss(self.n_class, model.strides, model.window)
        self.loss, self.mass = self.shares.loss, self.shares.mass
        self.records: list[dict[str, object]] = []

    def description(self, run: Run | None = None) -> dict[str, Any]:
        return dataclasses.asdict(self.config) | {  # the names are those of a training run
            "schedule": "poly",
            "model": self.model.name,
            "parameters": sum(value.numel() for value in self.model.parameters()),
            "train_images": fingerprint(self.train_set),
        }

    def start(self, run: Run, overwrite: bool) -> None:
        there = [file for file in (self.record_file, run.resume_file) if file.exists()]
        if there and not overwrite:
            raise TrainingError(
                f"{there[0]} is there: this folder already holds a pretraining run; nothing was changed. Go on with it "
                "(--resume), replace it (--overwrite), or give another folder."
            )
        if self.record_file in there:
            self.finished_file().unlink(missing_ok=True)
        for file in there:
            file.unlink()

    def state(self) -> dict[str, Any]:
        return {"records": self.records}

    def restore(self, run: Run, state: dict[str, Any]) -> None:
        self.records = state["records"]

    def record(self, run: Run, scores: dict[str, tuple[float, float]]) -> None:
        at, loss = run.at, 0.0 if math.isnan(run.at.loss) else run.at.loss
        self.records.append({"epoch": at.epoch, "loss": loss, "held_out": scores, "seconds": round(at.seconds, 3)})
        told = ", ".join(f"{name} {right:.3f} ({usual:.3f})" for name, (right, usual) in scores.items())
        run.say(
            f"epoch {at.epoch}/{self.config.epochs}  loss {loss:.3f}  held out, largest class right (one "
            f"answer for all): {told}  {at.seconds:.0f} s"
        )

    @torch.inference_mode()
    def evaluate(self, run: Run) -> dict[str, tuple[float, float]]:
        """Cells of held-out patches, by size: the share whose largest class was named, and what one answer would get."""
        self.model.eval()
        sizes = [*(f"{stride} px" for stride in self.model.strides), "hidden layers"]
        found: list[list[Tensor]] = [[] for _ in sizes]
        wanted: list[list[Tensor]] = [[] for _ in sizes]
        batches = run.batches_of(self.watched, 0)  # the same patches after every epoch
        for batch in read_ahead(batches, 0, self.config.workers if self.watched.parallel else 0):
            with run.precision.autocast():
                logits = self.model(normalised(batch, run.device))
            shares = self.shares.shares(batch.labels.to(run.device))
            for size, (told, share) in enumerate(zip(logits.split([each.shape[2] for each in shares], 2), shares, strict=True)):
                labelled = share.sum(1) > 0
                found[size].append(told.argmax(1)[labelled])
                wanted[size].append(share.argmax(1)[labelled])
        return {name: _right(torch.cat(told), torch.cat(true)) for name, told, true in zip(sizes, found, wanted, strict=True)}

    def finish(self, run: Run) -> Path:
        """Write the weights under the name that carries their checksum, and the record."""
        spec = getattr(self.train_set, "spec", None) or dataset()
        unnamed = run.resume_file.with_name(f"vgg16_{spec.name}.pth")
        with replacing(unnamed) as partial, open(partial, "wb") as file:
            torch.save(self.model.plain(), file)
        digest = hash_file(unnamed)
        path = unnamed.rename(unnamed.with_stem(f"{unnamed.stem}-{digest[:8]}"))
        record = {
            "schema": "segkit-pretraining/1", "file": path.name, "sha256": digest, "bytes": path.stat().st_size,
            "config": self.description(), "device": run.device.type, "computed_in": run.precision.name,
            "task": f"shares of the classes in the cells of random patches of the training {spec.pictures}", "epochs": self.records,
        }  # fmt: skip
        with replacing(self.record_file) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        run.resume_file.unlink(missing_ok=True)
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


def _right(answers: Tensor, truth: Tensor) -> tuple[float, float]:
    """Share of right answers, and of the most common truth; 0 where nothing is labelled."""
    count = max(len(truth), 1)
    return float((answers == truth).sum()) / count, float(torch.bincount(truth, minlength=1).max()) / count
