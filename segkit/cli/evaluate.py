"""``python -m segkit evaluate``: from a checkpoint to figures and numbers."""

import json
from pathlib import Path

import click

from segkit.cli.common import figures, n_class, network_class, options, pictures, readable_errors, score

__all__ = ["evaluate"]


@click.command()
@options("model")
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True, help="*.safetensors or *.pth")
@options("split", "out", "data")
@click.option("--part", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@options("notebooks", "quiet")
def evaluate(
    name: str, checkpoint: Path, split: str, out: Path, data: str | None, part: str, notebooks: Path, quiet: bool
) -> None:
    """Score a checkpoint on a fixed list of pictures.

    Writes metrics.json (accuracies, mean IoU with a 95 % interval, IoU by class) and the figures gallery.png and
    confusion.png.
    """
    with readable_errors():
        from segkit.checkpoints import load_checkpoint
        from segkit.models import solution_functions

        network = network_class(name, notebooks)
        functions = solution_functions(notebooks)
        dataset = pictures(data, split, part, functions.read_label)
        model = load_checkpoint(network(n_class()), checkpoint)
        metrics = {"confusion_matrix": functions.confusion_matrix, "scores": functions.scores}
        result = score(model, dataset, metrics, quiet)
        out.mkdir(parents=True, exist_ok=True)
        _write_metrics(out / "metrics.json", result.to_json())
        figures(model, dataset, result, out)
    low, high = result.mean_iou_interval
    for class_name, value in result.iou.items():
        click.echo(f"  {class_name:<12} {value:.4f}")
    click.echo(
        f"mean IoU {result.mean_iou:.4f} (95 % interval {low:.4f} to {high:.4f} over {result.images} pictures), "
        f"pixel accuracy {result.pixel_accuracy:.4f}"
    )
    click.echo(f"written to {out}: metrics.json, gallery.png, confusion.png")


def _write_metrics(path: Path, content: dict) -> None:
    from segkit.atomic import replacing

    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


