"""What a hand-in can cost the judge, in time and memory: attempts to make it cost more."""

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import cell, notebook

from autograder.assignments.fcn.networks import HEIGHTS, NETWORKS, WIDTHS
from autograder.judge.run import Settings
from autograder.sandbox.client import MAX_REPLY, RemoteSubject, WorkerSettings
from autograder.segmentation import dropout, offsets
from autograder.segmentation.shadow import MAX_WEIGHTS, Shadow
from segkit.layers import expected_layers
from segkit.notebooks.reading import MAX_SOURCE, MAX_WORDS, MAX_WORDS_OF_ALL
from segkit.subject import StudentError

REPO = Path(__file__).resolve().parents[2]
SIZE = (HEIGHTS[-1], WIDTHS[-1])


class Slow(RemoteSubject):
    """A subject whose worker takes its time, by a clock that the test moves."""

    def __init__(self, monkeypatch, each: float, **limits: float) -> None:
        super().__init__(WorkerSettings("process", Path("edition"), **limits))
        self.now, self.asked, self.started, self.each = 0.0, 0, 0, each
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def _exchange(self, do: str, arguments: dict, seconds: float) -> dict:
        self.asked += 1
        self.now += min(self.each, seconds)
        if self.each > seconds:
            self.close()
            raise StudentError(f"no reply within {seconds:.0f} s", "code.timeout")
        return {"ok": True, "value": None}

    def _start(self) -> None:
        self.started += 1
        self._process = object()

    def close(self) -> None:
        self._process = None


def asked(subject: RemoteSubject, times: int) -> list[StudentError]:
    errors = []
    for _ in range(times):
        try:
            subject.call("f")
        except StudentError as error:
            errors.append(error)
    return errors


@pytest.mark.parametrize("each", [59.0, 61.0])
def test_all_answers_of_a_hand_in_together_have_a_limit(monkeypatch, each):
    subject = Slow(monkeypatch, each)
    errors = asked(subject, 208)
    assert subject.waited == subject.now == 900 and subject.asked == 16 - (each > 60)
    assert {error.cause for error in errors} == {"code.timeout"} and subject.started <= 15
    assert "900 s together, so no more was asked" in str(errors[-1])


def test_a_training_has_its_own_time(monkeypatch):
    subject = Slow(monkeypatch, 50.0, total_seconds=40.0)
    subject._timed("retrain", {}, 100.0)
    assert subject.waited == 0


# ------------------------------------------------------------------------------------------------------- reading
READ = """
import json, re, sys
from pathlib import Path
from autograder.course.assignment import open_assignment
from autograder.handins.submission import read_submission

def peak():  # getrusage would tell that of the test's own process, which this one was forked from
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

rubric = open_assignment("fcn").rubric
before = peak()
submission = read_submission(Path(sys.argv[1]), "x", rubric)
for name in submission.workbook.cells.values():
    if (found := submission.workbook.find(name)) is not None:
        submission.workbook.program(found).digest
print(json.dumps({"MiB": (peak() - before) // 1024, "notes": submission.notes}))
"""


def test_a_hand_in_of_bombs_takes_little_memory_to_read_and_each_is_named(tmp_path):
    bombs = ["a;" * 1_500_000, "(" * 100_000, "x = [\n" + "%time f()\n" * 7000, "f'" + "{a}" * 10_000 + "'", "-" * 30_000 + "a",
             "def FCN32s(): a" + "+a" * 10_000]  # fmt: skip
    notebook(tmp_path / "2_fcn32s.ipynb", *(cell(bomb) for bomb in bombs), cell("class FCN32s: pass", "fcn32s"))
    notebook(tmp_path / "6_more.ipynb", *[cell("a;" * (MAX_WORDS // 2))] * 4)
    (tmp_path / "huge.py").write_text("a;" * 3_000_000, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", READ, tmp_path], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 10 < found["MiB"] < 600
    notes = "\n".join(found["notes"])
    for words in ("2_fcn32s.ipynb, cell 1: expected at most", "6_more.ipynb, cell 4: expected at most", "huge.py"):
        assert words in notes


# ------------------------------------------------------------------------------------- the network that it should be
def network(name: str, **changed: dict) -> Shadow:
    settings = {layer.path: dict(layer.settings) for layer in expected_layers(name, 5)}
    for layer, values in changed.items():
        settings[layer] |= values
    return Shadow(NETWORKS[name], settings, None)


@pytest.mark.parametrize(("layer", "values"), [
    ("conv1_1", {"padding": 500}), ("conv1_1", {"padding": 2**31}), ("conv5_1", {"padding": 100}), ("conv1_2", {"out_channels": 2**20}),
    ("fc6", {"kernel_size": 10**9, "padding": 10**9}), ("fc6", {"out_channels": 2**31}), ("upscore1", {"stride": 1000}),
    ("upscore3", {"kernel_size": 10**6}), ("upscore2", {"out_channels": 10**6}), ("score_pool_4", {"padding": 10**6}),
])  # fmt: skip
def test_layers_that_would_cost_too_much_are_not_computed_and_are_named(layer, values):
    with pytest.raises(StudentError, match=f"^{layer}: expected a layer of about the size") as found:
        network("fcn8s", **{layer: values}).refuse_too_large(SIZE, network("fcn8s"))
    assert found.value.cause == "layer.too_large"


@pytest.mark.parametrize(("layer", "values"), [
    ("conv1_1", {"padding": 100}), ("conv1_1", {"padding": 200}), ("conv1_2", {"padding": 100}), ("conv2_1", {"padding": [100, 100]}),
    ("pool1", {"stride": 1}), ("pool4", {"stride": 1}), ("pool3", {"kernel_size": 3}), ("fc6", {"kernel_size": 9, "padding": 3}),
    ("upscore2", {"kernel_size": 16}), ("upscore3", {"stride": 16}), ("conv4_1", {"out_channels": 256}), ("score", {"out_channels": 21}),
])  # fmt: skip
def test_layers_that_are_only_wrong_are_computed(layer, values):
    network("fcn8s", **{layer: values}).refuse_too_large(SIZE, network("fcn8s"))


@pytest.mark.parametrize("value", [0, -1, None, "a", [], 10**9, 2.5])
@pytest.mark.parametrize("setting", ["kernel_size", "stride", "padding", "dilation", "groups", "in_channels", "out_channels"])
def test_settings_that_are_no_layers_fit_no_network_at_all(setting, value):
    expected = (StudentError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError)  # as Network.measurement does
    with contextlib.suppress(*expected):
        network("fcn32s", fc6={setting: value}).refuse_too_large(SIZE, network("fcn32s"))


def test_offsets_are_searched_in_a_neighbourhood(monkeypatch):
    tried = []
    offsets._search(lambda offset: tried.append(offset) or 1.0, 10**6, 10**6, (19, 19))
    assert len(tried) < 10**5 and (19 + 128, 0) in tried


def test_scores_of_many_cells_are_not_taken_apart():
    score, found = torch.zeros(2, 1, 200, 200), torch.zeros(2, 1, 50, 50)
    assert offsets.fits_cell_by_cell(found, network("fcn32s"), score, ("transpose_conv",), (0, 0)) is False


def test_dropout_is_not_read_off_millions_of_values():
    silent, many = np.zeros(5, np.int64), np.arange(5 * 10**5, dtype=np.float32).reshape(1, 5, 100, 1000)
    assert dropout.read_dropout(many, silent, ("fc6", "fc7")).cause == "dropout.missing"
    assert dropout._scale([np.arange(1.0, 10**5)], silent[:1], np.array([1.0]), 2.0) is None


# ------------------------------------------------------------------------------------------------------ what is said of it
def test_the_documentation_says_the_numbers_that_hold():
    text = " ".join((REPO / "docs" / "design.md").read_text(encoding="utf-8").split())
    claim = re.search(r"A submission can cost the judge at most (\d+) seconds and (\d+) MiB", text)
    assert claim is not None
    settings = Settings("fcn", Path("out"))
    assert int(claim[1]) >= settings.total_seconds and f"{settings.gate_seconds:.0f} seconds" in text
    syntax = 1024 * MAX_WORDS_OF_ALL + 4 * MAX_SOURCE  # about a kilobyte for each word
    assert int(claim[2]) * 2**20 >= syntax + 2 * MAX_REPLY + 4 * MAX_WEIGHTS
