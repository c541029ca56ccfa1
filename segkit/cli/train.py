"""``python -m segkit train``: from pictures to a checkpoint, in one run or in stages."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segkit.cli.common import figures, network_of, options, pictures, readable_errors
from segkit.malloc import keep_memory

if TYPE_CHECKING:
    from segkit.datasets import DatasetSpec
    from segkit.history import History
    from segkit.training import TrainConfig

__all__ = ["train"]


def _words(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (word.strip() for word in (value or "").split(",")))))


def _epochs(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str | int, ...]:
    from segkit.training.live import STAGES

    words = _words(context, parameter, value)
    if wrong := [word for word in words if word not in STAGES and not (word.isascii() and word.isdigit())]:
        raise click.BadParameter(f"expected {', '.join(STAGES)} or numbers of epochs, but got {wrong[0]!r}.")
    return tuple(word if word in STAGES else int(word) for word in words)


@click.command()
@options("model")
@click.option("--recipe", type=click.Choice(["course", "fast"]), default="course", show_default=True)
@options("dataset", "split", "out", "data")
@click.option("--epochs", type=click.IntRange(1), help="[default: 5 for course from scratch, else 25]")
@click.option(
    "--pretrained",
    "--weights",
    "weights",
    metavar="FILE|imagenet",
    help="Copy VGG-16 first: a file of its weights (pretrain writes one), or 'imagenet'.",
)
@click.option(
    "--start-from",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take over the layers of another FCN's checkpoint first: of a coarser one, or of an earlier run.",
)
@click.option("--staged", is_flag=True, help="Train the coarser networks first, each in a folder below --out.")
@click.option("--batch-size", type=click.IntRange(1), help="Images per step.  [default: the recipe's]")
@click.option("--patience", type=click.IntRange(1), metavar="EPOCHS", help="Stop after so many epochs without a better mean IoU.")
@click.option("--deterministic", is_flag=True, help="Repeat to the bit on a GPU too; slower.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any other setting of TrainConfig: --set crop=512")
@click.option("--masks", type=click.IntRange(0), default=3, show_default=True, help="How many validation pictures to predict on the way.")
@click.option("--pictures", "named", metavar="NAMES", callback=_words, help="Predict these in place of --masks: names with commas between.")
@click.option(
    "--stages", metavar="EPOCHS", callback=_epochs, default="first,middle,last", show_default=True,
    help="When to predict them: first, middle, last, or numbers of epochs.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out; start if there is none.")
@click.option("--overwrite", is_flag=True, help="Start again although --out holds a run.")
@options("notebooks", "quiet")
def train(name: str, out: Path, staged: bool, **given: Any) -> None:
    """Train a network and keep its best epoch.

    Writes best.safetensors (the weights of the epoch with the best mean IoU on the validation pictures),
    history.json, and figures: curves.png after every epoch, stages.png (what the network saw at the first, middle and
    last epoch, or those of --stages; stages.npz has the label maps), gallery.png and confusion.png. A run that was stopped
    goes on with --resume.

    \b
    A first try, on any machine:
      python -m segkit train --model fcn32s --split sample --epochs 2 --out runs/try
    The coarse networks first, as in the paper, with trunk weights of your own:
      python -m segkit train --model fcn8s --recipe fast --staged --weights vgg16_facades-1a2b3c4d.pth --split base --out runs/8s
    """
    if given["resume"] and given["overwrite"]:
        raise click.UsageError("--resume goes on with a run, --overwrite starts again: give one of them.")
    if given["start_from"] and (given["weights"] or staged):
        raise click.UsageError("--start-from begins with a trained network: leave --weights and --staged out.")
    keep_memory()
    with readable_errors():
        job = _Job(out=out, **given)
        stages = _stages(name, job) if staged else []
        start = job.start_from
        for stage in stages:
            click.echo(f"stage {stage}: {out / stage}")
            job.run(stage, out / stage, start)
            start = out / stage / "best.safetensors"
        best = job.run(name, out, start).best
        assert best is not None, "fit records at least one epoch"
    click.echo(f"best epoch {best.epoch}: mean IoU {best.mean_iou:.4f}, pixel accuracy {best.pixel_accuracy:.4f}")
    click.echo(f"written to {out}: best.safetensors, history.json, curves.png, stages.png, gallery.png, confusion.png")


def _stages(name: str, job: "_Job") -> list[str]:
    """The coarser networks that there are; a student's notebooks lack FCN-16s."""
    from segkit.models import ModelError, model_class, networks

    known = list(networks(job.spec))
    if name not in known:
        raise click.UsageError(f"--staged knows {', '.join(known)}, not {name!r}. Use --start-from with a checkpoint instead.")
    found = []
    for stage in known[: known.index(name)]:
        try:
            model_class(stage, job.notebooks, job.spec)
        except ModelError:
            click.echo(f"stage {stage} is left out: there is no such network here")
        else:
            found.append(stage)
    return found


@dataclass
class _Job:
    """What was asked for on the command line."""

    recipe: str
    spec: "DatasetSpec"
    split: str
    out: Path
    data: str | None
    epochs: int | None
    weights: str | None
    start_from: Path | None
    batch_size: int | None
    patience: int | None
    deterministic: bool
    settings: tuple[str, ...]
    masks: int
    named: tuple[str, ...]
    stages: tuple[str | int, ...]
    seed: int
    resume: bool
    overwrite: bool
    notebooks: Path
    quiet: bool

    def config(self) -> "TrainConfig":
        """The recipe with what the command line changes."""
        from segkit.training.recipes import RECIPES, configured

        short = self.recipe == "course" and not self.weights and not self.start_from
        changes: dict[str, Any] = {
            "epochs": self.epochs or (5 if short else 25), "seed": self.seed, "batch_size": self.batch_size,
            "stop_after": self.patience, "deterministic": self.deterministic or None,
        }  # fmt: skip
        config = dataclasses.replace(RECIPES[self.recipe], **{key: value for key, value in changes.items() if value is not None})
        wrong = [text for text in self.settings if "=" not in text]
        if wrong:
            raise click.BadParameter(f"expected NAME=VALUE, but got {wrong[0]!r}.", param_hint="--set")
        try:
            return configured(config, dict(text.split("=", 1) for text in self.settings))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--set") from error

    def run(self, name: str, out: Path, start: Path | None) -> "History":
        """Train one network in one folder, and draw its figures."""
        import torch

        from segkit.evaluation import evaluate
        from segkit.models import solution_functions
        from segkit.training import fit
        from segkit.training.live import LivePictures, spread
        from segkit.training.segmentation import Metrics

        network, functions = network_of(name, self.notebooks, self.spec), solution_functions(self.notebooks, self.spec)
        config = self.config()
        train_set, val_set = (pictures(self.spec, self.data, self.split, part, functions.read_label) for part in ("train", "val"))
        torch.manual_seed(self.seed)
        model = network()
        if not (self.resume and (out / "resume.pt").exists()):
            self._begin(model, start)
        metrics: Metrics = {"confusion_matrix": functions.confusion_matrix, "scores": functions.scores}
        watched = pictures(self.spec, self.data, self.split, "val", functions.read_label, self.named) if self.named else val_set
        live = LivePictures(out, watched, range(len(watched)) if self.named else spread(len(val_set), self.masks), self.stages)
        history = fit(
            model, train_set, val_set, config=config, out=out, resume=self.resume, overwrite=self.overwrite,
            progress=not self.quiet, after_epoch=live, **metrics,
        )  # fmt: skip
        result = evaluate(model, val_set, progress=not self.quiet, bootstrap=0, precision=config.precision, **metrics)
        figures(model, val_set, result, out)
        return history

    def _begin(self, model: Any, start: Path | None) -> None:
        """Load the weights of another network first, if the command line says so."""
        if start is not None:
            from segkit.training.staging import start_from

            kept = start_from(model, start)
            click.echo(f"begins with {start}; new: {', '.join(kept) or 'nothing'}")
        elif self.weights:
            from segkit.models import copy_vgg16
            from segkit.vgg import load_vgg16

            copy_vgg16(model, load_vgg16(None if self.weights == "imagenet" else self.weights), self.notebooks)
