"""``segkit train`` on the sample, with a network small enough to be quick."""

import json

import pytest
from click.testing import CliRunner
from course_items import TINY

from segkit.cli import main


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
