"""Small stand-ins for facades and networks, shared by the tests of training."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from segkit.facades import PALETTE, FacadeDataset

N = 12
SIZES = ((20, 31), (24, 24), (33, 18), (20, 30), (40, 26), (24, 25), (34, 18), (41, 26))

TINY = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, n_class=12):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.score = nn.Conv2d(8, n_class, 1)

    def forward(self, x):
        return self.score(torch.relu(self.conv(x)))
"""
KILLED = """
import os, signal, sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
import {module} as t
import segkit.training.steps as steps
count = 0
step = steps.Stepper.step
def counted(self, *args):
    global count
    count += 1
    if count == {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args)
steps.Stepper.step = counted
t.{call}
"""


def run_and_kill(module: str, call: str, kill_at: int) -> None:
    """Make a call of a test module in another process, which is killed before one of its steps."""
    code = KILLED.format(tests=str(Path(__file__).parent), module=module, call=call, kill_at=kill_at)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL, done.stderr


def ends_alike(module: str, run: Callable, root: Path, kill_at: int, **settings) -> Path:
    """See that a run which is killed before one of its steps, and resumed, ends as an unbroken one; returns its folder."""
    whole, broken = root / "whole", root / "broken"
    _, expected = run(root, whole, **settings)
    run_and_kill(module, f"run(Path({str(root)!r}), Path({str(broken)!r}), every=0.0, **{settings!r})", kill_at)
    _, history = run(root, broken, resume=True, **settings)
    assert comparable(history) == comparable(expected)
    kept, other = (load_file(folder / "best.safetensors") for folder in (whole, broken))
    assert all(torch.equal(value, other[name]) for name, value in kept.items())
    return broken


def decode(path: Path) -> torch.Tensor:
    """What a student writes in notebook 1."""
    ids = torch.from_numpy(np.array(Image.open(path))).long()
    return torch.where(ids == 0, 255, ids - 1)


def write_pair(root: Path, name: str, size: tuple[int, int], seed: int) -> None:
    """Blocks of classes, each in its own colour with some noise: learnable, and some pixels unknown."""
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 13, (6, 6)), np.ones((8, 8), int))[: size[0], : size[1]].astype(np.uint8)
    image = PALETTE[ids].astype(int) + rng.integers(-20, 20, (*size, 3))
    (root / "base").mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "base" / f"{name}.jpg", quality=95)
    label = Image.fromarray(ids, mode="L")
    label.putpalette(PALETTE.tobytes())
    label.save(root / "base" / f"{name}.png")


def facades(root: Path, count: int = 8, start: int = 1, read_label=decode, **options) -> FacadeDataset:
    """Facades of several sizes, written if they are not there."""
    names = [f"cmp_b{index:04d}" for index in range(start, start + count)]
    for place, name in enumerate(names):
        if not (root / "base" / f"{name}.png").exists():
            write_pair(root, name, SIZES[(place + start - 1) % len(SIZES)], start + place)
    return FacadeDataset(root, names=names, read_label=read_label, **options)


def net(dropout: float = 0.2, n_class: int = N) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout2d(dropout), nn.Conv2d(8, n_class, 1))


def comparable(history) -> list:
    """All that a history says but the time it took."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history.to_json()["epochs"]]


def descend(descent, loss: Callable):
    """One step of gradient descent on what ``loss`` returns: its loss, and the norm of the gradient."""
    descent.begin()
    descent.backward(loss())
    return descent.step()
