"""Reading real facades: ``python benchmarks/loading.py --data CMP_ROOT [--small]``.

The plain dataset (decode, normalise, one after the other, every epoch anew) against torch's DataLoader over it, and against
what training uses: threads, and decoded bytes that are kept. All ways run in each round. Prints a table, writes JSON.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from limits import bandwidth, jpeg_rate, machine, middle_ratio, paired, print_table, write_json
from torch.utils.data import DataLoader

from segkit.facades import FacadeDataset, find_root, image_path, split_names
from segkit.reference import read_label
from segkit.training.batches import Augmentation, EpochBatches
from segkit.training.loading import normalised, read_ahead
from segkit.training.sources import DecodedPairs

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


def plain_epoch(data: FacadeDataset) -> None:
    """As a student's loop reads: items of the dataset."""
    for index in range(len(data)):
        data[index]


def loader_epoch(data: FacadeDataset, workers: int) -> None:
    """torch's own way: processes that send normalised floats."""
    for _ in DataLoader(data, batch_size=1, shuffle=True, num_workers=workers):
        pass


def epoch(pairs: DecodedPairs, threads: int, number: int, floats: bool = False, augmented: bool = False) -> None:
    """The batches of an epoch as training takes them: bytes, which a GPU normalises; with ``floats`` that is done here."""
    augmentation = Augmentation(512, (0.75, 1.25), True) if augmented else Augmentation(flip=True)
    batches = EpochBatches(pairs, seed=0, epoch=number, batch_size=4, pad_to=32, augmentation=augmentation)
    for batch in read_ahead(batches, 0, threads):
        if floats:
            normalised(batch, CPU)


def ways(data: FacadeDataset, threads: int, peers: bool) -> dict[str, Callable[[], object]]:
    """Name -> one epoch."""
    memory, disk = DecodedPairs(data, "memory"), DecodedPairs(data, "disk")
    for kept in (memory, disk):
        epoch(kept, threads, 0)
    listed: dict[str, Callable[[], object]] = {
        "plain dataset": lambda: plain_epoch(data),
        "first epoch": lambda: epoch(DecodedPairs(data, "memory"), threads, 1),
        "second epoch, kept in memory": lambda: epoch(memory, threads, 2),
        "second epoch, kept on disk": lambda: epoch(disk, threads, 2),
        "second epoch, normalised on the CPU": lambda: epoch(memory, threads, 2, floats=True),
        "second epoch, scaled windows of 512": lambda: epoch(memory, threads, 2, augmented=True),
    }
    if peers:
        listed[f"DataLoader, {threads} processes"] = lambda: loader_epoch(data, threads)
    return listed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEGKIT_CMP_ROOT", "sample"), help="CMP_ROOT with base/, or: sample")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "loading.json")
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--small", action="store_true", help="24 images, 3 rounds")
    options = parser.parse_args()
    if options.small:
        options.images, options.rounds = 24, 3
    torch.set_num_threads(options.threads)
    root = find_root(options.data)
    names = split_names("sample" if options.data == "sample" else "base", "train")[: options.images]
    data = FacadeDataset(root, names=names, read_label=read_label)
    seconds = paired(ways(data, options.threads, peers=not options.small), options.rounds, CPU)
    count = len(names)
    rates = {name: count / statistics.median(values) for name, values in seconds.items()}
    times = {name: middle_ratio(seconds["plain dataset"], values) for name, values in seconds.items()}
    jpeg, copied = jpeg_rate([image_path(root, name) for name in names]), bandwidth(CPU, 2**26)
    kept = sum(4 * height * width for height, width in (data.size(index) for index in range(count)))
    print_table(
        f"{count} facades of {root}, {options.threads} threads, median of {options.rounds} paired rounds",
        ("way", "images/s", "times plain"), [(name, rates[name], times[name]) for name in seconds],
    )  # fmt: skip
    print_table("limits", ("what", "value"), [
        ("photographs decoded per second and thread, nothing else", jpeg),
        ("first epoch, share of all threads' decoding", rates["first epoch"] / (jpeg * options.threads)),
        ("copying in memory, GB/s read and written", copied / 1e9),
        ("kept bytes, MiB", kept / 2**20),
    ])  # fmt: skip
    write_json(options.out, {
        "machine": machine(CPU), "data": str(options.data), "images": count, "threads": options.threads, "seconds": seconds,
        "images_per_second": rates, "times_plain": times, "jpeg_per_second_and_thread": jpeg, "copy_bytes_per_second": copied,
        "kept_bytes": kept, "temporary_folder": tempfile.gettempdir(),
    })  # fmt: skip


if __name__ == "__main__":
    main()
