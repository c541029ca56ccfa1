"""Fit FCN-8s on real facades without ImageNet weights, hand it in, and grade it: ``python benchmarks/real_facades.py --data CMP_ROOT``.

The trunk keeps its random He weights; the score and upsampling layers are trained on windows of the training facades of split
``base``. The submission is graded as any other, on the 48 test facades. Prints a table and writes JSON.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import torch

from autograder.batch import grade_many
from autograder.judge.run import Settings
from segkit.checkpoints import save_checkpoint
from segkit.facades import FacadeDataset
from segkit.reference import FCN8s, read_label
from segkit.training import compute_features, fit_head
from segkit.transforms import RandomCrop

ROOT = Path(__file__).resolve().parents[1]


def windows(data: Path, count: int, side: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One random window of each of ``count`` training facades, evenly spread over the split."""
    generator = torch.Generator().manual_seed(0)
    facades = FacadeDataset(data, "base", "train", read_label=read_label, transform=RandomCrop((side, side), generator=generator))
    step = max(1, len(facades) // count)
    return [facades[index] for index in range(0, len(facades), step)][:count]


def fit(data: Path, count: int, side: int, epochs: int) -> tuple[FCN8s, dict[str, float]]:
    """Train the layers behind a frozen random trunk."""
    torch.manual_seed(0)
    model, started = FCN8s(), time.monotonic()
    pictures = compute_features(model, windows(data, count, side))
    featured = time.monotonic()
    fit_head(model, pictures, epochs=epochs, rate=2e-3)
    return model, {"features_seconds": featured - started, "fitting_seconds": time.monotonic() - featured}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CMP_ROOT with base/")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "real")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--side", type=int, default=320, help="side of the training windows, pixels")
    parser.add_argument("--epochs", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(2)
    submission = options.out / "submission"
    shutil.rmtree(submission, ignore_errors=True)
    (submission / "checkpoints").mkdir(parents=True)
    for notebook in (ROOT / "notebooks" / "fcn").glob("*.ipynb"):
        shutil.copy(notebook, submission)
    model, seconds = fit(options.data, options.pictures, options.side, options.epochs)
    save_checkpoint(submission / "checkpoints" / "fcn8s.safetensors", model, dtype=torch.float16)
    del model
    started = time.monotonic()
    settings = Settings("fcn", options.out / "graded", str(options.data), secret="real facades", only=("fcn8s.miou",))
    (result,) = grade_many([submission], settings)
    seconds["grading_seconds"] = time.monotonic() - started
    check = result["checks"][0]
    table = {"pictures": options.pictures, "side": options.side, "epochs": options.epochs, **seconds,
             "data": result["data"], "points": check["points"], "measured": check["measured"]}  # fmt: skip
    (options.out / "real_facades.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    for name, value in table.items():
        print(f"{name:18} {value if not isinstance(value, float) else round(value, 1)}")
    print(check["message"])


if __name__ == "__main__":
    main()
