"""What all benchmarks share: clocks, what a machine can do at most, and tables."""

import io
import json
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

__all__ = [
    "Sampling", "Stopwatch", "as_convolutions", "bandwidth", "float32_of_convolutions", "jpeg_rate", "limit_rows", "machine",
    "machine_limits", "matmul_rate", "middle_ratio", "paired", "print_table", "seconds_of", "wait", "write_json",
]  # fmt: skip

T = TypeVar("T")


def wait(device: torch.device) -> None:
    """Let a GPU finish what was asked of it; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, everything it started included."""
    wait(device)
    begun = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - begun


class Sampling:
    """Calls a function again and again beside the work within the context.

    Args:
        sample: what is called, in a thread of its own.
        seconds: from one call to the next.
    """

    def __init__(self, sample: Callable[[], object], seconds: float) -> None:
        self.sample, self.seconds, self._ended = sample, seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(self.seconds):
            self.sample()

    def __enter__(self) -> "Sampling":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Stopwatch:
    """Adds up the seconds of steps; on a GPU between events in its queue, so that nothing is waited for before the end."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._marks = device, []

    def run(self, step: str, work: Callable[[], T]) -> T:
        """Do the work, and let its time count for a step."""
        begun = self._mark()
        result = work()
        self._marks.append((step, begun, self._mark()))
        return result

    def seconds(self) -> dict[str, float]:
        """Seconds of each step so far; here the program waits for the GPU."""
        wait(self.device)
        found: dict[str, float] = {}
        for step, begun, ended in self._marks:
            took = begun.elapsed_time(ended) / 1000 if self.device.type == "cuda" else ended - begun
            found[step] = found.get(step, 0.0) + took
        return found

    def _mark(self) -> "float | torch.cuda.Event":
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def paired(ways: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each way in each round; within a round all ways run, so that a busy machine slows all of them.

    Args:
        ways: name -> what to run.
        rounds: how often; every other round runs in reverse order.
        device: whose work is waited for.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            seconds[name].append(seconds_of(ways[name], device))
    return seconds


def float32_of_convolutions(device: torch.device) -> str:
    """How convolutions of float32 compute: on a GPU in TF32 unless somebody forbade it, whereas matrix products do not."""
    # the older allow_tf32 raises once anybody has used this setting
    return "TF32" if device.type == "cuda" and torch.backends.cudnn.conv.fp32_precision == "tf32" else "float32"


@contextmanager
def as_convolutions(device: torch.device) -> Iterator[None]:
    """Let matrix products of float32 compute as convolutions do."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if float32_of_convolutions(device) == "TF32" else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int, seconds: float = 0.5) -> float:
    """FLOP per second of products of square matrices, the best of several; 0 where the device cannot."""
    try:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        a @ b
    except RuntimeError:
        return 0.0
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until or best == 0.0:
        repeats = 10 if device.type == "cuda" else 1

        def work(repeats: int = repeats) -> None:
            for _ in range(repeats):
                a @ b

        best = max(best, repeats * 2 * side**3 / seconds_of(work, device))
    return best


def bandwidth(device: torch.device, size: int) -> float:
    """Bytes read and written per second by copying ``size`` bytes, the best of ten."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return max(2 * size / seconds_of(lambda: target.copy_(source), device) for _ in range(10))


def machine_limits(device: torch.device, formats: Sequence[str]) -> tuple[dict[str, float], float]:
    """FLOP per second of large matrix products by format, float32 as convolutions compute it; and bytes per second of copying."""
    gpu = device.type == "cuda"
    with as_convolutions(device):
        rates = {name: matmul_rate(device, getattr(torch, name), 8192 if gpu else 1024) for name in formats}
    return rates, bandwidth(device, 2**30 if gpu else 2**26)


def limit_rows(device: torch.device, rates: Mapping[str, float], copied: float) -> list[tuple[str, float]]:
    """Rows of a table for what :func:`machine_limits` found."""
    shown = {"float32": float32_of_convolutions(device)}
    products = [(f"matrix products in {shown.get(name, name)}, GFLOP/s", rate / 1e9) for name, rate in rates.items()]
    return [*products, ("copying on the device, GB/s read and written", copied / 1e9)]


def jpeg_rate(files: Sequence[Path]) -> float:
    """Photographs per second that one thread decodes out of memory, doing nothing else."""
    contents = [file.read_bytes() for file in files]

    def decode() -> None:
        for content in contents:
            Image.open(io.BytesIO(content)).load()

    return len(files) / min(seconds_of(decode, torch.device("cpu")) for _ in range(2))


def machine(device: torch.device) -> dict[str, object]:
    """What was measured on, and when."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "gpu": gpu, "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table of text: numbers with three digits that count."""
    texts = [[f"{cell:.3g}" if isinstance(cell, float) and cell < 1000 else f"{cell:.0f}" if isinstance(cell, float) else str(cell)
              for cell in row] for row in rows]  # fmt: skip
    widths = [max(len(row[column]) for row in [list(head), *texts]) for column in range(len(head))]
    print(f"\n{title}")
    for row in [list(head), ["-" * width for width in widths], *texts]:
        print("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(
            zip(row, widths, strict=True))))  # fmt: skip


def write_json(path: Path, content: dict) -> None:
    """Write a result, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {path}")


def middle_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of how many times faster the second way was."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
