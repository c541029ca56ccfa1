"""What commands share: options, the class of a model's name, error messages, figures."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from segkit.datasets import DatasetSpec, PairDataset

__all__ = ["figures", "network_of", "one_of", "options", "pictures", "readable_errors"]


def one_of(choices: Iterable[str], value: str, context: click.Context, parameter: click.Parameter) -> str:
    """The value, if it is one of those; the choices depend on the data set, which is known after the command line is read."""
    return click.Choice(list(choices)).convert(value, parameter, context)


def _dataset(context: click.Context, parameter: click.Parameter, value: str | None) -> "DatasetSpec":
    from segkit.datasets import DataError, dataset

    try:
        return dataset(value)
    except DataError as error:
        raise click.BadParameter(str(error)) from error


def _split(context: click.Context, parameter: click.Parameter, value: str) -> str:
    return one_of(context.params["spec"].splits, value, context, parameter)


OPTIONS = {
    "folder": click.option(
        "--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".", show_default=True,
        help="Folder with your notebooks.",
    ),
    "model": click.option(
        "--model", "name", required=True, metavar="NAME",
        help="fcn32s, fcn16s or fcn8s, as the data set has them; or a class in a notebook: 2_fcn32s.ipynb:FCN32s",
    ),
    "dataset": click.option(
        "--dataset", "spec", metavar="NAME", callback=_dataset, is_eager=True,
        help="Data set.  [default: that of assignment.json, else facades]",
    ),
    "split": click.option(
        "--split", required=True, metavar="NAME", callback=_split, help="Which fixed lists of pictures: course, base, sample, ..."
    ),
    "out": click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for everything written."),
    "data": click.option(
        "--data", metavar="ROOT", help="Folder of the pictures.  [default: data/cmp_facade for facades; the sample needs none]"
    ),
    "notebooks": click.option(
        "--notebooks", type=click.Path(path_type=Path), default=".", metavar="FOLDER",
        help="Where your notebooks are.  [default: this folder]",
    ),
    "quiet": click.option("--quiet", is_flag=True, help="No progress bars."),
}  # fmt: skip


def options(*names: str) -> Callable[..., Any]:
    """Several of the shared options, shown by ``--help`` in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = OPTIONS[name](command)
        return command

    return add


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn errors that a person can repair into one message and a non-zero exit code."""
    from segkit.atomic import WriteError
    from segkit.checkpoints import CheckpointError
    from segkit.datasets import DataError
    from segkit.evaluation import EvaluationError
    from segkit.models import ModelError
    from segkit.training import TrainingError
    from segkit.training.memory import means_out_of_memory, reason
    from segkit.vgg import VGGError

    try:
        yield
    except (CheckpointError, DataError, EvaluationError, ModelError, TrainingError, VGGError, WriteError) as error:
        text = str(error.strerror) if isinstance(error, WriteError) else str(error)
        raise click.ClickException(text) from error
    except (RuntimeError, MemoryError) as error:
        if not means_out_of_memory(error):
            raise
        raise click.ClickException(f"Out of memory ({reason(error)}). End other programs that use it, and try again.") from error


def network_of(name: str, notebooks: Path, spec: "DatasetSpec") -> Callable[[], Any]:
    """What makes a network of the data set's assignment, or of a notebook, with new weights."""
    from segkit.models import model_class, networks

    if ":" not in name and name not in (known := networks(spec)):
        raise click.BadParameter(f"{name!r} is none of {', '.join(known)}, nor FILE.ipynb:CLASS.", param_hint="--model")
    return functools.partial(model_class(name, notebooks, spec), spec.outputs or spec.n_class)


def pictures(
    spec: "DatasetSpec", data: str | None, split: str, part: str, read_label: Callable[..., Any], names: Sequence[str] | None = None
) -> "PairDataset":
    """The pictures of a part, or those of some names."""
    from segkit.datasets import PairDataset

    root = spec.find_root("sample" if split == "sample" and data is None else data)
    return PairDataset(spec, root, split, part, read_label=read_label, names=names)


def figures(model: Any, pictures: "PairDataset", result: Any, out: Path, most: int = 4) -> None:
    from segkit import plots
    from segkit.evaluation import predict

    chosen = range(min(most, len(pictures)))
    images, labels = zip(*(pictures[index] for index in chosen), strict=True)
    predictions = [predict(model, image) for image in images]
    titles = [pictures.names[index] for index in chosen]
    plots.gallery(images, labels, predictions, titles, pictures.spec).savefig(out / "gallery.png", dpi=110)
    plots.confusion(result.hist, list(result.iou)).savefig(out / "confusion.png", dpi=110)
