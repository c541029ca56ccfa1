"""Grade hundreds of submissions in one run, and watch the memory: ``python benchmarks/many.py --count 500``.

The submissions are copies, each with a line of its own, so that no answer of one serves another. Prints a table of memory at
tenths of the run, and writes JSON. Exit 1 if the judges grew by more than ``--growth`` MiB between a fifth and the end.
"""

import argparse
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import psutil

from autograder.batch import grade_many
from autograder.batch.journal import JOURNAL
from autograder.judge.run import Settings

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "tests" / "autograder" / "tiny_assignment"
SECRET = "many submissions"
SOLVED = ROOT / "notebooks" / "fcn"
DOUBLE = "import numpy as np\n\ndef double(values):\n    return np.asarray(values) * 2\n"
NET = """from torch import nn

class DotNet(nn.Module):
    def __init__(self, n_class=2):
        super().__init__()
        self.conv = nn.Conv2d(3, n_class, 1)

    def forward(self, x):
        return self.conv(x)
"""


def write_class(folder: Path, assignment: str, count: int) -> list[Path]:
    """Write copies; every one differs in a comment of a solution cell."""
    shutil.rmtree(folder, ignore_errors=True)
    for number in range(count):
        target = folder / f"student_{number:04}"
        target.mkdir(parents=True)
        for name, content in _notebooks(assignment, f"# copy {number}\n").items():
            (target / name).write_text(json.dumps(content), encoding="utf-8")
    return sorted(folder.iterdir())


def _notebooks(assignment: str, mark: str) -> dict[str, dict]:
    if assignment == "tiny":
        return {"1_double.ipynb": _notebook(mark + DOUBLE, "double"), "2_dots.ipynb": _notebook(mark + NET, "net")}
    found = {}
    for path in sorted(SOLVED.glob("*.ipynb")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("solution") and cell["cell_type"] == "code":
                cell["source"] = mark + "".join(cell["source"])
        found[path.name] = content
    return found


def _notebook(code: str, grade_id: str) -> dict:
    metadata = {"nbgrader": {"grade_id": grade_id, "solution": True, "schema_version": 3}}
    cell = {"cell_type": "code", "metadata": metadata, "source": code, "outputs": [], "execution_count": None}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}


class Watch:
    """Samples the memory of this process, of its judges, and of all they started."""

    def __init__(self, journal: Path) -> None:
        self.journal, self.samples, self._end = journal, [], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        me = psutil.Process()
        while not self._end.wait(0.5):
            try:
                done = self.journal.read_bytes().count(b'{"do": "graded"')
                judges = [child for child in me.children() if "spawn_main" in " ".join(child.cmdline())]
                sizes = [_own(judge) for judge in judges]
                below = sum(_own(child) for judge in judges for child in judge.children(recursive=True))
            except (OSError, psutil.Error):  # something ended meanwhile
                continue
            if sizes:
                self.samples.append({"done": done, "first": _own(me), "judges": max(sizes), "workers": below})

    def at(self, done: int, width: int) -> dict[str, float]:
        """Means over the samples around a number of finished submissions."""
        near = [sample for sample in self.samples if abs(sample["done"] - done) <= width] or self.samples[-1:]
        return {name: sum(sample[name] for sample in near) / len(near) for name in ("first", "judges", "workers")}


def _own(process: psutil.Process) -> float:
    """MiB of memory that is a process's own (no pages of files)."""
    return (process.memory_info().rss - process.memory_info().shared) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--assignment", choices=["tiny", "fcn"], default="tiny")
    parser.add_argument("--only", action="append", default=[], help="check to grade (may be repeated)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--growth", type=float, default=40, help="MiB that a judge may grow")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "many")
    options = parser.parse_args()
    out = options.out / options.assignment
    paths = write_class(out / "submitted", options.assignment, options.count)
    shutil.rmtree(out / "graded", ignore_errors=True)
    assignment = str(TINY) if options.assignment == "tiny" else options.assignment
    settings = Settings(assignment, out / "graded", secret=SECRET, device="cpu", only=tuple(options.only))
    started = time.monotonic()
    with Watch(out / "graded" / JOURNAL) as watch:
        results = grade_many(paths, settings, options.jobs, lambda text: None)
    seconds = time.monotonic() - started
    marks = sorted({max(1, options.count * tenth // 10) for tenth in range(1, 11)})
    rows = {mark: watch.at(mark, max(1, options.count // 50)) for mark in marks}
    growth = watch.at(options.count, options.count // 20)["judges"] - watch.at(options.count // 5, options.count // 20)["judges"]
    started = time.monotonic()
    grade_many(paths, settings, options.jobs, lambda text: None)
    table = {
        "assignment": options.assignment, "checks": list(options.only), "count": options.count, "jobs": options.jobs,
        "cores": os.cpu_count(), "seconds": seconds, "per_minute": 60 * options.count / seconds,
        "again_seconds": time.monotonic() - started,
        "points": sorted({result["score"] for result in results}), "ungraded": sum(_ungraded(result) for result in results),
        "peak_mib": max(sum(sample[name] for name in ("first", "judges", "workers")) for sample in watch.samples),
        "judge_growth_mib": growth, "mib": rows,
    }  # fmt: skip
    (options.out / f"many_{options.assignment}.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    print(f"{'graded':>8} {'first process':>14} {'largest judge':>14} {'their workers':>14}   MiB of their own")
    for mark, row in rows.items():
        print(f"{mark:>8} {row['first']:>14.0f} {row['judges']:>14.0f} {row['workers']:>14.0f}")
    print(f"{options.count} in {seconds:.0f} s, {table['per_minute']:.0f} a minute; the same command again: "
          f"{table['again_seconds']:.1f} s; a judge grew by {growth:.0f} MiB from a fifth of the run to its end")  # fmt: skip
    if growth > options.growth or table["ungraded"]:
        print(f"expected growth of at most {options.growth:.0f} MiB and nothing ungraded, found {table['ungraded']} ungraded")
        sys.exit(1)


def _ungraded(result: dict) -> bool:
    """Whether the grader failed (a gate without data is none of that)."""
    return any(check["cause"] == "grader.fault" for check in result["checks"])


if __name__ == "__main__":
    main()
