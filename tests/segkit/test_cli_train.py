"""``segkit train`` and ``segkit evaluate`` on the sample, with a network small enough to be quick."""

import json

import pytest
from click.testing import CliRunner

from segkit.cli import main
from segkit.facades import CLASSES

TINY = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, n_class=12):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.score = nn.Conv2d(8, n_class, 1)

    def forward(self, x):
        return self.score(torch.relu(self.conv(x)))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work with spaces")
    (folder / "tiny.py").write_text(TINY)
    done = run("train", folder, "--split", "sample", "--out", folder / "run", "--epochs", "2")
    assert done.exit_code == 0, done.output
    return folder


def run(command, folder, *args):
    fixed = [command, "--model", "tiny.py:Tiny", "--notebooks", str(folder)]
    return CliRunner().invoke(main, [*fixed, *map(str, args)])


def test_train_writes_weights_history_and_figures(trained):
    names = {path.name for path in (trained / "run").iterdir()}
    assert names == {
        "best.safetensors", "history.json", "resume.pt", "curves.png", "gallery.png", "confusion.png",
    }  # fmt: skip
    content = json.loads((trained / "run" / "history.json").read_text())
    assert [entry["epoch"] for entry in content["epochs"]] == [0, 1, 2] and content["config"]["recipe"] == "course"


def test_train_goes_on_with_resume_and_refuses_to_overwrite(trained):
    out = trained / "run"
    done = run("train", trained, "--split", "sample", "--out", out, "--epochs", "2", "--quiet")
    assert done.exit_code == 1 and "already holds a training run" in done.output and "Traceback" not in done.output
    done = run("train", trained, "--split", "sample", "--out", out, "--epochs", "3", "--resume", "--quiet")
    assert done.exit_code == 0, done.output
    assert len(json.loads((out / "history.json").read_text())["epochs"]) == 4


def test_evaluate_writes_the_metrics_by_name(trained):
    out = trained / "scores"
    checkpoint = trained / "run" / "best.safetensors"
    done = run("evaluate", trained, "--checkpoint", checkpoint, "--split", "sample", "--out", out)
    assert done.exit_code == 0, done.output
    content = json.loads((out / "metrics.json").read_text())
    assert list(content) == [
        "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "mean_iou", "mean_iou_interval", "iou",
    ]  # fmt: skip
    assert list(content["iou"]) == list(CLASSES)
    low, high = content["mean_iou_interval"]
    assert low <= high and 0 <= content["mean_iou"] <= 1
    assert {path.name for path in out.iterdir()} == {"metrics.json", "gallery.png", "confusion.png"}


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["train", "--model", "unet", "--split", "sample", "--out", "x"], 2, "'unet' is none of fcn32s"),
        (["train", "--model", "fcn32s", "--split", "nope", "--out", "x"], 2, "nope"),
        (["train", "--model", "fcn32s", "--split", "sample"], 2, "--out"),
        (["train", "--model", "a.py:A", "--split", "sample", "--out", "x"], 1, "a.py"),
        (["train", "--model", "fcn32s", "--split", "base", "--data", "gone", "--out", "x"], 1, "gone"),
        (["train", "--model", "fcn32s", "--split", "base", "--out", "x", "--resume", "--overwrite"], 2, "one of"),
    ],
)
def test_errors_are_one_message_and_a_status(tmp_path, monkeypatch, args, code, expected):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, args)
    assert done.exit_code == code and expected in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert list(tmp_path.iterdir()) == []


def test_evaluate_names_a_checkpoint_that_does_not_fit(trained, tmp_path):
    for file, expected in ((tmp_path / "none.pth", "no such file"), (trained / "tiny.py", "not a checkpoint")):
        done = run("evaluate", trained, "--checkpoint", file, "--split", "sample", "--out", tmp_path / "out")
        assert done.exit_code == 1 and expected in done.output and "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_the_fast_recipe_runs_without_a_word_on_stderr(trained, tmp_path):
    done = run("train", trained, "--split", "sample", "--out", tmp_path / "fast", "--recipe", "fast", "--epochs", "1")
    assert done.exit_code == 0 and done.stderr == "", done.stderr
