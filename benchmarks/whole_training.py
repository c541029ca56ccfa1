"""Whole trainings for ``training.py``: ``--whole`` and ``--budget``."""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from limits import machine, print_table, wait, write_json
from networks import image_flop, network

from segkit.facades import FacadeDataset, find_root, split_names
from segkit.models import copy_vgg16
from segkit.precision import choose_precision
from segkit.reference import confusion_matrix, read_label, scores
from segkit.training import RECIPES, TrainConfig, TrainingError, fit
from segkit.training.batches import Augmentation, EpochBatches
from segkit.training.memory import MemoryPlan
from segkit.training.staging import start_from
from segkit.vgg import load_vgg16

__all__ = ["differences", "epoch_flop", "epochs_within", "planned_epochs", "whole_run", "whole_runs"]


def epoch_flop(name: str, divisor: int, sizes: list[tuple[int, int]], config: TrainConfig) -> Callable[[int], int]:
    """What tells the FLOP of the training steps of an epoch, by its number: of its batches as they are padded."""
    count, augmentation = image_flop(name, divisor), Augmentation.of(config)
    pairs = SimpleNamespace(names=[str(k) for k in range(len(sizes))], sizes=sizes)

    def of(epoch: int) -> int:
        plan = EpochBatches(pairs, seed=config.seed, epoch=epoch, batch_size=config.batch_size, augmentation=augmentation).plan
        padded = ((len(batch), [max(side) for side in zip(*(augmentation.size(sizes[k]) for k in batch), strict=True)]) for batch in plan)
        return sum(images * count(tuple(-(-side // config.pad_to) * config.pad_to for side in size)) for images, size in padded)

    return of


def epochs_within(budget: float, flop: Callable[[int], int]) -> tuple[int, int]:
    """How many epochs stay within so many FLOP, and what they take."""
    epochs = total = 0
    while total + (more := flop(epochs + 1)) <= budget:
        epochs, total = epochs + 1, total + more
    return epochs, total


def whole_runs(options: argparse.Namespace, device: torch.device) -> None:
    """Train each network in each format from start to end; table and JSON."""
    root = find_root(options.data)
    split = "sample" if options.data == "sample" else "course" if (root / "extended").is_dir() else "base"
    names = [split_names(split, "train")[: options.images], split_names(split, "val")]
    sets = [FacadeDataset(root, names=part, read_label=read_label) for part in names]
    runs = []
    for precision in options.precision:
        config = _config(options, precision)
        with tempfile.TemporaryDirectory() as out:
            for name, epochs in planned_epochs(options, sets[0], config):
                start = Path(out) / "fcn32s" / "best.safetensors" if options.budget is not None and name == "fcn8s" else options.start_from
                weights = None if start else options.weights
                print(f"\n{name} in {choose_precision(device, config.precision).name}: {epochs} epochs of {len(sets[0])} images")
                run_config = dataclasses.replace(config, epochs=epochs)
                runs.append(whole_run(name, options.divisor, sets, run_config, Path(out) / name, device, weights, start))
    report_whole(options, device, [len(part) for part in sets], runs)


def _config(options: argparse.Namespace, precision: str) -> TrainConfig:
    config = RECIPES[options.recipe]
    return dataclasses.replace(
        config, batch_size=options.batch_size or config.batch_size, crop=options.side or config.crop,
        precision=precision if precision != "auto" else config.precision,
    )  # fmt: skip


def planned_epochs(options: argparse.Namespace, train_set: FacadeDataset, config: TrainConfig) -> list[tuple[str, int]]:
    """Which networks are trained, and how many epochs each."""
    if options.budget is None:
        return [(options.model, options.epochs)]
    sizes, left, plan = [train_set.size(k) for k in range(len(train_set))], options.budget * 1e15, []
    for name, share in (("fcn32s", 2), ("fcn8s", 1)):
        epochs, taken = epochs_within(left / share, epoch_flop(name, options.divisor, sizes, config))
        if epochs == 0:
            raise TrainingError(f"--budget {options.budget:g}: not even one epoch of {name} over {len(sizes)} images. Give fewer --images.")
        plan.append((name, epochs))
        left -= taken
    return plan


def whole_run(
    name: str, divisor: int, sets: list[FacadeDataset], config: TrainConfig, out: Path, device: torch.device,
    weights: Path | None = None, start: Path | None = None,
) -> dict:  # fmt: skip
    """Train one network as the command line does, with validation and saved files; what was measured."""
    train_set, val_set = sets
    flop = epoch_flop(name, divisor, [train_set.size(k) for k in range(len(train_set))], config)
    validation = image_flop(name, divisor, training=False)
    model = network(divisor, name)
    if start is not None:
        start_from(model, start)
    elif weights is not None:
        copy_vgg16(model, load_vgg16(weights))
    MemoryPlan.free()  # what the network before it left behind
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begun = time.perf_counter()
    history = fit(model, train_set, val_set, config=config, out=out, confusion_matrix=confusion_matrix, scores=scores, device=device)
    wait(device)
    seconds = time.perf_counter() - begun
    return {
        "model": name, "precision": choose_precision(device, config.precision).name, "config": dataclasses.asdict(config),
        "begun_with": "/".join(start.parts[-2:]) if start else weights.name if weights else "nothing", "seconds": seconds,
        "epoch_seconds": [record.seconds for record in history.epochs if record.epoch > 0],
        "flop": sum(flop(epoch) for epoch in range(1, config.epochs + 1)),
        "validation_flop": (config.epochs + 1) * sum(validation(val_set.size(k)) for k in range(len(val_set))),
        "peak_gib": torch.cuda.max_memory_reserved(device) / 2**30 if device.type == "cuda" else None,
        "best_epoch": history.best.epoch, "best_mean_iou": history.best.mean_iou,
        "mean_iou": [record.mean_iou for record in history.epochs],
    }  # fmt: skip


def differences(runs: list[dict]) -> list[dict]:
    """By how much the mean IoU of a network in the first format exceeds that in each other."""
    first = {run["model"]: run for run in reversed(runs)}
    return [
        {"model": run["model"], "formats": [first[run["model"]]["precision"], run["precision"]],
         "mean_iou": first[run["model"]]["best_mean_iou"] - run["best_mean_iou"]}
        for run in runs if run is not first[run["model"]]
    ]  # fmt: skip


def report_whole(options: argparse.Namespace, device: torch.device, images: list[int], runs: list[dict]) -> None:
    """Table and JSON of whole runs."""
    rates = [images[0] * len(run["epoch_seconds"]) / sum(run["epoch_seconds"]) for run in runs]
    print_table(
        f"from start to end on {machine(device)['gpu'] or 'the CPU'}: recipe {options.recipe}, {images[0]} images, {images[1]} to validate",
        ("what", *(f"{run['model']}, {run['precision']}" for run in runs)), [
            ("begun with", *(run["begun_with"] for run in runs)),
            ("epochs", *(run["config"]["epochs"] for run in runs)),
            ("minutes, all", *(run["seconds"] / 60 for run in runs)),
            ("seconds of an epoch with validation, median", *(statistics.median(run["epoch_seconds"]) for run in runs)),
            ("training images/s, validation included", *rates),
            ("PFLOP of the training steps", *(run["flop"] / 1e15 for run in runs)),
            ("PFLOP of validating", *(run["validation_flop"] / 1e15 for run in runs)),
            ("GPU memory held at most, GiB", *(run["peak_gib"] or "needs a GPU" for run in runs)),
            ("best epoch", *(run["best_epoch"] for run in runs)),
            ("its mean IoU on the validation images", *(f"{run['best_mean_iou']:.4f}" for run in runs)),
        ],
    )  # fmt: skip
    print(f"\ncap of GPU memory: {options.memory_cap or 'none'}{' GiB' if options.memory_cap else ''}")
    if options.budget is not None:
        for precision in dict.fromkeys(run["precision"] for run in runs):
            both = [run for run in runs if run["precision"] == precision]
            steps, minutes = sum(run["flop"] for run in both), sum(run["seconds"] for run in both) / 60
            print(f"both networks in {precision}: {steps / 1e15:.3g} PFLOP of the {options.budget:g} given, {minutes:.2f} minutes")
    apart = differences(runs)
    for found in apart:
        print(f"{found['model']}: mean IoU in {' less that in '.join(found['formats'])}: {found['mean_iou']:+.4f}")
    write_json(options.out, {
        "machine": machine(device), "data": str(options.data), "train_images": images[0], "val_images": images[1],
        "divisor": options.divisor, "memory_cap_gib": options.memory_cap, "budget_pflop": options.budget, "runs": runs,
        "differences": apart,
    })  # fmt: skip
