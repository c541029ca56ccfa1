"""Others' training loops for ``training.py``, brought in for the measurement: torchvision's reference, and pytorch-fcn's trainer."""

import contextlib
import importlib
import inspect
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from networks import network
from torch import nn
from torch.utils.data import DataLoader, Dataset

from segkit.facades import FacadeDataset
from segkit.precision import choose_precision

__all__ = ["IMITATED", "TORCHFCN", "TORCHVISION", "Reference", "torchfcn_epoch", "torchvision_epoch", "willing"]

IMITATED = "torchvision's manner, imitated here"
TORCHVISION = "torchvision's reference, its own loop"
TORCHFCN = "pytorch-fcn's trainer"


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


class AsOutput(nn.Module):
    """A network that answers as torchvision's do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.model(x)}


@contextlib.contextmanager
def importing_from(folder: Path | None) -> Iterator[None]:
    """Let modules of another's checkout be found, before all others."""
    if folder is None:
        yield
        return
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    sys.path.insert(0, str(folder.resolve()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def torchvision_epoch(
    folder: Path, data: FacadeDataset, device: torch.device, divisor: int, batch_size: int, workers: int, half: bool
) -> Callable[[], None]:
    """One epoch of torchvision's references/segmentation/train.py: its ``train_one_epoch``, ``criterion`` and ``collate_fn``.

    As ``--amp`` has it, 16 bits are float16 with a scaled loss, and only on a GPU. Optimizer, schedule and loader are its ``main``'s,
    but for a rate that suits, and for the last batch, kept though it be smaller: all ways see the same images.

    Raises:
        Exception: whatever its import raises; it wants torchvision and pycocotools.
    """
    with importing_from(folder):
        script, collate = importlib.import_module("train"), importlib.import_module("utils").collate_fn
    half = half and device.type == "cuda"
    if half and "scaler" not in inspect.signature(script.train_one_epoch).parameters:
        raise TypeError("this train_one_epoch is older than its 16 bits: give a newer checkout, or --precision float32")
    model = AsOutput(network(divisor)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(data, batch_size, shuffle=True, num_workers=workers, collate_fn=collate)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=25 * len(loader), power=0.9)
    more = {"scaler": torch.amp.GradScaler("cuda")} if half else {}

    def epoch() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            script.train_one_epoch(model, script.criterion, optimizer, loader, scheduler, device, 0, 10, **more)

    return epoch


class NegativeVoid(Dataset):
    """The same pairs for pytorch-fcn, which leaves out labels below 0 only: unknown pixels are -1 in place of 255."""

    def __init__(self, data: FacadeDataset) -> None:
        self.data, self.class_names = data, [str(k) for k in range(12)]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.data[index]
        return image, torch.where(label == 255, -1, label)


def torchfcn_epoch(data: FacadeDataset, device: torch.device, divisor: int, folder: Path | None = None) -> Callable[[], None]:
    """One epoch of pytorch-fcn's trainer, out of a checkout or as installed.

    Raises:
        Exception: whatever a package for an old torch raises; ImportError where it is not installed.
    """
    with importing_from(folder):
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
