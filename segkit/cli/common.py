"""What the commands that run networks share: options, whose class a name means, errors as one message, figures."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

__all__ = ["figures", "keep_memory", "n_class", "network_class", "options", "pictures", "readable_errors", "score"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
ENOUGH = 16 * 2**30  # bytes: what is kept leaves holes, half as much again as is in use

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


def options(*names: str) -> Callable:
    """Several of the shared options, shown by ``--help`` in this order."""

    def add(command: Callable) -> Callable:
        for name in reversed(names):
            command = OPTIONS[name](command)
        return command

    return add


@contextmanager
def readable_errors() -> Iterator[None]:
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


def keep_memory() -> None:
    """Let this process keep the memory of maps that are gone for the next ones, where a processor does the work.

    glibc gives every large block back to the system at once, and gets the next one page by page, zeroed: a third of the time
    of a network on a CPU. Elsewhere, and on a computer with little memory, nothing changes.
    """
    if not sys.platform.startswith("linux") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < ENOUGH:
        return
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def network_class(name: str, notebooks: Path) -> type:
    from segkit.models import MODELS, model_class

    if name not in MODELS and ":" not in name:
        choices = ", ".join(MODELS)
        raise click.BadParameter(f"{name!r} is none of {choices}, nor FILE.ipynb:CLASS.", param_hint="--model")
    return model_class(name, notebooks)


def n_class() -> int:
    from segkit.facades import N_CLASS

    return N_CLASS


def pictures(data: str | None, split: str, part: str, read_label: Callable) -> Any:
    from segkit.facades import FacadeDataset, find_root

    root = find_root("sample" if split == "sample" and data is None else data)
    return FacadeDataset(root, split, part, read_label=read_label)


def score(model: Any, pictures: Any, metrics: dict, quiet: bool, bootstrap: int = 1000) -> Any:
    from segkit.evaluation import evaluate

    return evaluate(model, pictures, progress=not quiet, bootstrap=bootstrap, **metrics)


def figures(model: Any, pictures: Any, result: Any, out: Path, most: int = 4) -> None:
    from segkit import plots
    from segkit.evaluation import predict

    chosen = range(min(most, len(pictures)))
    images, labels = zip(*(pictures[index] for index in chosen), strict=True)
    predictions = [predict(model, image) for image in images]
    titles = [pictures.names[index] for index in chosen]
    plots.gallery(images, labels, predictions, titles=titles).savefig(out / "gallery.png", dpi=110)
    plots.confusion(result.hist).savefig(out / "confusion.png", dpi=110)
