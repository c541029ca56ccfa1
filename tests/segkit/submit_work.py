"""A small hand-in for the tests of ``segkit submit``: files as a student has them, and the command as it is called."""

import json
import time
from contextlib import chdir
from pathlib import Path

import nbformat
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from segkit import submit
from segkit.cli import main
from segkit.trying import Bench, run_trial

FACTS = {
    "assignment": "fcn",
    "padding": 100,
    "crops": {"fcn32s": 19, "fcn16s": 27, "fcn8s": 31, "pool4": 5, "pool3": 9},
    "solution_cells": {"confusion_matrix": "confusion_matrix", "scores": "scores"},
    "notebooks": ["1_data.ipynb", "5_questions.ipynb"],
    "checkpoints": [],
    "checks": {"confusion_matrix": 4, "scores": 4, "question_1": 15},
    "needs": {"confusion_matrix": ["confusion_matrix"], "scores": ["scores"], "question_1": ["answer question_1"]},
    "visible": {"confusion_matrix": "check_confusion_matrix(confusion_matrix)", "scores": "check_scores(scores)"},
}
COUNTS = """
import numpy as np
def confusion_matrix(pred, gt, n_class):
    pred, gt = np.asarray(pred).reshape(-1).astype(int), np.asarray(gt).reshape(-1).astype(int)
    known = (gt >= 0) & (gt < n_class)
    return np.bincount(gt[known] * n_class + pred[known], minlength=n_class**2).reshape(n_class, n_class)
"""
SCORES = """
import numpy as np
def scores(hist):
    hist = np.asarray(hist).astype(float)
    hit, union = hist.diagonal(), hist.sum(0) + hist.sum(1) - hist.diagonal()
    iou = np.where(union > 0, hit / np.maximum(union, 1), np.nan)
    return hit.sum() / hist.sum(), iou, np.nanmean(iou)
"""
RECALL = SCORES.replace("np.maximum(union, 1)", "np.maximum(hist.sum(1), 1)")
STUB = "def scores(hist):\n    # YOUR CODE HERE\n    raise NotImplementedError()"


def cell(source: str, grade_id: str, markdown: bool = False):
    own = {"grade_id": grade_id, "grade": markdown, "solution": True, "locked": False, "task": False, "schema_version": 3}
    make = new_markdown_cell if markdown else new_code_cell
    return make(source, metadata={"nbgrader": own | ({"points": 15} if markdown else {})})


def write(folder: Path, name: str, *cells) -> Path:
    nbformat.write(new_notebook(cells=list(cells)), folder / name)
    return folder / name


def write_work(folder: Path, scores: str = SCORES, facts: dict = FACTS) -> Path:
    """A finished hand-in of two notebooks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "assignment.json").write_text(json.dumps(facts))
    write(folder, "1_data.ipynb", cell(COUNTS, "confusion_matrix"), cell(scores, "scores"))
    write(folder, "5_questions.ipynb", cell("Because of A and B.", "question_1", markdown=True))
    return folder


def in_this_process(trials, definitions, folder, told):
    """In the place of ``run_trials``: no process, which would import torch for each test."""
    bench = Bench(definitions)
    with chdir(folder):
        for trial in trials:
            told(trial.check, run_trial(trial, bench))


def hand_in(folder: Path, *arguments: str, code: int = 0, out: Path | None = None) -> str:
    """Call the command, demand an exit code, return what it printed."""
    out = out or folder.parent / "submission.zip"
    done = CliRunner().invoke(main, ["submit", "--folder", str(folder), "--out", str(out), *arguments], prog_name="python -m segkit")
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def hold(monkeypatch, name: str, error: OSError) -> None:
    """Let a file be one that another program holds, or that lies in a cloud alone: it is there, and cannot be copied."""
    copy = submit.shutil.copyfile

    def copied(source, target):
        if Path(source).name == name:
            raise error
        copy(source, target)

    monkeypatch.setattr(submit.shutil, "copyfile", copied)


def older(path: Path, seconds: float = 5000.0) -> Path:
    import os

    os.utime(path, (time.time() - seconds,) * 2)
    return path
