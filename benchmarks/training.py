"""Training FCN-8s: ``python benchmarks/training.py --data CMP_ROOT [--small]``.

One epoch over the same facades in four ways, all in each round: the loop of the course as a student writes it (one image at
a time, float32, the prediction copied to the host and a Python metric per image), the kit's ``course`` and ``fast`` recipes,
and a loop in the manner of torchvision's segmentation reference (batches padded to the largest image, processes that load,
16 bits). wkentaro's pytorch-fcn takes part where ``torchfcn`` can be imported. Figures are held against measured limits:
the rate of large matrix products, and the FLOP that torch counts. Prints tables, writes JSON.
"""

import argparse
import contextlib
import dataclasses
import importlib
import io
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from limits import bandwidth, machine, matmul_rate, middle_ratio, paired, print_table, write_json
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from segkit.evaluation import best_device
from segkit.facades import FacadeDataset, find_root, split_names
from segkit.precision import choose_precision
from segkit.reference import FCN8s, confusion_matrix, read_label, scores
from segkit.training import RECIPES
from segkit.training.batches import Augmentation, EpochBatches
from segkit.training.descent import Descent
from segkit.training.loading import read_ahead
from segkit.training.sources import Pairs, open_pairs
from segkit.training.steps import Stepper
from segkit.transforms import RandomCrop

ROOT = Path(__file__).resolve().parents[1]


def network(divisor: int) -> nn.Module:
    """FCN-8s, or the same network with fewer channels for machines that would take hours."""
    torch.manual_seed(0)
    if divisor == 1:
        return FCN8s()
    with torch.device("meta"):
        model = FCN8s()
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv2d):
            inputs, outputs = (size if size in (3, 12) else size // divisor for size in (layer.in_channels, layer.out_channels))
            setattr(model, name, nn.Conv2d(inputs, outputs, layer.kernel_size, padding=layer.padding))
        elif isinstance(layer, nn.ConvTranspose2d):
            setattr(model, name, nn.ConvTranspose2d(12, 12, layer.kernel_size, layer.stride, bias=False))
    return model


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
        self, name: str, data: FacadeDataset, device: torch.device, divisor: int, batch_size: int | None, side: int | None
    ) -> None:
        config = RECIPES[name]
        self.config = dataclasses.replace(config, batch_size=batch_size or config.batch_size, warmup=0, crop=side)
        self.device, self.model = device, network(divisor).to(device)
        self.precision = choose_precision(device, config.precision)
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


class Reference:
    """In the manner of torchvision's references/segmentation/train.py: its collate function, optimizer, autocast, logging."""

    def __init__(self, data: FacadeDataset, device: torch.device, divisor: int, batch_size: int, workers: int) -> None:
        self.device, self.model = device, network(divisor).to(device)
        self.precision = choose_precision(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision.needs_scaling)
        self.loader = DataLoader(
            data, batch_size, shuffle=True, num_workers=workers, collate_fn=self.collate, drop_last=False,
            persistent_workers=workers > 0, pin_memory=device.type == "cuda",
        )  # fmt: skip

    @staticmethod
    def collate(items: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = (max(label.shape[side] for _, label in items) for side in (0, 1))
        images, labels = torch.zeros(len(items), 3, height, width), torch.full((len(items), height, width), 255)
        for place, (image, label) in enumerate(items):
            images[place, :, : label.shape[0], : label.shape[1]] = image
            labels[place, : label.shape[0], : label.shape[1]] = label
        return images, labels

    def epoch(self) -> None:
        self.model.train()
        logged = 0.0
        for image, target in self.loader:
            image, target = image.to(self.device), target.to(self.device)
            with self.precision.autocast():
                output = self.model(image)
                loss = F.cross_entropy(output, target, ignore_index=255)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            logged += loss.item()


def torchfcn_epoch(data: FacadeDataset, device: torch.device, divisor: int) -> Callable[[], None] | None:
    """One epoch of pytorch-fcn's trainer; None where it is not installed."""
    try:
        torchfcn = importlib.import_module("torchfcn")
    except ImportError:
        return None
    model, folder = network(divisor).to(device), tempfile.mkdtemp()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-10, momentum=0.99, weight_decay=5e-4)
    loader = DataLoader(data, batch_size=1, shuffle=True)
    loader.dataset.class_names = [str(k) for k in range(12)]
    trainer = torchfcn.Trainer(
        cuda=device.type == "cuda", model=model, optimizer=optimizer, train_loader=loader, val_loader=[], out=folder,
        max_iter=10**9, interval_validate=10**9,
    )  # fmt: skip

    def epoch() -> None:
        trainer.epoch += 1
        with contextlib.redirect_stderr(io.StringIO()):
            trainer.train_epoch()

    return epoch


# -- limits -------------------------------------------------------------------------------------------


def flop_per_image(data: FacadeDataset, divisor: int) -> float:
    """FLOP of one training step on an image, counted by torch on tensors without content, mean over the sizes."""
    total, model = 0.0, network(divisor).to("meta")
    for index in range(len(data)):
        height, width = data[index][1].shape if data.transform is not None else data.size(index)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, height, width, device="meta")).sum().backward()
        total += counter.get_total_flops()
    return total / len(data)


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

    def loss() -> torch.Tensor:
        with precision.autocast():
            logits = model(image)
        return F.cross_entropy(logits.float(), label)

    for _ in range(2):
        descent.step([loss])
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEGKIT_CMP_ROOT", "sample"), help="CMP_ROOT with base/, or: sample")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "training.json")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="of fast and of torchvision's manner  [default: the recipe's]")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes of torchvision's manner")
    parser.add_argument("--divisor", type=int, default=1, help="all channels of FCN-8s divided by this")
    parser.add_argument("--side", type=int, help="fixed windows of this side instead of whole images")
    parser.add_argument("--small", action="store_true", help="8 windows of 128, a network of a sixteenth of the channels: for a CPU")
    options = parser.parse_args()
    if options.small:
        options.images, options.rounds, options.divisor, options.side, options.workers = 8, 3, 16, 128, 0
    device = best_device()
    whole, data = _pictures(options)
    size = options.batch_size or RECIPES["fast"].batch_size
    ways: dict[str, Callable[[], object]] = {
        "plain loop of the course": Plain(data, device, options.divisor).epoch,
        "recipe course": Recipe("course", whole, device, options.divisor, None, options.side).epoch,
        "recipe fast": Recipe("fast", whole, device, options.divisor, size, options.side).epoch,
        "in torchvision's manner": Reference(data, device, options.divisor, size, options.workers).epoch,
    }
    if (other := torchfcn_epoch(data, device, options.divisor)) is not None:
        ways["pytorch-fcn's trainer"] = other
    paired(ways, 1, device)  # sets up libraries, optimizers' states and the kept images; not counted
    seconds = paired(ways, options.rounds, device)
    report(options, data, device, seconds)


def _pictures(options: argparse.Namespace) -> tuple[FacadeDataset, FacadeDataset]:
    """The facades as they are, and cut to windows if so asked (the recipes cut by themselves)."""
    names = split_names("sample" if options.data == "sample" else "base", "train")[: options.images]
    root = find_root(options.data)
    whole = FacadeDataset(root, names=names, read_label=read_label)
    if options.side is None:
        return whole, whole
    return whole, FacadeDataset(root, names=names, read_label=read_label, transform=RandomCrop((options.side, options.side)))


def report(options: argparse.Namespace, data: FacadeDataset, device: torch.device, seconds: dict[str, list[float]]) -> None:
    """Tables and JSON."""
    flop, precision = flop_per_image(data, options.divisor), choose_precision(device).name
    side = 8192 if device.type == "cuda" else 1024
    limits = {name: matmul_rate(device, getattr(torch, name), side) for name in ("float32", "bfloat16", "float16")}
    copied = bandwidth(device, 2**30 if device.type == "cuda" else 2**26)
    rates = {name: len(data) / statistics.median(values) for name, values in seconds.items()}
    plain = seconds["plain loop of the course"]
    used = {"recipe fast": precision, "in torchvision's manner": precision}
    shares = {name: rates[name] * flop / limits[used.get(name, "float32")] for name in rates}
    print_table(
        f"one epoch of {len(data)} images on {machine(device)['gpu'] or 'the CPU'}, median of {options.rounds} paired rounds",
        ("way", "images/s", "times plain", "GFLOP/s", "of the matrix rate"),
        [(n, rates[n], middle_ratio(plain, seconds[n]), rates[n] * flop / 1e9, shares[n]) for n in rates],
    )  # fmt: skip
    if "pytorch-fcn's trainer" not in rates:
        print("pytorch-fcn: no module torchfcn here, so it took no part")
    memory = peak_memory(device)
    print_table("limits", ("what", "value"), [
        ("counted GFLOP of a training step per image", flop / 1e9),
        *((f"matrix products in {name}, GFLOP/s", rate / 1e9) for name, rate in limits.items()),
        ("copying on the device, GB/s read and written", copied / 1e9),
        ("25 epochs of 500 images with recipe fast, minutes", 25 * 500 / rates["recipe fast"] / 60),
        ("memory of a step at 1024 x 768, MiB", memory if memory is not None else "needs a GPU"),
    ])  # fmt: skip
    write_json(options.out, {
        "machine": machine(device), "data": str(options.data), "images": len(data), "divisor": options.divisor, "side": options.side,
        "precision": precision, "batch_size": options.batch_size or RECIPES["fast"].batch_size, "seconds": seconds,
        "images_per_second": rates, "times_plain": {n: middle_ratio(plain, seconds[n]) for n in seconds},
        "flop_per_image": flop, "matmul_flop_per_second": limits, "share_of_matmul": shares, "copy_bytes_per_second": copied,
        "step_peak_mib": memory,
    })  # fmt: skip


if __name__ == "__main__":
    main()
