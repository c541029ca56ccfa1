"""``python -m segkit submit``: what is in the bundle, what the verification says, and the exit codes."""

import hashlib
import json
import os
import time
import zipfile

import nbformat
import pytest
import torch
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from safetensors.torch import load_file, save_file

from segkit import submit as module
from segkit.cli.submit import submit
from segkit.history import EpochRecord, History
from segkit.trying import Bench, run_trial, run_trials

FACTS = {
    "assignment": "fcn",
    "padding": 100,
    "crops": {"fcn32s": 19, "fcn16s": 27, "fcn8s": 31, "pool4": 5, "pool3": 9},
    "solution_cells": {"read_label": "read_label", "fcn32s": "FCN32s"},
    "notebooks": ["1_data.ipynb", "2_fcn32s.ipynb"],
    "checkpoints": ["fcn32s"],
    "checks": {"read_label": 4, "pretraining.miou": 6, "question_1": 15},
    "needs": {"read_label": ["read_label"], "pretraining.miou": ["fcn32s", "checkpoint fcn32s"], "question_1": ["answer question_1"]},
    "visible": {"pretraining.miou": "check_checkpoint(FCN32s, checkpoint, limits, untrained=0.06, read_label=read_label)"},
}
NETWORK = """
from torch import nn
class FCN32s(nn.Module):
    def __init__(self, n_class=12):
        super().__init__()
        self.score = nn.Conv2d(3, n_class, 1)
"""


def in_this_process(trials, definitions, folder, told):
    bench = Bench(definitions)
    for trial in trials:
        told(trial.check, run_trial(trial, bench))


def cell(source, grade_id, markdown=False):
    own = {"grade_id": grade_id, "grade": markdown, "solution": True, "locked": False, "task": False, "schema_version": 3}
    make = new_markdown_cell if markdown else new_code_cell
    return make(source, metadata={"nbgrader": own | ({"points": 15} if markdown else {})})


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A finished hand-in of two notebooks, one script, one checkpoint, in a folder with spaces in its name."""
    monkeypatch.setattr(module, "run_trials", in_this_process)  # another would import torch for each test
    folder = tmp_path / "my work"
    folder.mkdir()
    (folder / "assignment.json").write_text(json.dumps(FACTS))
    write(folder, "1_data.ipynb", cell("def read_label(path):\n    return 1", "read_label"))
    write(folder, "2_fcn32s.ipynb", cell(NETWORK, "fcn32s"), cell("Because of A and B.", "question_1", markdown=True))
    (folder / "helpers.py").write_text("x = 1\n")
    (folder / "checkpoints").mkdir()
    save(folder, {"score.weight": torch.full((12, 3, 1, 1), 0.1), "score.bias": torch.zeros(12)})
    return folder


def write(folder, name, *cells):
    nbformat.write(new_notebook(cells=list(cells)), folder / name)


def save(folder, state):
    save_file(state, folder / "checkpoints" / "fcn32s.safetensors")


def run(folder, *arguments, code=0):
    out = folder.parent / "submission.zip"
    done = CliRunner().invoke(submit, ["--folder", str(folder), "--out", str(out), *arguments])
    assert done.exit_code == code, done.output
    return out, done.output


def test_bundle_holds_the_students_files_and_half_precision_weights(work):
    out, text = run(work)
    with zipfile.ZipFile(out) as bundle:
        assert bundle.namelist() == ["1_data.ipynb", "2_fcn32s.ipynb", "checkpoints/fcn32s.safetensors", "helpers.py"]
        bundle.extract("checkpoints/fcn32s.safetensors", work.parent)
    state = load_file(work.parent / "checkpoints" / "fcn32s.safetensors")
    assert state["score.weight"].dtype == torch.float16
    assert torch.equal(state["score.weight"], torch.full((12, 3, 1, 1), 0.1).half())
    assert "Everything is there" in text and "[  ]  read_label         found, not tested\n" in text and "size        " in text


def test_files_of_the_release_and_environments_stay_out(work):
    for place in ("segkit", "data", "published", ".venv", "an env/lib"):
        (work / place).mkdir(parents=True)
        (work / place / "other.py").write_text("y = 1\n")
    (work / "an env" / "pyvenv.cfg").write_text("home = /usr\n")
    (work / "link.py").symlink_to("/etc/passwd")
    out, _ = run(work)
    assert "other.py" not in " ".join(zipfile.ZipFile(out).namelist()) and "link.py" not in zipfile.ZipFile(out).namelist()


def test_texts_that_code_reads_are_in_the_bundle(work):
    (work / "helpers.py").write_text("SETTINGS = open('settings.yaml').read()\n")
    for name in ("settings.yaml", "notes.txt"):
        (work / name).write_text("pad: 100\n")
    assert [name for name in zipfile.ZipFile(run(work)[0]).namelist() if not name.endswith((".py", ".ipynb"))] == [
        "checkpoints/fcn32s.safetensors", "settings.yaml"]  # fmt: skip


def test_receipt_names_time_and_hashes(work):
    out, text = run(work)
    receipt = out.with_name("submission-receipt.txt").read_text()
    assert hashlib.sha256(out.read_bytes()).hexdigest() in receipt
    assert hashlib.sha256((work / "1_data.ipynb").read_bytes()).hexdigest() + "  1_data.ipynb" in receipt
    assert time.strftime("%Y-%m-%dT") in receipt
    assert hashlib.sha256(out.read_bytes()).hexdigest() in text


def test_stub_is_named_and_exits_with_1_unless_allowed(work):
    stub = "def read_label(path):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    write(work, "1_data.ipynb", cell(stub, "read_label"))
    out, text = run(work, code=1)
    assert "[--]  read_label         read_label is not finished: 1_data.ipynb, cell 1" in text
    assert out.exists()
    run(work, "--allow-unfinished")


def test_unanswered_question_is_named(work):
    write(work, "2_fcn32s.ipynb", cell(NETWORK, "fcn32s"), cell("YOUR ANSWER HERE", "question_1", markdown=True))
    _, text = run(work, code=1)
    assert "question_1 is not answered: 2_fcn32s.ipynb" in text


def test_an_answer_counts_in_whichever_copy_of_its_cell_it_was_written(work):
    answers = [cell(text, "question_1", markdown=True) for text in ("Because of A and B.", "YOUR ANSWER HERE")]
    write(work, "2_fcn32s.ipynb", cell(NETWORK, "fcn32s"), *answers)
    assert "[  ]  question_1         found, not tested: a person reads it" in run(work)[1]


def test_missing_notebook_is_a_fault_even_if_unfinished_is_allowed(work):
    (work / "1_data.ipynb").unlink()
    _, text = run(work, "--allow-unfinished", code=1)
    assert "1_data.ipynb: expected this notebook, but it is not in the folder" in text
    assert "read_label was found nowhere" in text


def test_renamed_notebook_is_no_fault(work):
    (work / "1_data.ipynb").rename(work / "my data (final).ipynb")
    _, text = run(work)
    assert "[  ]  read_label         found" in text


def test_syntax_error_is_named_by_cell_and_line(work):
    write(work, "1_data.ipynb", new_markdown_cell("hello"), cell("def read_label(path):\n    return (1", "read_label"))
    _, text = run(work, "--allow-unfinished", code=1)
    assert "1_data.ipynb, cell 2, line 2: '(' was never closed" in text


def test_unreadable_notebook_is_a_fault(work):
    (work / "extra.ipynb").write_text('{"cells": [')
    _, text = run(work, code=1)
    assert "extra.ipynb: no readable notebook" in text


def test_damaged_checkpoint_is_a_fault_and_the_rest_is_bundled(work):
    file = work / "checkpoints" / "fcn32s.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    out, text = run(work, "--allow-unfinished", code=1)
    assert "damaged or incomplete" in text
    assert "1_data.ipynb" in zipfile.ZipFile(out).namelist()


def test_checkpoint_of_another_shape_is_named(work):
    save(work, {"score.weight": torch.ones(5, 3, 1, 1), "score.bias": torch.zeros(12)})
    _, text = run(work, "--allow-unfinished", code=1)
    assert "score.weight expected (12, 3, 1, 1), found (5, 3, 1, 1)" in text


def test_nan_weights_are_named(work):
    save(work, {"score.weight": torch.full((12, 3, 1, 1), float("nan")), "score.bias": torch.zeros(12)})
    _, text = run(work, "--allow-unfinished", code=1)
    assert "NaN or infinite weights" in text


def test_weights_too_large_for_half_precision_keep_theirs(work):
    save(work, {"score.weight": torch.full((12, 3, 1, 1), 1e6), "score.bias": torch.zeros(12)})
    out, text = run(work)
    assert "too large for half precision" in text
    with zipfile.ZipFile(out) as bundle:
        bundle.extract("checkpoints/fcn32s.safetensors", work.parent)
    assert load_file(work.parent / "checkpoints" / "fcn32s.safetensors")["score.weight"].dtype == torch.float32


def test_missing_checkpoint_is_unfinished_work(work):
    (work / "checkpoints" / "fcn32s.safetensors").unlink()
    _, text = run(work, code=1)
    assert "[--]  pretraining.miou   no checkpoint of fcn32s: train it and save it as checkpoints/fcn32s.safetensors" in text


def interrupted_run(work, epochs=(0, 1, 2)):
    """The files that a run leaves in ``runs/`` which was stopped before it could save a checkpoint; the checkpoint is not there."""
    run_folder = work / "runs" / "fcn32s"
    run_folder.mkdir(parents=True)
    (work / "checkpoints" / "fcn32s.safetensors").rename(run_folder / "best.safetensors")
    records = [EpochRecord(epoch, None, 1.0, 0.5, 0.1, [0.1], 1e-4, 1.0) for epoch in epochs]
    History({"epochs": 25}, records).save(run_folder / "history.json")
    return run_folder


def test_an_interrupted_run_is_named_where_its_checkpoint_is_missing(work):
    interrupted_run(work)
    _, text = run(work, code=1)
    assert "no checkpoint of fcn32s: train it and save it as checkpoints/fcn32s.safetensors. The run in runs/fcn32s stopped" in text
    assert "stopped after epoch 2 of 25" in text and "copy runs/fcn32s/best.safetensors to checkpoints/fcn32s.safetensors" in text


def test_what_quick_mode_trained_is_said_not_to_count(work):
    (work / "runs_quick" / "fcn32s").mkdir(parents=True)
    (work / "checkpoints" / "fcn32s.safetensors").rename(work / "runs_quick" / "fcn32s" / "best.safetensors")
    _, text = run(work, code=1)
    assert "as checkpoints/fcn32s.safetensors. What quick mode trained, in runs_quick/, does not count" in text
    assert "checkpoints/fcn32s.safetensors" not in zipfile.ZipFile(work.parent / "submission.zip").namelist()


@pytest.mark.parametrize("content", ["", "{}", '{"epochs": [', "[" * 100_000, json.dumps(History().to_json()), "\0"])
def test_an_interrupted_run_with_a_damaged_history_is_offered_all_the_same(work, content):
    (interrupted_run(work) / "history.json").write_text(content)
    _, text = run(work, code=1)
    assert "The run in runs/fcn32s stopped early: " in text


def test_weights_of_an_interrupted_run_that_cannot_be_read_are_not_offered(work):
    best = interrupted_run(work) / "best.safetensors"
    for content in (best.read_bytes()[:-40], b"", b"<html>"):
        best.write_bytes(content)
        _, text = run(work, code=1)
        assert "save it as checkpoints/fcn32s.safetensors\n" in text and "runs/" not in text
    best.unlink()
    best.mkdir()
    assert "runs/" not in run(work, code=1)[1]


def test_class_that_cannot_be_built_is_named(work):
    write(work, "2_fcn32s.ipynb", cell(NETWORK.replace("super().__init__()", "super().__init__()\n        1 / 0"), "fcn32s"))
    _, text = run(work, "--allow-unfinished", code=1)
    assert "[!!]  pretraining.miou   failed (worth 6 points): building it" in text
    assert "ZeroDivisionError: division by zero in 2_fcn32s.ipynb, cell 1, line 6: `1 / 0`" in text


def with_constructor(work, line):
    write(work, "2_fcn32s.ipynb", cell(NETWORK + f"        {line}\n", "fcn32s"), cell("Because of A and B.", "question_1", markdown=True))


@pytest.mark.parametrize(("line", "seconds", "words"), [
    ("while True: pass", 4, "no reply within 4 s, and the grader does not wait longer either: look in FCN32s for an endless loop"),
    ("import os; os._exit(3)", 60, "FCN32s ended the whole program (exit code 3)"),
    ("exit()", 60, "SystemExit"),
    ("print('a' * 99999)", 60, None),
])  # fmt: skip
@pytest.mark.slow
def test_a_class_that_loops_or_leaves_the_program_does_not_stop_the_hand_in(work, monkeypatch, line, seconds, words):
    monkeypatch.setattr(module, "run_trials", lambda *args: run_trials(*args, seconds=seconds))
    with_constructor(work, line)
    out, text = run(work, code=1 if words else 0)
    assert out.is_file()
    assert (words or "Everything is there") in text


def test_code_only_names_the_checkpoint_by_hash(work):
    out, _ = run(work, "--code-only", "--where", "group drive, folder ada")
    file = work / "checkpoints" / "fcn32s.safetensors"
    with zipfile.ZipFile(out) as bundle:
        assert "checkpoints/fcn32s.safetensors" not in bundle.namelist()
        named = json.loads(bundle.read("checkpoints.json"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert named == {"fcn32s": {"sha256": digest, "bytes": file.stat().st_size, "where": "group drive, folder ada"}}


def test_large_bundle_offers_code_only(work, monkeypatch):
    monkeypatch.setattr(module, "WARN_BYTES", 1000)
    _, text = run(work)
    assert "many upload forms refuse that" in text and "--code-only" in text


def test_published_model_is_noted(work):
    (work / "published").mkdir()
    (work / "published" / "fcn32s.safetensors").write_bytes((work / "checkpoints" / "fcn32s.safetensors").read_bytes())
    _, text = run(work)
    assert "is the published model, not one of your own training" in text


def test_newer_copy_of_a_notebook_counts_as_it_will_for_the_grader(work):
    """The times of the files go into the zip; without them the choice would be by chance."""
    stub = "def read_label(path):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    (work / "1_data.ipynb").rename(work / "data-Copy1.ipynb")
    write(work, "data-Copy2.ipynb", cell(stub, "read_label"))  # packed and unpacked last, but older
    os.utime(work / "data-Copy2.ipynb", (time.time() - 5000,) * 2)
    _, text = run(work)
    assert "data-Copy1.ipynb was read" in text


def test_full_disk_leaves_the_older_bundle(work, monkeypatch):
    out, _ = run(work)
    before = out.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfileobj", full)
    _, text = run(work, code=1)
    assert "no space left on the disk" in text and out.read_bytes() == before


def test_empty_folder_says_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    _, text = run(tmp_path / "empty", code=1)
    assert "expected your notebooks here, found none" in text
