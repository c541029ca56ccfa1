"""Shared by all tests: where the real data is, how many threads a test may use, and which files are begun first."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from segkit.malloc import keep_memory

# nbgrader calls alembic by name: an environment that is not activated must do as well
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# a minute and more each: begun first, so that no core waits for one of them at the end (`make test` prints which files took long)
LONGEST = (
    "test_solved", "test_printed_course", "test_demo", "test_solved_satellite", "test_first_gpu", "test_speed_of_training", "test_outputs",
    "test_run", "test_mistakes", "test_every_assignment", "test_printed_authoring", "test_printed_laboratory", "test_selftest_parity",
    "test_batch_killed", "test_nbgrader", "test_satellite_demo", "test_fcn_networks", "test_batch", "test_handover", "test_handover_fcn",
    "test_selftest_sample", "test_term", "test_term_downloads", "test_selftest_verdict", "test_selftest_keys", "test_retraining",
    "test_term_in_steps", "test_cluster", "test_hosted",
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Two test processes on two cores must not fight: one thread each. Networks of one test are as large as those of the next."""
    torch.set_num_threads(1)
    keep_memory()


@pytest.fixture(scope="session")
def cmp_root() -> Path:
    """Root of the real CMP Facade Database (with ``base/``), from the variable ``SEGKIT_CMP_ROOT``."""
    root = os.environ.get("SEGKIT_CMP_ROOT")
    if not root or not (Path(root) / "base").is_dir():
        pytest.skip("real CMP facades not available: set SEGKIT_CMP_ROOT to the folder that holds base/")
    return Path(root)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest files, then those with a slow test; skip GPU tests by name where there is no GPU."""
    slow = {item.path for item in items if "slow" in item.keywords}
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path.stem, len(places)), item.path not in slow))
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU")
    for item in items:
        if item.get_closest_marker("gpu") is not None:  # a keyword is also the name of a folder above
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where durations are asked for: the files that took longest, fixtures included. ``LONGEST`` is made of it."""
    if not terminalreporter.config.getoption("durations"):
        return
    reports = [one for found in terminalreporter.stats.values() for one in found if isinstance(one, pytest.TestReport)]
    seconds: Counter[str] = Counter()
    for report in reports:
        seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section("seconds of files")
    terminalreporter.write_line(f"{seconds.total():7.0f} in all")
    for name, whole in seconds.most_common(40):
        terminalreporter.write_line(f"{whole:7.0f} {name}")
