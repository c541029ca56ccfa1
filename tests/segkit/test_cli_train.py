"""``segkit train`` on the sample, with a network small enough to be quick."""

import json
import re

import pytest
import torch
from click.testing import CliRunner
from course_items import TINY
from sklearn.metrics import jaccard_score
from torch import nn

import segkit.reference.satellite
from segkit.cli import main
from segkit.datasets import PairDataset
from segkit.datasets.satellite import SPEC
from segkit.models import model_class


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
        "best.safetensors", "history.json", "resume.pt", "curves.png", "gallery.png", "confusion.png", "stages.png", "stages.npz",
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


class Narrow(nn.Module):
    """Stands for the satellite's FCN-32s: one output more than there are classes, for pixels that nobody knows."""

    def __init__(self, n_class):
        super().__init__()
        assert n_class == 7
        self.score = nn.Conv2d(3, n_class, 1)

    def forward(self, x):
        return self.score(x)


def test_the_networks_of_another_data_set_are_trained_and_evaluated_by_the_same_commands(tmp_path, monkeypatch):
    monkeypatch.setattr(segkit.reference.satellite, "FCN32s", Narrow)
    fixed = ["--dataset", "satellite", "--model", "fcn32s", "--split", "sample", "--quiet"]
    done = CliRunner().invoke(main, ["train", *fixed, "--out", str(tmp_path / "run"), "--epochs", "2", "--set", "learning_rate=0.1"])
    assert done.exit_code == 0, done.output
    checkpoint = tmp_path / "run" / "best.safetensors"
    done = CliRunner().invoke(main, ["evaluate", *fixed, "--checkpoint", str(checkpoint), "--out", str(tmp_path / "scores")])
    assert done.exit_code == 0 and "rangeland" in done.output and "unknown" in done.output, done.output
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert metrics["images"] == 6 and list(metrics["iou"]) == [*SPEC.classes, "unknown"]
    assert metrics["pixel_accuracy"] > 1 / 6, "read_mask and the six colours of the ground: better than guessing"


class Doubtful(Narrow):
    """Says agriculture, and *unknown* where a picture is bright."""

    def __init__(self, n_class):
        super().__init__(n_class)
        nn.init.zeros_(self.score.weight)
        nn.init.constant_(self.score.bias, -9)
        with torch.no_grad():
            self.score.bias[[1, 6]], self.score.weight[6, 0] = 0, 1


def test_unknown_is_a_wrong_answer_and_no_class_of_the_mean(tmp_path, monkeypatch):
    """Oracle: ``mean_iou`` over all pixels, which has a loop and a case by hand of its own."""
    monkeypatch.setattr(segkit.reference.satellite, "FCN32s", Doubtful)
    fixed = ["--dataset", "satellite", "--model", "fcn32s", "--split", "sample", "--quiet"]
    steady = ["--epochs", "1", "--set", "learning_rate=1e-12", "--set", "warmup=0"]
    done = CliRunner().invoke(main, ["train", *fixed, *steady, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    given = ["--checkpoint", str(tmp_path / "run" / "best.safetensors"), "--bootstrap", "50"]
    done = CliRunner().invoke(main, ["evaluate", *fixed, *given, "--out", str(tmp_path / "scores")])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "run" / "history.json").read_text())["epochs"][-1]["mean_iou"]
    scored = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    for part, found in (("val", told), ("test", scored["mean_iou"])):
        pairs = PairDataset(SPEC, SPEC.find_root("sample"), "sample", part, read_label=segkit.reference.satellite.read_mask)
        images, truth = (torch.stack(one) for one in zip(*pairs, strict=True))
        answers = Doubtful(7)(images).argmax(1)
        unknown = 100 * (answers[truth < 6] == 6).float().mean().item()
        assert 10 < unknown < 90
        assert found == pytest.approx(segkit.reference.satellite.mean_iou(answers, truth), abs=1e-6), part
    known = truth < 6  # of the test pictures
    micro = jaccard_score(truth[known], answers[known], labels=range(6), average="micro")
    assert scored["micro_iou"] == pytest.approx(micro, abs=1e-6), "scikit-learn's, over the six classes"
    row = re.search(r"(?m)^answered: unknown +([\d.]+) %$", done.output)
    assert row and float(row[1]) == pytest.approx(unknown, abs=0.06) and "absent" not in done.output
    assert scored["iou"]["unknown"] is None and scored["mean_iou_interval"][0] < scored["mean_iou"] < scored["mean_iou_interval"][1]


def test_a_network_that_the_data_set_lacks_is_refused_with_those_it_has():
    wanted = ["--dataset", "satellite", "--model", "fcn4s", "--split", "course", "--data", "gone", "--out", "x"]
    done = CliRunner().invoke(main, ["train", *wanted])
    assert done.exit_code == 2 and "'fcn4s' is none of fcn32s, fcn16s, fcn8s, nor FILE.ipynb:CLASS" in done.output


def test_networks_of_a_data_set_are_those_of_its_reference_and_not_another_ones():
    assert all(getattr(segkit.reference.satellite, name) is model_class(name.lower(), spec=SPEC) for name in SPEC.networks)


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


def test_the_fast_recipe_runs_without_a_word_on_stderr(trained, tmp_path):
    done = run("train", trained, "--split", "sample", "--out", tmp_path / "fast", "--recipe", "fast", "--epochs", "1")
    assert done.exit_code == 0 and done.stderr == "", done.stderr
