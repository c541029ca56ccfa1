"""As much training as a few minutes hold, for ``first_gpu.py``: VGG-16 on the training pictures, FCN-8s from it, the test list."""

import json
import subprocess
import sys
import time
from pathlib import Path

from first_steps import ROOT, Place

__all__ = ["epochs_that_fit", "train"]

PRETRAINING = 0.35  # share of the time
SPARE = 25.0  # seconds for the test list at the end


def epochs_that_fit(seconds: float, epoch: float, start: float, most: int) -> int:
    """How many epochs there is time for.

    Args:
        seconds: There are.
        epoch: Seconds of one.
        start: Seconds before the first.
        most: More are not wanted.
    """
    return max(1, min(most, int((seconds - start) / max(epoch, 1e-3))))


def train(place: Place) -> None:
    """Two epochs of each tell what an epoch takes; then as many as there is time for."""
    begun, out = time.monotonic(), place.work / "trained"
    time_left = place.until - begun - SPARE
    split = "sample" if place.data == "sample" else "base"
    common = ["--split", split, *([] if place.data == "sample" else ["--data", place.data]), "--quiet", "--overwrite"]
    side = ["--side", "32", "--batch-size", "4", "--patches", "1"] if place.tiny else []
    weights = _run(place, "pretrain", [*common, *side], out / "pretrained", PRETRAINING * time_left, 60)
    small = ["--set", "crop=64", "--batch-size", "2", "--masks", "0"] if place.tiny else ["--masks", "0"]
    more = ["--model", "fcn8s", "--recipe", "fast", *small]
    if weights is not None:
        more += ["--weights", str(weights)]
    _run(place, "train", [*more, *common], out / "fcn8s", place.until - SPARE - time.monotonic(), 200)
    best = out / "fcn8s" / "best.safetensors"
    if not place.tiny and best.exists():
        done = _segkit("evaluate", "--model", "fcn8s", "--checkpoint", str(best), *common[:-2], "--out", str(out / "test"))
        place.tell(test=done[-600:], minutes=(time.monotonic() - begun) / 60)
    place.expect(best.exists(), "no network was trained")


def _segkit(*arguments: str) -> str:
    """Run a command of the kit; returns what it said."""
    command = [sys.executable, "-m", "segkit", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(ended.stdout, ended.stderr, flush=True)
    return ended.stdout.strip() if ended.returncode == 0 else f"failed: {ended.stderr.strip()[-500:]}"


def _run(place: Place, command: str, options: list[str], out: Path, seconds: float, most: int) -> Path | None:
    """A trial of two epochs, then as many as fit in what is left of the seconds; the weights that it left."""
    first, trial = time.monotonic(), 1 if place.tiny else 2
    tried = _segkit(command, *options, "--epochs", f"{trial}", "--out", str(out.with_name(f"{out.name}-tried")))
    took = time.monotonic() - first
    epoch = _epoch_seconds(out.with_name(f"{out.name}-tried"), took / trial)
    count = trial if place.tiny else epochs_that_fit(seconds - took, epoch, took - trial * epoch, most)
    said = _segkit(command, *options, "--epochs", str(count), "--out", str(out))
    found = sorted(out.glob("*.pth"))
    history = out / "history.json"
    scored = json.loads(history.read_text(encoding="utf-8"))["epochs"] if history.exists() else []
    place.tell(**{command: {"seconds of the trial": took, "seconds of an epoch": epoch, "epochs": count, "tried": tried[-300:],
                            "said": said[-300:], "mean IoU of validation": [round(record["mean_iou"], 4) for record in scored],
                            "seconds": time.monotonic() - first}})  # fmt: skip
    return found[0] if found else None


def _epoch_seconds(out: Path, otherwise: float) -> float:
    """Seconds of the last epoch, as the run's own record says."""
    for name in ("history.json", "pretraining.json"):
        try:
            record = json.loads((out / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        epochs = record.get("epochs")
        if isinstance(epochs, list) and epochs and "seconds" in epochs[-1]:
            return float(epochs[-1]["seconds"])
    return otherwise
