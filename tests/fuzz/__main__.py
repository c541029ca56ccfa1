"""``python -m tests.fuzz --seconds 600 --seed 7``: the long run. Exit 1 if a promise was broken, each case by its name."""

import argparse
import re
import sys
import time
from collections import Counter

from .running import Failure, run_guarded
from .targets import TARGETS, names


def _kind(failure: Failure) -> str:
    """Failures of one cause look alike but for their numbers."""
    return re.sub(r"\d+", "N", failure.reason.splitlines()[0])[:150]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every reader of what strangers hand in.")
    parser.add_argument("--seconds", type=float, default=600.0, help="time for all targets together")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="seed of the run; a new one each second by default")
    parser.add_argument("--only", action="append", choices=sorted(TARGETS), help="this target only (may be repeated)")
    parser.add_argument("--cases", type=int, default=100_000, help="at most so many cases of each target")
    arguments = parser.parse_args()
    chosen = {name: TARGETS[name] for name in arguments.only or TARGETS}
    shares, failed = sum(share for _, share in chosen.values()), 0
    print(f"seed {arguments.seed}", flush=True)
    for name, (target, share) in chosen.items():
        started = time.monotonic()
        cases = names(name, arguments.seed, arguments.cases)
        count, failures = run_guarded(target, cases, started + arguments.seconds * share / shares)
        print(f"{name:<12} {count:6} cases  {time.monotonic() - started:5.0f} s  {len(failures)} failures", flush=True)
        kinds = Counter(map(_kind, failures))
        for kind, number in kinds.most_common():
            first = next(failure for failure in failures if _kind(failure) == kind)
            print(f"  {number} x {kind}\n{first}\n".encode("utf-8", "backslashreplace").decode(), flush=True)
        failed += len(failures)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
