"""The benchmarks of loading and training at their small size, and the arithmetic of their figures."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def limits():
    spec = importlib.util.spec_from_file_location("limits", ROOT / "benchmarks" / "limits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_ways_run_in_every_round_in_alternating_order(limits):
    order = []
    seconds = limits.paired({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, CPU)
    assert order == ["a", "b", "b", "a", "a", "b"] and [len(values) for values in seconds.values()] == [3, 3]


def test_ratios_are_taken_within_rounds(limits):
    """A round in which the machine was ten times slower must not count: by hand, 2, 2 and 3."""
    assert limits.middle_ratio([2.0, 40.0, 3.0], [1.0, 20.0, 1.0]) == 2.0


def test_limits_are_positive_rates(limits):
    assert limits.matmul_rate(CPU, torch.float32, 64, seconds=0.01) > 1e6
    assert limits.bandwidth(CPU, 2**16) > 1e6


def run(script, out, *args):
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--small", "--data", "sample", "--out", str(out), *args]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out.parent, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(out.read_text())


@pytest.mark.slow
def test_loading_is_measured_at_a_small_size(tmp_path):
    text, found = run("loading.py", tmp_path / "loading.json")
    assert "times plain" in text and found["images"] == 24
    assert found["times_plain"]["plain dataset"] == 1.0
    assert found["times_plain"]["second epoch, kept in memory"] > found["times_plain"]["first epoch"] > 1


@pytest.mark.slow
def test_training_is_measured_at_a_small_size(tmp_path):
    text, found = run("training.py", tmp_path / "training.json")
    assert "of the matrix rate" in text and "pytorch-fcn" in text
    assert {"plain loop of the course", "recipe course", "recipe fast", "in torchvision's manner"} <= set(found["seconds"])
    assert found["step_peak_mib"] is None or found["step_peak_mib"] > 0
    # 8 windows of 128, a sixteenth of the channels: conv1_2 alone is 328 x 326-ish of 4 x 4 x 9 multiply-adds, three passes
    assert 3 * 2 * 326**2 * 4 * 4 * 9 < found["flop_per_image"] < 1e11
