"""The script for the first minutes on a GPU, rehearsed without one: what it tries, what it says of failures, when it stops."""

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from autograder.sandbox.isolation import available

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "first_gpu.py")]


@pytest.fixture(scope="module")
def first():
    """The scripts as modules that find each other, as they do when one of them is run."""
    names = ("first_walls", "limits", "networks", "grading", "gate", "first_steps", "first_training", "first_gpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        patch.setenv("PYTHONPATH", "")
        yield SimpleNamespace(**{name.removeprefix("first_"): importlib.import_module(name) for name in names})
    for name in names:
        del sys.modules[name]


def options(out, **more):
    usual = {"device": "cpu", "tiny": True, "data": "sample", "only": None, "train": False, "minutes": 1.0}
    return SimpleNamespace(out=out, **usual | more)


def test_without_a_gpu_nothing_is_tried(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = subprocess.run([*SCRIPT, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "out").exists() and "Traceback" not in done.stderr
    assert "finds no CUDA GPU here. Nothing was tried." in done.stderr and "--device cpu --tiny" in done.stderr


def test_on_a_cpu_there_is_only_a_rehearsal(tmp_path):
    done = subprocess.run([*SCRIPT, "--device", "cpu", "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and "argument --device: on a CPU there is a rehearsal only" in done.stderr


def test_a_step_that_fails_or_hangs_is_followed_by_the_next_and_all_is_on_the_page(first, tmp_path, monkeypatch):
    steps = {"falls": ("One that falls", 20), "hangs": ("One that hangs", 6), "goes": ("One that goes", 20), "odd": ("One that finds", 20)}
    facts = {"goes": {"gpu": "none"}, "odd": {"wrong": ["a|b\nc"]}}
    code = {"falls": "raise OSError('no room')", "hangs": "import time; print('begun', flush=True); time.sleep(60)", "goes": "", "odd": ""}
    monkeypatch.setattr(first.gpu, "TITLES", steps)
    monkeypatch.setattr(first.gpu, "PATIENCE", 1)
    monkeypatch.setattr(first.gpu, "facts_of", lambda out, name: facts.get(name, {}))
    monkeypatch.setattr(first.gpu, "_command", lambda options, name, seconds: [sys.executable, "-c", code[name]])
    assert first.gpu.run_all(options(tmp_path)) == 1
    found = {step["name"]: step for step in json.loads((tmp_path / "results.json").read_text())["steps"]}
    ended = {name: step["ended"] for name, step in found.items()}
    assert ended == {"falls": "failed (exit code 1)", "hangs": "stopped after 6 s", "goes": "done", "odd": "done, not as expected"}
    assert "OSError: no room" in found["falls"]["tail"] and found["hangs"]["tail"] == "begun" and found["hangs"]["seconds"] < 15
    page = (tmp_path / "page.md").read_text()
    assert "| One that finds | done, not as expected | 0 | a/b c |" in page and "OSError: no room" in page and '- gpu: "none"' in page


def test_what_there_is_no_time_for_is_left_out(first, tmp_path, monkeypatch):
    monkeypatch.setattr(first.gpu, "TITLES", {"late": ("One", 20)})
    monkeypatch.setattr(first.gpu, "run_step", lambda *_: pytest.fail("there is no time"))
    assert first.gpu.run_all(options(tmp_path, minutes=0.1)) == 1
    assert json.loads((tmp_path / "results.json").read_text())["steps"][0]["ended"] == "left out: no time"


def test_all_steps_fit_into_what_a_machine_is_lent_for(first):
    """Nine minutes, of which the benchmarks get what is left: a minute at least. Every step has something to run."""
    limits = [seconds for _, seconds in first.gpu.TITLES.values()]
    assert list(first.gpu.TITLES)[-1] == "benchmarks" and sum(limits[:-1]) + 60 <= 540
    assert set(first.gpu.TITLES) <= set(first.steps.STEPS)


def test_only_missing_packages_are_installed(first, tmp_path, monkeypatch):
    assert first.gpu.install(tmp_path) == f"{tmp_path} holds no wheels"
    for name in ("pytest-9.0.0-py3-none-any.whl", "no_such_thing-1.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    asked, answer = [], SimpleNamespace(returncode=1, stderr="broken")
    monkeypatch.setattr(first.gpu.subprocess, "run", lambda command, **_: asked.append(command) or answer)
    assert first.gpu.install(tmp_path) == "broken"
    assert [Path(word).name for word in asked[0] if word.endswith(".whl")] == ["no_such_thing-1.0-py3-none-any.whl"]
    assert "--no-index" in asked[0]


@pytest.mark.parametrize(("code", "named"), [
    ("import socket; socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)", ["the filter, sockets"]),
    ("open('/proc/loadavg').read()", ["Landlock, reading /proc", "Landlock"]),
    ("import ctypes\nassert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0", ["the call ptrace"]),
    ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))", ["the limit open_files"]),
])  # fmt: skip
def test_the_part_of_a_wall_that_is_in_the_way_is_named(first, code, named):
    if not available("landlock"):
        pytest.skip("there is no Landlock here")
    phases = {"first": "pass", "second": code}
    found = first.walls.started("landlock", phases)
    assert isinstance(found["first"], float) and isinstance(found["second"], str) and first.walls.fails(found)
    assert set(named) <= set(first.walls.culprits("landlock", phases, time.monotonic() + 60))


def test_without_a_wall_nothing_is_in_the_way(first):
    found = first.walls.started("none", {"only": "import socket; socket.socket()"})
    assert not first.walls.fails(found)
    assert "ended" in first.walls.started("none", {"only": "import os; os._exit(3)"})["only"]


def test_as_many_epochs_are_run_as_there_is_time_for(first):
    """By hand: 100 s, 10 to begin with, 8 each: eleven; never none, never more than wanted."""
    fit = first.training.epochs_that_fit
    assert [fit(100, 8, 10, 50), fit(100, 8, 10, 7), fit(5, 8, 10, 50)] == [11, 7, 1]


@pytest.mark.slow
def test_every_step_is_rehearsed_at_a_tiny_size(tmp_path):
    command = [*SCRIPT, "--device", "cpu", "--tiny", "--minutes", "50", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=3500)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    failed = [(step["name"], step["facts"].get("wrong"), step["tail"]) for step in results["steps"] if step["ended"] != "done"]
    assert done.returncode == 0 and not failed, failed
    facts = {step["name"]: step["facts"] for step in results["steps"]}
    assert facts["here"]["torch"] == torch.__version__ and not facts["here"]["missing"]
    assert facts["walls"]["none"].keys() == {"cuInit", "context", "convolution"}
    assert facts["tests"]["tests"] == facts["tests"]["skipped"] > 5 or torch.cuda.is_available()
    assert facts["resumed"]["killed"]["exit"] == -9 and facts["resumed"]["epochs"] == [0, 1, 2]
    assert facts["gate"]["cpu float32"]["points"] is not None and facts["gate"]["two judges at once"]["exit"] == [0, 0]
    assert facts["crowded"]["gate"]["points"] is not None and facts["benchmarks"]["loading"]["images"] == 24
