"""What handing out to a cluster costs: ``python benchmarks/cluster.py``.

The same class by the same judges, which cost next to nothing, on this machine and on one worker of a scheduler beside it, in turn within
each round. From a class of one and a class of many follow what is spent once and what is spent on each submission.
"""

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

from limits import write_json

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "autograder"))
import tiny  # noqa: E402
import workers  # noqa: E402

from autograder.batch import grade_many, pool  # noqa: E402


def seconds_of(paths: list[Path], out: Path, cluster: str) -> tuple[float, float]:
    """Seconds of one run, from nothing graded to the class page; and those that this process computed."""
    shutil.rmtree(out, ignore_errors=True)
    started, computed = time.monotonic(), time.process_time()
    results = grade_many(paths, tiny.settings(out, only=("double",)), 1, lambda line: None, cluster=cluster)
    seconds = time.monotonic() - started, time.process_time() - computed
    assert len(results) == len(paths) and not any(check["status"] == "could_not_grade" for result in results for check in result["checks"])
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "cluster")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    paths = [tiny.write_submission(options.out / "in" / f"s{n:04}", f"{tiny.DOUBLE}# {n}\n", net=None) for n in range(options.count)]
    workers.use_quick_judges()
    pool.judge_pool = workers.InThread
    rounds = []
    with workers.Cluster(options.out / "cluster", count=1) as cluster:
        seconds_of(paths[:1], options.out / "out", cluster.address)  # until the worker is there
        for _ in range(options.rounds):
            found = {}
            for way, address in (("here", ""), ("cluster", cluster.address)):
                one, many = (seconds_of(some, options.out / "out", address) for some in (paths[:1], paths))
                each, computed = ((after - before) / (options.count - 1) for before, after in zip(one, many, strict=True))
                found[way] = {"once": one[0], "each": each, "computed": computed}
            rounds.append(found)
    parts = ("once", "each", "computed")
    middle = {way: {part: statistics.median(found[way][part] for found in rounds) for part in parts} for way in rounds[0]}
    costs = statistics.median(found["cluster"]["each"] - found["here"]["each"] for found in rounds)
    write_json(options.out / "cluster.json", {"count": options.count, "rounds": rounds, "overhead_seconds": costs})
    print(f"{'':>8} {'once':>8} {'each':>9} {'computing':>10}")
    for way, row in middle.items():
        print(f"{way:>8} {row['once']:>6.2f} s {1000 * row['each']:>6.1f} ms {1000 * row['computed']:>7.1f} ms")
    print(f"Handing out costs {1000 * costs:.0f} ms a submission ({options.count} submissions, median of {options.rounds} rounds).")


if __name__ == "__main__":
    main()
