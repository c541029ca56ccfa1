"""Training FCN-8s: ``python benchmarks/training.py --data CMP_ROOT [--small]``.

One epoch over the same facades in several ways, all in each round: the loop of the course as a student writes it (one image at
a time, float32, the prediction copied to the host and a Python metric per image), the kit's ``course`` and ``fast`` recipes,
and torchvision's segmentation reference (batches padded to the largest image, processes that load, 16 bits): its own
``train_one_epoch`` where ``--torchvision-references`` names a checkout's folder, else an imitation, written here, of which the
table says so. wkentaro's pytorch-fcn takes part by its own trainer where ``torchfcn`` can be imported (``--pytorch-fcn`` names a
checkout). A peer must get through the uncounted first epoch; the table says why if not. Figures are held against measured
limits: the rate of large matrix products (of float32 as convolutions compute it), and the FLOP that torch counts.

``--whole`` trains once from start to end instead, as ``python -m segkit train`` does, validation and saved files included (but
for its figures and masks): 25 epochs of up to 500 images with ``--recipe``. ``--memory-cap 15 --precision float16`` holds a
larger GPU to the memory and the number format of a T4; not to its speed. Several formats train one after the other, and the
difference of their mean IoU is told.

``--budget 8 --precision float16 bfloat16 --memory-cap 15`` trains both networks of the gates in each format: FCN-32s, then FCN-8s
that begins with it, as many whole epochs as the FLOP allow, about half of them each. Counted are the training steps, batches
padded as they are; what validation takes is told beside it. Prints tables, writes JSON.
"""

import argparse
import dataclasses
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from limits import float32_of_convolutions, limit_rows, machine, machine_limits, middle_ratio, paired, print_table, write_json
from networks import flop_per_image, network
from peers import IMITATED, TORCHFCN, TORCHVISION, Reference, torchfcn_epoch, torchvision_epoch, willing
from torch import nn
from torch.utils.data import DataLoader
from whole_training import whole_runs

from segkit.checkpoints import CheckpointError
from segkit.evaluation import best_device
from segkit.facades import DataError, FacadeDataset, find_root, split_names
from segkit.models import networks
from segkit.precision import PRECISIONS, choose_precision
from segkit.reference import confusion_matrix, read_label, scores
from segkit.training import RECIPES, TrainingError
from segkit.training.batches import Augmentation, EpochBatches
from segkit.training.descent import Descent
from segkit.training.loading import read_ahead
from segkit.training.loop import learn
from segkit.training.sources import Pairs, open_pairs
from segkit.training.steps import Stepper
from segkit.transforms import RandomCrop
from segkit.vgg import VGGError

ROOT = Path(__file__).resolve().parents[1]
SMALL_BUDGET = 1e-5  # share of --budget that suits --small: two or three epochs of each network


# -- the ways -----------------------------------------------------------------------------------------


class Plain:
    """The loop of the course, as a student writes it."""

    def __init__(self, data: FacadeDataset, device: torch.device, divisor: int) -> None:
        self.data, self.device, self.model = data, device, network(divisor).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, weight_decay=2e-5)

    def epoch(self) -> None:
        criterion, hist, total = nn.CrossEntropyLoss(ignore_index=255), 0, 0.0
        for image, label in DataLoader(self.data, batch_size=1, shuffle=True):
            image, label = image.to(self.device), label.to(self.device)
            self.optimizer.zero_grad()
            output = self.model(image)
            loss = criterion(output, label)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
            hist = hist + confusion_matrix(output.argmax(1).cpu().numpy(), label.cpu().numpy(), 12)
        scores(hist)


class Recipe:
    """The kit's engine, without its validation and files."""

    def __init__(
        self, name: str, data: FacadeDataset, device: torch.device, divisor: int, batch_size: int | None, side: int | None,
        precision: str = "auto",
    ) -> None:  # fmt: skip
        config = RECIPES[name]
        self.config = dataclasses.replace(config, batch_size=batch_size or config.batch_size, warmup=0, crop=side)
        self.device, self.model = device, network(divisor).to(device)
        self.precision = choose_precision(device, precision if config.precision == "auto" else config.precision)
        if self.precision.half:
            self.model.to(memory_format=torch.channels_last)
        self.pairs: Pairs = open_pairs(data, config.cache)
        steps = config.epochs * len(data)
        descent = Descent(self.model, self.config, self.precision, steps)
        self.stepper = Stepper(self.model, descent, self.pairs, 12, device, print)
        self.number = 0

    def epoch(self) -> None:
        config = self.config
        self.number += 1
        self.model.train()
        batches = EpochBatches(
            self.pairs, seed=0, epoch=self.number, batch_size=config.batch_size, augmentation=Augmentation.of(config),
            pad_to=config.pad_to, n_class=12, pin=self.device.type == "cuda" and self.pairs.parallel,
        )  # fmt: skip
        for number, batch in enumerate(read_ahead(batches, 0, config.workers if self.pairs.parallel else 0)):
            self.stepper.step(batch, number)
            if number % config.read_every == 0:
                self.stepper.read()
        self.stepper.read()


def peak_memory(device: torch.device) -> float | None:
    """MiB at most during one training step of FCN-8s at 1024 x 768, batch 1, 16 bits; a GPU only."""
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    model, precision = network(1).to(device, memory_format=torch.channels_last), choose_precision(device)
    descent = Descent(model, RECIPES["fast"], precision, 10)
    image, label = torch.randn(1, 3, 1024, 768, device=device), torch.zeros(1, 1024, 768, dtype=torch.long, device=device)
    for _ in range(2):
        learn(model, descent, [(image, label)], F.cross_entropy)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEGKIT_CMP_ROOT", "sample"), help="CMP_ROOT with base/, or: sample")
    parser.add_argument("--out", type=Path, help="[default: build/benchmarks/training.json, with --whole whole_training.json]")
    parser.add_argument("--images", type=int, help="[default: 100, with --whole 500; as many as there are]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="of fast, of torchvision's manner, and of --whole  [default: the recipe's]")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes of torchvision's manner")
    parser.add_argument("--divisor", type=int, default=1, help="all channels of the networks divided by this")
    parser.add_argument("--side", type=int, help="fixed windows of this side instead of whole images")
    parser.add_argument(
        "--small",
        action="store_true",
        help=f"8 windows of 128, networks of a sixteenth of the channels, 2 epochs of --whole, {SMALL_BUDGET:g} of --budget: for a CPU",
    )
    parser.add_argument("--whole", action="store_true", help="train once from start to end instead, with validation")
    parser.add_argument("--budget", type=float, metavar="PFLOP", help="train FCN-32s and then FCN-8s from it instead, within this")
    parser.add_argument("--recipe", choices=list(RECIPES), default="fast", help="of --whole and --budget")
    parser.add_argument("--model", choices=list(networks()), default="fcn8s", help="of --whole")
    parser.add_argument("--epochs", type=int, default=25, help="of --whole")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="VGG-16 that --whole, or --budget's FCN-32s, begins with")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="another FCN's checkpoint that --whole begins with")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=["auto"],
        help="of what may compute in 16 bits; several with --whole or --budget",
    )
    parser.add_argument("--memory-cap", type=float, metavar="GIB", help="of the GPU's memory, for this process")
    parser.add_argument("--pytorch-fcn", type=Path, metavar="DIR", help="a checkout of wkentaro/pytorch-fcn")
    parser.add_argument("--torchvision-references", type=Path, metavar="DIR", help="references/segmentation of pytorch/vision")
    options = parser.parse_args()
    options.whole = options.whole or options.budget is not None
    if options.small:
        options.images, options.rounds, options.divisor, options.side, options.workers, options.epochs = 8, 3, 16, 128, 0, 2
        options.budget = options.budget and options.budget * SMALL_BUDGET
    options.images = options.images or (500 if options.whole else 100)
    kind = "training" if not options.whole else "whole_training" if options.budget is None else "budget_training"
    options.out = options.out or ROOT / "build" / "benchmarks" / f"{kind}.json"
    device = best_device()
    demand_sense(parser, options, device)
    if options.memory_cap is not None:
        cap_memory(options.memory_cap, device)
    if not options.whole:
        compare(options, device)
        return
    try:
        whole_runs(options, device)
    except (CheckpointError, DataError, TrainingError, VGGError) as error:
        raise SystemExit(str(error)) from error


def demand_sense(parser: argparse.ArgumentParser, options: argparse.Namespace, device: torch.device) -> None:
    """End with a word of advice where options contradict each other or this machine."""
    try:
        formats = [choose_precision(device, precision).name for precision in options.precision]
    except ValueError as error:
        parser.error(f"argument --precision: {error}")
    if len(set(formats)) < len(formats) or (len(formats) > 1 and not options.whole):
        parser.error("argument --precision: several different ones go with --whole or --budget, and one with the ways")
    if options.start_from and (options.weights or options.budget is not None):
        parser.error("argument --start-from: begins with a trained network, so leave --weights and --budget out")
    if options.weights and options.divisor > 1:
        parser.error("argument --weights: fits all channels only, so leave --small and --divisor out")
    if options.memory_cap is not None and device.type != "cuda":
        parser.error("argument --memory-cap: there is no CUDA GPU here whose memory could be capped")


def cap_memory(gib: float, device: torch.device) -> None:
    """Hold this process to so much of the GPU's memory."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / total))  # of the current GPU; "cuda" without a number is refused


def compare(options: argparse.Namespace, device: torch.device) -> None:
    """All ways in each round, and their table."""
    whole, data = _pictures(options)
    size, divisor, precision = options.batch_size or RECIPES["fast"].batch_size, options.divisor, options.precision[0]
    half = choose_precision(device, precision).half
    ways: dict[str, Callable[[], object]] = {
        "plain loop of the course": Plain(data, device, divisor).epoch,
        "recipe course": Recipe("course", whole, device, divisor, None, options.side).epoch,
        "recipe fast": Recipe("fast", whole, device, divisor, size, options.side, precision).epoch,
    }
    peers = {TORCHFCN: lambda: torchfcn_epoch(data, device, divisor, options.pytorch_fcn)}
    if (folder := options.torchvision_references) is not None:
        peers[TORCHVISION] = lambda: torchvision_epoch(folder, data, device, divisor, size, options.workers, half)
    able, left_out = willing(peers)  # not counted
    if TORCHVISION not in able:
        ways[IMITATED] = Reference(data, device, divisor, size, options.workers, precision).epoch
    paired(ways, 1, device)  # sets up libraries, optimizers' states and the kept images; not counted either
    seconds = paired(ways | able, options.rounds, device)
    report(options, data, device, seconds, left_out)


def _pictures(options: argparse.Namespace) -> tuple[FacadeDataset, FacadeDataset]:
    """The facades as they are, and cut to windows if so asked (the recipes cut by themselves)."""
    names = split_names("sample" if options.data == "sample" else "base", "train")[: options.images]
    root = find_root(options.data)
    whole = FacadeDataset(root, names=names, read_label=read_label)
    if options.side is None:
        return whole, whole
    return whole, FacadeDataset(root, names=names, read_label=read_label, transform=RandomCrop((options.side, options.side)))


def report(
    options: argparse.Namespace, data: FacadeDataset, device: torch.device, seconds: dict[str, list[float]], left_out: dict[str, str]
) -> None:
    """Tables and JSON."""
    flop, precision = flop_per_image(data, options.divisor), choose_precision(device, options.precision[0]).name
    limits, copied = machine_limits(device, ("float32", "bfloat16", "float16"))
    rates = {name: len(data) / statistics.median(values) for name, values in seconds.items()}
    plain = seconds["plain loop of the course"]
    float16 = "float16" if device.type == "cuda" and precision != "float32" else "float32"
    used = {"recipe fast": precision, IMITATED: precision, TORCHVISION: float16}
    shares = {name: rates[name] * flop / limits[used.get(name, "float32")] for name in rates}
    print_table(
        f"one epoch of {len(data)} images on {machine(device)['gpu'] or 'the CPU'}, median of {options.rounds} paired rounds",
        ("way", "images/s", "times plain", "GFLOP/s", "of the matrix rate"),
        [*((n, rates[n], middle_ratio(plain, seconds[n]), rates[n] * flop / 1e9, shares[n]) for n in rates),
         *((name, "left out", "", "", reason) for name, reason in left_out.items())],
    )  # fmt: skip
    memory = peak_memory(device)
    print_table("limits", ("what", "value"), [
        ("counted GFLOP of a training step per image", flop / 1e9),
        *limit_rows(device, limits, copied),
        ("25 epochs of 500 images with recipe fast, minutes", 25 * 500 / rates["recipe fast"] / 60),
        ("memory of a step at 1024 x 768, MiB", memory if memory is not None else "needs a GPU"),
    ])  # fmt: skip
    write_json(options.out, {
        "machine": machine(device), "data": str(options.data), "images": len(data), "divisor": options.divisor, "side": options.side,
        "precision": precision, "batch_size": options.batch_size or RECIPES["fast"].batch_size, "seconds": seconds,
        "images_per_second": rates, "times_plain": {n: middle_ratio(plain, seconds[n]) for n in seconds},
        "flop_per_image": flop, "matmul_flop_per_second": limits, "float32_computed_in": float32_of_convolutions(device),
        "share_of_matmul": shares, "copy_bytes_per_second": copied,
        "step_peak_mib": memory, "left_out": left_out,
    })  # fmt: skip


if __name__ == "__main__":
    main()
