"""Grade hundreds of submissions in one run, and watch the memory: ``python benchmarks/many.py --count 500``.

The submissions are copies, each with a line of its own, so that no answer of one serves another. Prints a table of memory at
tenths of the run, and writes JSON. Exit 1 if the judges grew by more than ``--growth`` MiB between a fifth and the end.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import psutil
from limits import Sampling, write_json

from autograder.batch import grade_many
from autograder.batch.journal import JOURNAL
from autograder.judge.run import Settings

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "tests" / "autograder" / "tiny_assignment"
SECRET = "many submissions"


class Watch(Sampling):
    """Samples the memory of this process, of its judges, and of all they started."""

    def __init__(self, journal: Path) -> None:
        super().__init__(self._look, 0.5)
        self.journal, self.samples = journal, []

    def _look(self) -> None:
        me = psutil.Process()
        try:
            done = self.journal.read_bytes().count(b'{"do": "graded"')
            judges = [child for child in me.children() if "spawn_main" in " ".join(child.cmdline())]
            sizes = [_own(judge) for judge in judges]
            below = sum(_own(child) for judge in judges for child in judge.children(recursive=True))
        except (OSError, psutil.Error):  # something ended meanwhile
            return
        if sizes:
            self.samples.append({"done": done, "first": _own(me), "judges": max(sizes), "workers": below})

    def at(self, done: int, width: int) -> dict[str, float]:
        """Means over the samples around a number of finished submissions."""
        near = [sample for sample in self.samples if abs(sample["done"] - done) <= width] or self.samples[-1:]
        return {name: sum(sample[name] for sample in near) / len(near) for name in ("first", "judges", "workers")}


def write_copies(folder: Path, assignment: str, count: int) -> list[Path]:
    """Write copies; every one differs in a comment of a solution cell."""
    sys.path.append(str(TINY.parent))
    import tiny  # not at the top: judges import this file
    from grading import write_class

    shutil.rmtree(folder, ignore_errors=True)
    if assignment == "fcn":
        return write_class(folder, count)
    marks = [f"# copy {number}\n" for number in range(count)]
    return [tiny.write_submission(folder / f"student_{n:04}", mark + tiny.DOUBLE, mark + tiny.NET) for n, mark in enumerate(marks)]


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
    paths = write_copies(out / "submitted", options.assignment, options.count)
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
    write_json(options.out / f"many_{options.assignment}.json", table)
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
