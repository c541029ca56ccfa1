"""``python -m segkit evaluate``: from a checkpoint to numbers and figures."""

import csv
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from segkit.cli.common import figures, network_of, options, pictures, readable_errors
from segkit.malloc import keep_memory

if TYPE_CHECKING:
    from segkit.datasets import DatasetSpec
    from segkit.evaluation import Evaluation

__all__ = ["evaluate"]

SCORES = {
    "mean_iou": "mean IoU (macro)", "micro_iou": "IoU over all pixels (micro)",
    "frequency_weighted_iou": "frequency-weighted IoU", "pixel_accuracy": "pixel accuracy", "mean_accuracy": "mean accuracy",
}  # fmt: skip


@click.command()
@options("model")
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True, help="*.safetensors or *.pth")
@options("dataset", "split", "out", "data")
@click.option("--part", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Number format of the convolutions; 16 bits are faster on a GPU, and change pixels whose classes nearly tie.",
)
@click.option("--bootstrap", type=click.IntRange(0), default=1000, show_default=True, help="Draws for the intervals; 0 for none.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option("--worst", type=click.IntRange(0), default=4, show_default=True, help="How many failure cases to draw.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json in place of the table.")
@options("notebooks", "quiet")
def evaluate(
    name: str, checkpoint: Path, spec: "DatasetSpec", split: str, out: Path, data: str | None, part: str, device: str, precision: str,
    bootstrap: int, seed: int, worst: int, as_json: bool, notebooks: Path, quiet: bool,
) -> None:  # fmt: skip
    """Score a checkpoint on a fixed list of pictures.

    Writes metrics.json (accuracies, IoU by class, mean IoU, each with a 95 % interval over pictures), images.csv (the
    scores of each picture, worst first), and the figures gallery.png, confusion.png and failures.png.
    """
    keep_memory()
    with readable_errors():
        from segkit.checkpoints import load_checkpoint
        from segkit.evaluation import best_device
        from segkit.evaluation import evaluate as scores_of
        from segkit.models import solution_functions

        network, functions = network_of(name, notebooks, spec), solution_functions(notebooks, spec)
        dataset = pictures(spec, data, split, part, functions.read_label)
        model = load_checkpoint(network(), checkpoint).to(best_device() if device == "auto" else _there(device))
        where, started = next(model.parameters()).device, time.monotonic()
        try:
            result = scores_of(
                model, dataset, confusion_matrix=functions.confusion_matrix, scores=functions.scores, device=where,
                progress=not (quiet or as_json), bootstrap=bootstrap, seed=seed, precision=precision, ties=where.type != "cpu",
            )  # fmt: skip
        except ValueError as error:  # a format that the device lacks
            raise click.ClickException(str(error)) from error
        seconds = time.monotonic() - started
        out.mkdir(parents=True, exist_ok=True)
        content = result.to_json() | {"device": str(where), "precision": precision, "seconds": round(seconds, 2)}
        _write_metrics(out / "metrics.json", content)
        ranked = _ranked(result, dataset.names, functions.scores)
        _write_images(out / "images.csv", ranked)
        figures(model, dataset, result, out)
        _draw_failures(model, dataset, result, ranked[:worst], out / "failures.png")
    click.echo(json.dumps(content, indent=1, allow_nan=False) if as_json else _table(result, spec.n_class))
    if not as_json:
        ties = f"; {result.ties} pixels tie within rounding" if result.ties is not None else ""
        click.echo(f"{result.images} pictures in {seconds:.1f} s on {where}, {precision}{ties}")
        click.echo(f"written to {out}: metrics.json, images.csv, gallery.png, confusion.png{', failures.png' if worst else ''}")


def _there(device: str) -> str:
    """The device, if this computer has it."""
    import torch

    there: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device in there and not there[device]():
        raise click.BadParameter(f"there is no {device} device here. Leave the option out to take what there is.", param_hint="--device")
    return device


def _write_metrics(path: Path, content: dict[str, Any]) -> None:
    from segkit.atomic import replacing

    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _table(result: "Evaluation", n_class: int) -> str:
    """Classes first, then the scores over all of them; intervals where they were asked for. An output that is no class has no IoU."""
    counts = 100 * result.hist / max(result.hist.sum(), 1)
    rows = list(zip(result.iou.items(), counts.sum(1), counts.sum(0), strict=True))
    lines = [f"{'class':<28}{'IoU':>8}   {'95 % interval':<18}{'of the pixels':>13}"]
    for (name, value), share, _ in rows[:n_class]:
        lines.append(f"{name:<28}{_number(value)}   {_interval(result.iou_intervals.get(name)):<18}{share:>11.1f} %")
    lines += [f"{f'answered: {name}':<57}{share:>11.1f} %" for (name, _), _, share in rows[n_class:]]
    lines.append("")
    for name, title in SCORES.items():
        lines.append(f"{title:<28}{_number(getattr(result, name))}   {_interval(result.intervals.get(name))}".rstrip())
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{'absent' if math.isnan(value) else f'{value:.4f}':>8}"


def _interval(both: tuple[float, float] | None) -> str:
    return "" if both is None or math.isnan(both[0]) else f"{both[0]:.4f} .. {both[1]:.4f}"


class _Ranked(NamedTuple):
    """The scores of one picture."""

    number: int
    name: str
    pixel_accuracy: float
    mean_iou: float


def _ranked(result: "Evaluation", names: Any, scores: Callable[..., Any]) -> list[_Ranked]:
    """The pictures, worst first by the mean IoU of the classes that occur in them; unlabelled ones last."""
    from segkit.evaluation import image_scores

    found = zip(names, image_scores(result, scores), strict=True)
    rows = [_Ranked(number, name, accuracy, mean_iou) for number, (name, (accuracy, mean_iou)) in enumerate(found)]
    return sorted(rows, key=lambda row: (math.isnan(row.mean_iou), row.mean_iou))


def _write_images(path: Path, ranked: list[_Ranked]) -> None:
    from segkit.atomic import replacing

    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "mean_iou", "pixel_accuracy"])
        for row in ranked:
            writer.writerow([row.name, *("" if math.isnan(v) else f"{v:.6f}" for v in (row.mean_iou, row.pixel_accuracy))])


def _draw_failures(model: Any, dataset: Any, result: "Evaluation", worst: list[_Ranked], path: Path) -> None:
    """The worst pictures, each with what was mixed up most."""
    from segkit import plots
    from segkit.evaluation import predict

    if not worst:
        return
    assert result.by_image is not None, "evaluate counts by image"
    images, labels = zip(*(dataset[row.number] for row in worst), strict=True)
    predictions = [predict(model, image) for image in images]
    titles = [_title(row, result.by_image[row.number], list(result.iou)) for row in worst]
    plots.gallery(images, labels, predictions, titles, dataset.spec).savefig(path, dpi=110)


def _title(row: _Ranked, hist: Any, classes: list[str]) -> str:
    text = f"{row.name}: mean IoU {row.mean_iou:.2f}, {100 * row.pixel_accuracy:.0f} % of the pixels right"
    wrong = hist.copy()
    wrong[range(len(hist)), range(len(hist))] = 0
    if wrong.max() == 0:
        return text
    truth, guess = divmod(int(wrong.argmax()), len(hist))
    return f"{text}; most of all {classes[truth]} taken for {classes[guess]} ({100 * wrong.max() / hist.sum():.0f} %)"
