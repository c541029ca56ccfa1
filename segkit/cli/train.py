"""``python -m segkit train`` and ``evaluate``: from pictures to a checkpoint, from a checkpoint to figures and numbers."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

__all__ = ["evaluate", "train"]

SPLITS = click.Choice(["course", "base", "sample"])

OPTIONS = {
    "model": click.option(
        "--model", "name", required=True, metavar="NAME",
        help="fcn32s, fcn16s or fcn8s; or a class in a notebook: 2_fcn32s.ipynb:FCN32s",
    ),
    "split": click.option("--split", type=SPLITS, required=True, help="Which fixed lists of pictures."),
    "out": click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for everything written."),
    "data": click.option(
        "--data", metavar="CMP_ROOT", help="Folder that holds base/.  [default: data/cmp_facade; the sample needs none]"
    ),
    "notebooks": click.option(
        "--notebooks", type=click.Path(path_type=Path), default=".", metavar="FOLDER",
        help="Where your notebooks are.  [default: this folder]",
    ),
    "quiet": click.option("--quiet", is_flag=True, help="No progress bars."),
}  # fmt: skip


def _options(*names: str) -> Callable:
    """Several of the shared options, shown by ``--help`` in this order."""

    def add(command: Callable) -> Callable:
        for name in reversed(names):
            command = OPTIONS[name](command)
        return command

    return add


@contextmanager
def _readable_errors() -> Iterator[None]:
    """Faults that a person can repair end in one message; a wrong name is bad usage, the rest a failure."""
    from segkit.atomic import DiskFullError
    from segkit.checkpoints import CheckpointError
    from segkit.evaluation import EvaluationError
    from segkit.facades import DataError
    from segkit.models import ModelError
    from segkit.training import TrainingError
    from segkit.vgg import VGGError

    try:
        yield
    except (CheckpointError, DataError, DiskFullError, EvaluationError, ModelError, TrainingError, VGGError) as error:
        text = error.strerror if isinstance(error, DiskFullError) else str(error)
        raise click.ClickException(text) from error


@click.command()
@_options("model")
@click.option("--recipe", type=click.Choice(["course", "fast"]), default="course", show_default=True)
@_options("split", "out", "data")
@click.option("--epochs", type=click.IntRange(1), help="[default: 25 with --pretrained and for fast, else 5]")
@click.option("--pretrained", metavar="FILE|imagenet", help="Copy VGG-16 first: its weights' file, or 'imagenet'.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out; start if there is none.")
@click.option("--overwrite", is_flag=True, help="Start again although --out holds a run.")
@_options("notebooks", "quiet")
def train(
    name: str,
    recipe: str,
    split: str,
    out: Path,
    data: str | None,
    epochs: int | None,
    pretrained: str | None,
    seed: int,
    resume: bool,
    overwrite: bool,
    notebooks: Path,
    quiet: bool,
) -> None:
    """Train a network and keep its best epoch.

    Writes best.safetensors (the weights of the epoch with the best mean IoU on the validation pictures),
    history.json, and the figures curves.png, gallery.png, confusion.png. A run that was stopped goes on with --resume.

    \b
    A first try, on any machine:
      python -m segkit train --model fcn32s --split sample --epochs 2 --out runs/try
    """
    if resume and overwrite:
        raise click.UsageError("--resume goes on with a run, --overwrite starts again: give one of them.")
    import torch

    with _readable_errors():
        from segkit import plots
        from segkit.models import copy_vgg16, solution_functions
        from segkit.training import RECIPES, fit

        network = _network_class(name, notebooks)
        functions = solution_functions(notebooks)
        train_set, val_set = (_pictures(data, split, part, functions.read_label) for part in ("train", "val"))
        epochs = epochs or (25 if pretrained or recipe == "fast" else 5)
        config = dataclasses.replace(RECIPES[recipe], epochs=epochs, seed=seed)
        torch.manual_seed(seed)
        model = network(_n_class())
        if pretrained and not (resume and (out / "resume.pt").exists()):
            from segkit.vgg import load_vgg16

            copy_vgg16(model, load_vgg16(None if pretrained == "imagenet" else pretrained), notebooks)
        metrics = {"confusion_matrix": functions.confusion_matrix, "scores": functions.scores}
        history = fit(
            model, train_set, val_set, config=config, out=out, resume=resume, overwrite=overwrite,
            progress=not quiet, **metrics,
        )  # fmt: skip
        plots.curves(history).savefig(out / "curves.png", dpi=110)
        result = _score(model, val_set, metrics, quiet, bootstrap=0)
        _figures(model, val_set, result, out)
    best = history.best
    click.echo(f"best epoch {best.epoch}: mean IoU {best.mean_iou:.4f}, pixel accuracy {best.pixel_accuracy:.4f}")
    click.echo(f"written to {out}: best.safetensors, history.json, curves.png, gallery.png, confusion.png")


@click.command()
@_options("model")
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True, help="*.safetensors or *.pth")
@_options("split", "out", "data")
@click.option("--part", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@_options("notebooks", "quiet")
def evaluate(
    name: str, checkpoint: Path, split: str, out: Path, data: str | None, part: str, notebooks: Path, quiet: bool
) -> None:
    """Score a checkpoint on a fixed list of pictures.

    Writes metrics.json (accuracies, mean IoU with a 95 % interval, IoU by class) and the figures gallery.png and
    confusion.png.
    """
    with _readable_errors():
        from segkit.checkpoints import load_checkpoint
        from segkit.models import solution_functions

        network = _network_class(name, notebooks)
        functions = solution_functions(notebooks)
        pictures = _pictures(data, split, part, functions.read_label)
        model = load_checkpoint(network(_n_class()), checkpoint)
        metrics = {"confusion_matrix": functions.confusion_matrix, "scores": functions.scores}
        result = _score(model, pictures, metrics, quiet)
        out.mkdir(parents=True, exist_ok=True)
        _write_metrics(out / "metrics.json", result.to_json())
        _figures(model, pictures, result, out)
    low, high = result.mean_iou_interval
    for class_name, value in result.iou.items():
        click.echo(f"  {class_name:<12} {value:.4f}")
    click.echo(
        f"mean IoU {result.mean_iou:.4f} (95 % interval {low:.4f} to {high:.4f} over {result.images} pictures), "
        f"pixel accuracy {result.pixel_accuracy:.4f}"
    )
    click.echo(f"written to {out}: metrics.json, gallery.png, confusion.png")


def _network_class(name: str, notebooks: Path) -> type:
    from segkit.models import MODELS, model_class

    if name not in MODELS and ":" not in name:
        choices = ", ".join(MODELS)
        raise click.BadParameter(f"{name!r} is none of {choices}, nor FILE.ipynb:CLASS.", param_hint="--model")
    return model_class(name, notebooks)


def _n_class() -> int:
    from segkit.facades import N_CLASS

    return N_CLASS


def _pictures(data: str | None, split: str, part: str, read_label: Callable) -> Any:
    from segkit.facades import FacadeDataset, find_root

    root = find_root("sample" if split == "sample" and data is None else data)
    return FacadeDataset(root, split, part, read_label=read_label)


def _score(model: Any, pictures: Any, metrics: dict, quiet: bool, bootstrap: int = 1000) -> Any:
    from segkit.evaluation import evaluate

    return evaluate(model, pictures, progress=not quiet, bootstrap=bootstrap, **metrics)


def _write_metrics(path: Path, content: dict) -> None:
    from segkit.atomic import replacing

    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _figures(model: Any, pictures: Any, result: Any, out: Path, most: int = 4) -> None:
    from segkit import plots
    from segkit.evaluation import predict

    chosen = range(min(most, len(pictures)))
    images, labels = zip(*(pictures[index] for index in chosen), strict=True)
    predictions = [predict(model, image) for image in images]
    titles = [pictures.names[index] for index in chosen]
    plots.gallery(images, labels, predictions, titles=titles).savefig(out / "gallery.png", dpi=110)
    plots.confusion(result.hist).savefig(out / "confusion.png", dpi=110)
