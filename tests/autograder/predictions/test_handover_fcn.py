"""The assignment fcn in two places: the same points, causes, figures and messages as in one."""

import copy
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
    "right": {},
    "mistaken": {"fcn32s": ("19 : 19 + height", "20 : 20 + height"), "scores": ("table.sum(axis=1) + table.sum(axis=0) - intersection",
                 "table.sum(axis=1)"), "fcn8s": ("def forward(self", "def forward_(self"), "copy_vgg16": ("copy_", "fill_diagonal_")},
}  # fmt: skip


def settings(out, **more):
    return Settings("fcn", out, data="sample", secret=SECRET, device="cpu", **more)


@pytest.mark.slow
def test_the_split_gives_the_result_of_the_direct_run(tmp_path, monkeypatch):
    solved, paths = solved_notebooks(NOTEBOOKS), []
    for name, mistakes in MISTAKES.items():
        work = copy.deepcopy(solved)
        for grade_id, (old, new) in mistakes.items():
            notebook, position = solution_cell(work, grade_id)
            assert old in notebook["cells"][position]["source"]
            notebook["cells"][position]["source"] = notebook["cells"][position]["source"].replace(old, new)
        (tmp_path / name).mkdir()
        for file, notebook in work.items():
            (tmp_path / name / file).write_text(json.dumps(notebook))
        paths.append(tmp_path / name)
    torch.manual_seed(0)
    (tmp_path / "right" / "checkpoints").mkdir()
    save_checkpoint(tmp_path / "right" / "checkpoints" / "fcn32s.safetensors", FCN32s().state_dict(), dtype=torch.float16)
    said = []
    with Run.create(settings(tmp_path / "handed", labels=False)) as run:
        assert _predict_all(run, paths, said.append) == 0, said
    with Run.create(settings(tmp_path / "direct")) as run:
        direct = {path.name: grade_path(run, path, path.name) for path in paths}

    def refuse(*_):
        raise GraderFault("a worker was started")

    monkeypatch.setattr(RemoteSubject, "_start", refuse)
    with Run.create(settings(tmp_path / "split", predictions=tmp_path / "handed")) as run:
        split = {path.name: grade_path(run, path, path.name) for path in paths}
    for name in MISTAKES:
        assert told(split[name]) == told(direct[name])
        assert (tmp_path / "handed" / name / "answers.gz").stat().st_size < 20 * 2**20
    checks = {name: {check["id"]: check for check in result["checks"]} for name, result in split.items()}
    gate = checks["right"]["pretraining.miou"]
    assert gate["status"] == "not_earned" and 0 < gate["measured"]["mean_iou"] < 0.3, "measured, and not lost for lack of something"
    assert direct["right"]["score"] == 58 and direct["mistaken"]["score"] < 40
    assert checks["mistaken"]["fcn32s.crop"]["cause"] == "crop.shift"
