"""Training FCN-8s: ``python benchmarks/training.py --data CMP_ROOT [--small]``.

One epoch over the same facades in four ways, all in each round: the loop of the course as a student writes it (one image at
a time, float32, the prediction copied to the host and a Python metric per image), the kit's ``course`` and ``fast`` recipes,
and a loop in the manner of torchvision's segmentation reference (batches padded to the largest image, processes that load,
16 bits). That last is an imitation, written here: no line of torchvision's scripts runs. wkentaro's pytorch-fcn takes part by
its own trainer where ``torchfcn`` can be imported and gets through the uncounted first epoch; the table says why if not.
Figures are held against measured limits: the rate of large matrix products, and the FLOP that torch counts.

``--whole`` trains once from start to end instead, as ``python -m segkit train`` does, validation and saved files included (but
for its figures and masks): 25 epochs of up to 500 images with ``--recipe``. ``--memory-cap 15 --precision float16`` holds a
larger GPU to the memory and the number format of a T4; not to its speed. Prints tables, writes JSON.
"""

import argparse
import contextlib
import dataclasses
import importlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from limits import bandwidth, machine, matmul_rate, middle_ratio, paired, print_table, wait, write_json
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from segkit.evaluation import best_device
from segkit.facades import FacadeDataset, find_root, split_names
from segkit.history import History
from segkit.precision import PRECISIONS, choose_precision
from segkit.reference import FCN8s, confusion_matrix, read_label, scores
from segkit.training import RECIPES, TrainConfig, fit
from segkit.training.batches import Augmentation, EpochBatches
from segkit.training.descent import Descent
from segkit.training.loading import read_ahead
from segkit.training.sources import Pairs, open_pairs
from segkit.training.steps import Stepper
from segkit.transforms import RandomCrop

ROOT = Path(__file__).resolve().parents[1]
IMITATED = "torchvision's manner, imitated here"
TORCHFCN = "pytorch-fcn's trainer"


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


class Reference:
    """An imitation, not the script itself, of torchvision's references/segmentation/train.py: its collate function, optimizer,
    autocast, logging."""

    def __init__(
        self, data: FacadeDataset, device: torch.device, divisor: int, batch_size: int, workers: int, precision: str = "auto"
    ) -> None:
        self.device, self.model = device, network(divisor).to(device)
        self.precision = choose_precision(device, precision)
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


class NegativeVoid(Dataset):
    """The same pairs for pytorch-fcn, which leaves out labels below 0 only: unknown pixels are -1 in place of 255."""

    def __init__(self, data: FacadeDataset) -> None:
        self.data, self.class_names = data, [str(k) for k in range(12)]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.data[index]
        return image, torch.where(label == 255, -1, label)


def torchfcn_epoch(data: FacadeDataset, device: torch.device, divisor: int) -> Callable[[], None]:
    """One epoch of pytorch-fcn's trainer.

    Raises:
        Exception: whatever a package for an old torch raises; ImportError where it is not installed.
    """
    torchfcn = importlib.import_module("torchfcn")
    model, folder = network(divisor).to(device), tempfile.mkdtemp()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-10, momentum=0.99, weight_decay=5e-4)
    loader = DataLoader(NegativeVoid(data), batch_size=1, shuffle=True)
    trainer = torchfcn.Trainer(
        cuda=device.type == "cuda", model=model, optimizer=optimizer, train_loader=loader, val_loader=[], out=folder,
        max_iter=10**9, interval_validate=10**9,
    )  # fmt: skip

    def epoch() -> None:
        trainer.epoch += 1
        with contextlib.redirect_stderr(io.StringIO()):
            trainer.train_epoch()

    return epoch


def willing(peers: dict[str, Callable[[], Callable[[], None]]]) -> tuple[dict[str, Callable[[], None]], dict[str, str]]:
    """Name -> one epoch of each peer that can be made and gets through an epoch; and of the others why not."""
    able, reasons = {}, {}
    for name, make in peers.items():
        try:
            epoch = make()
            epoch()
        except Exception as error:  # another's code: it must not take this benchmark with it
            reasons[name] = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        else:
            able[name] = epoch
    return able, reasons


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
    parser.add_argument("--out", type=Path, help="[default: build/benchmarks/training.json, with --whole whole_training.json]")
    parser.add_argument("--images", type=int, help="[default: 100, with --whole 500; as many as there are]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="of fast, of torchvision's manner, and of --whole  [default: the recipe's]")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes of torchvision's manner")
    parser.add_argument("--divisor", type=int, default=1, help="all channels of FCN-8s divided by this")
    parser.add_argument("--side", type=int, help="fixed windows of this side instead of whole images")
    parser.add_argument("--small", action="store_true",
                        help="8 windows of 128, a network of a sixteenth of the channels, 2 epochs of --whole: for a CPU")
    parser.add_argument("--whole", action="store_true", help="train once from start to end instead, with validation")
    parser.add_argument("--recipe", choices=list(RECIPES), default="fast", help="of --whole")
    parser.add_argument("--epochs", type=int, default=25, help="of --whole")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of what may compute in 16 bits")
    parser.add_argument("--memory-cap", type=float, metavar="GIB", help="of the GPU's memory, for this process")
    options = parser.parse_args()
    if options.small:
        options.images, options.rounds, options.divisor, options.side, options.workers, options.epochs = 8, 3, 16, 128, 0, 2
    options.images = options.images or (500 if options.whole else 100)
    options.out = options.out or ROOT / "build" / "benchmarks" / ("whole_training.json" if options.whole else "training.json")
    device = best_device()
    try:
        choose_precision(device, options.precision)
    except ValueError as error:
        parser.error(f"argument --precision: {error}")
    if options.memory_cap is not None:
        if device.type != "cuda":
            parser.error("argument --memory-cap: there is no CUDA GPU here whose memory could be capped")
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.memory_cap * 2**30 / total), device)
    if options.whole:
        whole_run(options, device)
    else:
        compare(options, device)


def compare(options: argparse.Namespace, device: torch.device) -> None:
    """All ways in each round, and their table."""
    whole, data = _pictures(options)
    size = options.batch_size or RECIPES["fast"].batch_size
    ways: dict[str, Callable[[], object]] = {
        "plain loop of the course": Plain(data, device, options.divisor).epoch,
        "recipe course": Recipe("course", whole, device, options.divisor, None, options.side).epoch,
        "recipe fast": Recipe("fast", whole, device, options.divisor, size, options.side, options.precision).epoch,
        IMITATED: Reference(data, device, options.divisor, size, options.workers, options.precision).epoch,
    }
    paired(ways, 1, device)  # sets up libraries, optimizers' states and the kept images; not counted
    peers, left_out = willing({TORCHFCN: lambda: torchfcn_epoch(data, device, options.divisor)})  # not counted either
    seconds = paired(ways | peers, options.rounds, device)
    report(options, data, device, seconds, left_out)


def whole_run(options: argparse.Namespace, device: torch.device) -> None:
    """Train from start to end as the command line does, with validation and saved files; table and JSON."""
    root = find_root(options.data)
    split = "sample" if options.data == "sample" else "course" if (root / "extended").is_dir() else "base"
    parts = [split_names(split, "train")[: options.images], split_names(split, "val")]
    train_set, val_set = (FacadeDataset(root, names=names, read_label=read_label) for names in parts)
    config = RECIPES[options.recipe]
    config = dataclasses.replace(
        config, epochs=options.epochs, batch_size=options.batch_size or config.batch_size, crop=options.side or config.crop,
        precision=options.precision if options.precision != "auto" else config.precision,
    )  # fmt: skip
    model = network(options.divisor)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        history = fit(
            model, train_set, val_set, config=config, out=out, confusion_matrix=confusion_matrix, scores=scores, device=device
        )
        wait(device)
        seconds = time.perf_counter() - begun
    report_whole(options, device, config, (len(train_set), len(val_set)), history, seconds)


def report_whole(
    options: argparse.Namespace, device: torch.device, config: TrainConfig, images: tuple[int, int], history: History, seconds: float
) -> None:
    """Table and JSON of a whole run."""
    epochs = [record.seconds for record in history.epochs if record.epoch > 0]
    peak = torch.cuda.max_memory_reserved(device) / 2**30 if device.type == "cuda" else None
    best, precision = history.best, choose_precision(device, config.precision).name
    print_table(
        f"FCN-8s from start to end on {machine(device)['gpu'] or 'the CPU'}: recipe {config.recipe}, {config.epochs} epochs of {images[0]} "
        f"images in {precision}, {images[1]} to validate", ("what", "value"), [
            ("minutes, all", seconds / 60), ("seconds of an epoch with validation, median", statistics.median(epochs)),
            ("training images/s, validation included", images[0] * len(epochs) / sum(epochs)),
            ("GPU memory held at most, GiB", peak if peak is not None else "needs a GPU"),
            ("cap of GPU memory, GiB", options.memory_cap or "none"),
            ("best epoch", best.epoch), ("its mean IoU on the validation images", best.mean_iou),
        ],
    )  # fmt: skip
    write_json(options.out, {
        "machine": machine(device), "data": str(options.data), "train_images": images[0], "val_images": images[1],
        "divisor": options.divisor, "config": dataclasses.asdict(config), "precision": precision, "seconds": seconds,
        "epoch_seconds": epochs, "peak_gib": peak, "memory_cap_gib": options.memory_cap, "best_epoch": best.epoch,
        "mean_iou": [record.mean_iou for record in history.epochs],
    })  # fmt: skip


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
    flop, precision = flop_per_image(data, options.divisor), choose_precision(device, options.precision).name
    side = 8192 if device.type == "cuda" else 1024
    limits = {name: matmul_rate(device, getattr(torch, name), side) for name in ("float32", "bfloat16", "float16")}
    copied = bandwidth(device, 2**30 if device.type == "cuda" else 2**26)
    rates = {name: len(data) / statistics.median(values) for name, values in seconds.items()}
    plain = seconds["plain loop of the course"]
    used = {"recipe fast": precision, IMITATED: precision}
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
        "step_peak_mib": memory, "left_out": left_out,
    })  # fmt: skip


if __name__ == "__main__":
    main()
