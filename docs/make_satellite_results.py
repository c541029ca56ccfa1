"""The satellite part of the results page: ``python docs/make_satellite_results.py``, a few minutes of one core.

Trains three networks of an eighth of the channels on the drawn sample by a command each, scores them on its test pictures, and puts
what the commands left behind at the end of ``docs/results.md``. What is there already is not made again: a stopped run goes on.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import torch
from make_pictures import shrink
from make_results import PAGE, PICTURES, SATELLITE, TITLES, Runner, device_name

from segkit import plots
from segkit.datasets.satellite import PUBLISHED, SPEC

OUT = Path("build/results-satellite")
WHERE = ("--dataset", "satellite", "--split", "sample")
RECIPE = ("--epochs", "20", "--set", "schedule=poly", "--set", "warmup=20", "--set", "flip=true", "--set", "learning_rate=1e-3")
PICTURE = "results-satellite.png"


def make(runner: Runner) -> dict[str, Path]:
    """Title of a network -> folder of its run."""
    for name, title in TITLES.items():
        model, folder = f"docs/light_networks.py:{title.replace('-', '')}", OUT / name
        runner(folder / "gallery.png", "train", "--model", model, *WHERE, *RECIPE, "--out", folder, "--resume", "--quiet")
        runner(folder / "test" / "metrics.json", "evaluate", "--model", model, "--checkpoint", folder / "best.safetensors", *WHERE,
               "--out", folder / "test", "--quiet")  # fmt: skip
    return {title: OUT / name for name, title in TITLES.items()}


def classes_table(runs: dict[str, Path]) -> list[str]:
    """IoU of each class on the test pictures."""
    metrics = {title: json.loads((folder / "test" / "metrics.json").read_text(encoding="utf-8")) for title, folder in runs.items()}
    rows = [f"| {name} | " + " | ".join(f"{one['iou'][name]:.3f}" for one in metrics.values()) + " |" for name in SPEC.classes]
    mean = "| **mean** | " + " | ".join(f"{one['mean_iou']:.3f}" for one in metrics.values()) + " |"
    return [f"| class | {' | '.join(runs)} |", f"| --- |{' --- |' * len(runs)}", *rows, mean]


def section(runs: dict[str, Path], runner: Runner) -> str:
    """The text of the satellite part."""
    lines = [
        SATELLITE, "",
        f"Made by `docs/make_satellite_results.py` on {datetime.now(UTC).date()}, {device_name()}, torch {torch.__version__}. The "
        "sample is drawn: 22 pictures of 256 x 256 to train, 4 to choose the epoch, 6 to test. The networks are those of quick mode: "
        "an eighth of the channels, fresh weights in all layers, 20 epochs each. The published ones are whole, begin with ImageNet's "
        "weights, and learned from 1900 real pictures. So the numbers say who is ahead and from when on, and nothing of real land.", "",
        "## Mean IoU on the validation pictures", "", plots.score_table(runs, published=PUBLISHED), "",
        f"![Mean IoU over the epochs, three networks, published ones in grey]({PICTURES.name}/{PICTURE})", "",
        "## IoU by class on the test pictures", "", *classes_table(runs), "",
        "## The commands of the satellite part", "", "```", *runner.commands, "```",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / "seconds.json"
    runner = Runner(OUT, json.loads(log.read_text(encoding="utf-8")) if log.is_file() else {})
    runs = make(runner)
    plots.compare_runs(runs, PUBLISHED).savefig(PICTURES / PICTURE, dpi=110)
    shrink(PICTURES / PICTURE, 800)
    before = PAGE.read_text(encoding="utf-8").partition(SATELLITE)[0].rstrip()
    PAGE.write_text(f"{before}\n\n{section(runs, runner)}", encoding="utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
