"""``python -m segkit pretrain``: a VGG-16 trunk from the training pictures alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segkit.cli.common import options, pictures, readable_errors
from segkit.malloc import keep_memory
from segkit.pretrain_config import PretrainConfig

if TYPE_CHECKING:
    from segkit.datasets import DatasetSpec

__all__ = ["pretrain"]

DEFAULTS = PretrainConfig()


@click.command()
@options("dataset", "split", "out", "data")
@click.option("--epochs", type=click.IntRange(1), default=DEFAULTS.epochs, show_default=True)
@click.option("--patches", type=click.IntRange(1), default=DEFAULTS.patches, show_default=True, help="Patches per picture and epoch.")
@click.option("--side", type=click.IntRange(32), default=DEFAULTS.side, show_default=True, help="Side of a patch in pixels.")
@click.option(
    "--jitter", type=click.FloatRange(0, 1), default=DEFAULTS.jitter, show_default=True, help="How far colours change; 0: not at all."
)
@click.option("--batch-size", type=click.IntRange(1), default=DEFAULTS.batch_size, show_default=True, help="Patches per step.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=DEFAULTS.learning_rate, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default=DEFAULTS.precision,
    show_default=True,
    help="Number format of the convolutions; auto: 16 bits on a GPU.",
)
@click.option("--seed", type=click.IntRange(0), default=DEFAULTS.seed, show_default=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out; start if there is none.")
@click.option("--overwrite", is_flag=True, help="Start again although --out holds a run.")
@options("notebooks", "quiet")
def pretrain(
    spec: "DatasetSpec", split: str, out: Path, data: str | None, resume: bool, overwrite: bool, notebooks: Path, quiet: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Train the VGG-16 trunk on the training pictures, for machines that cannot have ImageNet's weights.

    The network learns to say which share of each cell of a random patch belongs to which class. Writes
    vgg16_facades-CHECKSUM.pth (named after the data set), in the layout of torchvision's VGG-16, and pretraining.json.
    Pictures of val and test are never read.

    \b
    Then:
      python -m segkit train --model fcn8s --recipe fast --weights OUT/vgg16_facades-CHECKSUM.pth ...
    """
    if resume and overwrite:
        raise click.UsageError("--resume goes on with a run, --overwrite starts again: give one of them.")
    keep_memory()
    with readable_errors():
        from segkit.models import solution_functions
        from segkit.training import pretraining

        config = PretrainConfig(**settings)
        train_set = pictures(spec, data, split, "train", solution_functions(notebooks, spec).read_label)
        path = pretraining.pretrain(
            train_set, n_class=spec.n_class, config=config, out=out, resume=resume, overwrite=overwrite, progress=not quiet
        )
    click.echo(f"written: {path} ({path.stat().st_size / 2**20:.0f} MiB) and {path.with_name('pretraining.json')}")
    click.echo(f"use it:  python -m segkit train --model fcn8s --recipe fast --split {split} --weights {path} --out ...")
