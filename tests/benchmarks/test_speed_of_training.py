"""The benchmarks of loading, training and gates at their small size, and the arithmetic of their figures."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def limits():
    return loaded("limits")


@pytest.fixture
def training(limits, monkeypatch):
    monkeypatch.setitem(sys.modules, "limits", limits)
    return loaded("training")


class Pairs:
    """Two facades of 8 x 8, the first with unknown pixels."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        label = torch.full((8, 8), 3)
        label[: 4 * (1 - index)] = 255
        return torch.zeros(3, 8, 8), label


def fake_torchfcn(train_epoch):
    """The package as far as the benchmark knows it, with a trainer of ours."""

    class Trainer:
        def __init__(self, **given):
            self.given, self.epoch = given, -1

        def train_epoch(self):
            train_epoch(self)

    return SimpleNamespace(Trainer=Trainer)


def test_pytorch_fcn_gets_unknown_pixels_as_it_knows_them(training, monkeypatch):
    """Its loss leaves out targets below 0 and asserts that the others are classes."""
    seen = []

    def train_epoch(trainer):
        for _, target in trainer.given["train_loader"]:
            assert target.max() < 12
            seen.append(sorted(target.unique().tolist()))

    monkeypatch.setitem(sys.modules, "torchfcn", fake_torchfcn(train_epoch))
    able, reasons = training.willing({"peer": lambda: training.torchfcn_epoch(Pairs(), CPU, 16)})
    assert list(able) == ["peer"] and not reasons and sorted(seen) == [[-1, 3], [3]]


def test_a_peer_that_fails_is_left_out_with_its_reason(training, monkeypatch):
    def old(trainer):
        raise AttributeError("module 'torch' has no\n attribute 'Variable'")

    monkeypatch.setitem(sys.modules, "torchfcn", fake_torchfcn(old))
    able, reasons = training.willing({"peer": lambda: training.torchfcn_epoch(Pairs(), CPU, 16), "idle": lambda: lambda: None})
    assert list(able) == ["idle"] and reasons == {"peer": "AttributeError: module 'torch' has no attribute 'Variable'"}
    monkeypatch.setitem(sys.modules, "torchfcn", None)  # not installed
    _, reasons = training.willing({"peer": lambda: training.torchfcn_epoch(Pairs(), CPU, 16)})
    assert reasons["peer"].startswith("ModuleNotFoundError: ")


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
    assert min(found["times_plain"][way] for way in ("first epoch", "second epoch, kept in memory")) > 0


@pytest.mark.slow
def test_training_is_measured_at_a_small_size(tmp_path):
    text, found = run("training.py", tmp_path / "training.json")
    assert "of the matrix rate" in text and "pytorch-fcn" in text
    assert {"plain loop of the course", "recipe course", "recipe fast", "torchvision's manner, imitated here"} <= set(found["seconds"])
    assert "pytorch-fcn's trainer" in found["seconds"].keys() ^ found["left_out"].keys()
    assert found["step_peak_mib"] is None or found["step_peak_mib"] > 0
    # 8 windows of 128, a sixteenth of the channels: conv1_2 alone is 328 x 326-ish of 4 x 4 x 9 multiply-adds, three passes
    assert 3 * 2 * 326**2 * 4 * 4 * 9 < found["flop_per_image"] < 1e11


@pytest.mark.slow
def test_a_whole_training_is_measured_at_a_small_size(tmp_path):
    text, found = run("training.py", tmp_path / "whole.json", "--whole")
    assert "from start to end" in text and len(found["epoch_seconds"]) == 2 and len(found["mean_iou"]) == 3
    assert (found["train_images"], found["val_images"], found["best_epoch"] in (1, 2)) == (8, 4, True)
    assert 0 < sum(found["epoch_seconds"]) <= found["seconds"]


@pytest.mark.slow
@pytest.mark.parametrize("args", [("--memory-cap", "15"), ("--precision", "float16")])
def test_what_needs_a_gpu_is_said_without_one(tmp_path, args):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, str(ROOT / "benchmarks" / "training.py"), "--whole", "--small", *args]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 2 and f"argument {args[0]}: " in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_gates_are_measured_at_a_small_size(tmp_path):
    text, found = run("gate.py", tmp_path / "gate.json")
    assert "submissions a minute" in text and found["images"] == 2
    for check in ("pretraining.miou", "fcn8s.miou"):
        assert 0.99 < sum(found["shares"][check].values()) < 1.01 and min(found["shares"][check].values()) > -0.01
        assert found["shares"][check]["predicting"] > 0 and found["shares"][check]["starting the worker"] > 0
    assert found["submissions_per_minute"] == pytest.approx(60 / sum(gate["whole"] for gate in found["seconds"].values()))
    # conv1_2 of both pictures alone, padded by 99 on each side: (212 + 198) x (219 + 198) and (210 + 198) x (206 + 198) pixels
    assert found["flop"]["fcn8s.miou"] > 2 * 64 * 64 * 9 * (410 * 417 + 408 * 404)
