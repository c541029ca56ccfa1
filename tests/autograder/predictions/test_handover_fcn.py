"""The assignment fcn in two places: the same points, causes, figures and messages as in one."""

import json
from pathlib import Path

import pytest
import torch
from test_handover import told

from autograder.cli.predict import _predict_all
from autograder.exam.building import solution_cell, solved_notebooks
from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings
from autograder.sandbox.client import GraderFault, RemoteSubject
from segkit.checkpoints import save_checkpoint
from segkit.reference import FCN32s

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks" / "fcn"
SECRET = "a secret of the tests only"
MISTAKES = {
    "fcn32s": ("19 : 19 + height", "20 : 20 + height"), "fcn8s": ("def forward(self", "def forward_(self"),
    "scores": ("table.sum(axis=1) + table.sum(axis=0) - intersection", "table.sum(axis=1)"),
}  # fmt: skip


def settings(out, **more):
    return Settings("fcn", out, data="sample", secret=SECRET, device="cpu", **more)


def hand_in(folder):
    """Solutions with a mistake in three cells, and an untrained FCN-32s."""
    work = solved_notebooks(NOTEBOOKS)
    for grade_id, (old, new) in MISTAKES.items():
        notebook, position = solution_cell(work, grade_id)
        cell = notebook["cells"][position]
        assert old in cell["source"]
        cell["source"] = cell["source"].replace(old, new)
    (folder / "checkpoints").mkdir(parents=True)
    for file, notebook in work.items():
        (folder / file).write_text(json.dumps(notebook))
    torch.manual_seed(0)
    save_checkpoint(folder / "checkpoints" / "fcn32s.safetensors", FCN32s().state_dict(), dtype=torch.float16)
    return folder


@pytest.mark.slow
def test_the_split_gives_the_result_of_the_direct_run(tmp_path, monkeypatch):
    path, said = hand_in(tmp_path / "ada"), []
    with Run.create(settings(tmp_path / "handed", labels=False)) as run:
        assert _predict_all(run, [path], said.append) == 0, said
    with Run.create(settings(tmp_path / "direct")) as run:
        direct = grade_path(run, path, path.name)

    def refuse(*_):
        raise GraderFault("a worker was started")

    monkeypatch.setattr(RemoteSubject, "_start", refuse)
    with Run.create(settings(tmp_path / "split", predictions=tmp_path / "handed")) as run:
        split = grade_path(run, path, path.name)
    assert told(split) == told(direct)
    assert (tmp_path / "handed" / "ada" / "answers.gz").stat().st_size < 20 * 2**20
    checks = {check["id"]: check for check in split["checks"]}
    gate = checks["pretraining.miou"]
    assert gate["status"] == "not_earned" and 0 < gate["measured"]["mean_iou"] < 0.3, "measured, and not lost for lack of something"
    assert {name for name, check in checks.items() if check["status"] == "earned"} == {
        "read_label", "confusion_matrix", "fcn32s.layers", "fcn32s.shapes", "fcn32s.forward", "pretraining.copy", "fcn8s.layers",
        "train_step",
    }  # fmt: skip
    assert checks["fcn32s.crop"]["cause"] == "crop.shift"
