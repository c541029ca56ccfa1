"""One budget of memory for a whole run: how many judges work side by side, and how many gates are measured at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MemoryPlan", "MemoryShortError", "available_gib", "plan_memory"]

# GiB, measured with the assignment fcn on facades of up to 1024 x 1024 (benchmarks/many.py prints what it takes here):
# the first process, and the file of hidden weights that all workers map
RUN = 1.0
# a judge (0.5), what its workers are forked from (0.4), and a worker that has built both networks (2.1)
JUDGE = 3.0
# what a gate may take beyond that, with its worker at the limit of 3.5
GATE = 1.5
# of the machine's memory, a tenth stays free, and at least this
MARGIN = 0.5


class MemoryShortError(Exception):
    """The budget is too small for even one submission."""


@dataclass(frozen=True)
class MemoryPlan:
    """What a budget allows.

    Attributes:
        jobs: Judges side by side.
        gates: Gates measured at once.
        words: What the user is told; empty if the budget holds nothing back.
    """

    jobs: int
    gates: int
    words: str = ""


def plan_memory(jobs: int, budget: float | None, gates: bool) -> MemoryPlan:
    """Divide a budget.

    Args:
        jobs: How many judges were asked for.
        budget: GiB for the whole run; None for what the machine has.
        gates: Whether gates may have to be measured.

    Raises:
        MemoryShortError: A budget was given, and it is not enough for one submission.
    """
    total = available_gib() if budget is None else budget
    extra = GATE if gates else 0.0
    least = RUN + JUDGE + extra
    what = f"one submission may need {least:.1f} GiB{' while a gate is measured' if gates else ''}"
    if total < least and budget is not None:
        raise MemoryShortError(f"--memory {budget:g}: {what}, counted with the run's own share. Give at least {least:.1f} GiB.")
    if total < least:
        words = f"Memory: only {max(total, 0):.1f} GiB are free for this run, and {what}: one after the other, it may run out of memory."
        return MemoryPlan(1, 1, words)
    fit = min(jobs, int((total - RUN - extra) // JUDGE))
    side_by_side = min(fit, int((total - RUN - fit * JUDGE) // GATE)) if gates else fit
    parts = []
    if fit < jobs:
        parts.append(f"{fit} instead of {jobs} submissions side by side (each may need {JUDGE:g} GiB)")
    if side_by_side < fit:
        parts.append(f"{side_by_side} gate{'s' if side_by_side > 1 else ''} at a time (each may need {GATE:g} GiB more)")
    words = f"Memory: {total:.1f} GiB for this run: {', and '.join(parts)}." if parts else ""
    return MemoryPlan(fit, side_by_side, words)


def available_gib(root: Path = Path("/")) -> float:
    """GiB that a run may take: what this machine and the control groups around this process have left, less a margin."""
    free = [_machine(root), *_groups(root)]
    left = min(free) / 2**30
    return max(0.0, left - max(MARGIN, 0.1 * left))


def _machine(root: Path) -> float:
    """Bytes that the kernel can give without swapping."""
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024.0
    return 0.0


def _groups(root: Path) -> Iterator[float]:
    """Bytes left in each control group around this process that has a limit, of either version."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inner = base / path.lstrip("/")
        # a container sees its own group as the root, whatever path it is told
        for folder in [inner, *inner.parents]:
            if folder.is_relative_to(base):
                yield from _left(folder, *names)


def _left(folder: Path, limit: str, used: str, reclaimable: str) -> Iterator[float]:
    top, now = _text(folder / limit).strip(), _text(folder / used).strip()
    if not top.isdigit() or not now.isdigit():
        return  # "max" in version 2; version 1 writes no limit as a huge number, which is never the least
    stat = dict(line.split() for line in _text(folder / "memory.stat").splitlines() if len(line.split()) == 2)
    yield float(int(top) - int(now) + int(stat.get(reclaimable, 0)))  # the kernel drops cached pages of files when memory is needed


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
