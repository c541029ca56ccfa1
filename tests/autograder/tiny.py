"""Submissions to the tiny assignment, for the tests of the machinery."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from autograder.batch import grade_many
from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings
from autograder.sandbox.client import WorkerSettings
from segkit.checkpoints import save_checkpoint
from segkit.subject import LocalSubject, WeightFile

__all__ = ["DOUBLE", "NET", "SECRET", "TINY", "InProcess", "cell", "grade", "grade_class", "notebook", "open_run", "settings",
           "weights", "write_submission"]  # fmt: skip

SECRET = "a fixed secret"
TINY = Path(__file__).parent / "tiny_assignment"
DOUBLE = "import numpy as np\n\ndef double(values):\n    return np.asarray(values) * 2\n"
NET = """import torch
from torch import nn

class DotNet(nn.Module):
    def __init__(self, n_class=2):
        super().__init__()
        self.conv = nn.Conv2d(3, n_class, 1)

    def forward(self, x):
        return self.conv(x)
"""


def cell(source: str, grade_id: str | None = None, kind: str = "code") -> dict[str, Any]:
    """One cell of a notebook of format 4."""
    metadata = {"nbgrader": {"grade_id": grade_id, "solution": True, "schema_version": 3}} if grade_id else {}
    more = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "metadata": metadata, "source": source, **more}


def notebook(path: Path, *cells: dict[str, Any]) -> Path:
    """Write a notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def weights(good: bool = True) -> dict[str, torch.Tensor]:
    """Weights that find the dots exactly, or that call everything a dot."""
    weight = torch.zeros(2, 3, 1, 1)
    weight[1, 0] = 1.0 if good else 0.0
    return {"conv.weight": weight, "conv.bias": torch.tensor([0.5, 0.0]) if good else torch.tensor([0.0, 1.0])}


def write_submission(
    folder: Path, double: str | None = DOUBLE, net: str | None = NET, checkpoint: dict[str, torch.Tensor] | None = None
) -> Path:
    """Write a submission as a student hands it in; None leaves a notebook out."""
    folder.mkdir(parents=True, exist_ok=True)
    if double is not None:
        notebook(folder / "1_double.ipynb", cell("# Doubles", kind="markdown"), cell(double, "double"))
    if net is not None:
        notebook(folder / "2_dots.ipynb", cell(net, "net"))
    if checkpoint is not None:
        (folder / "checkpoints").mkdir(exist_ok=True)
        save_checkpoint(folder / "checkpoints" / "dots.safetensors", checkpoint)
    return folder


def settings(out: Path, **more: Any) -> Settings:
    """Settings of a run with a fixed secret."""
    return Settings(out=out, **({"assignment": str(TINY), "data": "drawn", "secret": SECRET, "device": "cpu", "seconds": 20.0} | more))


def open_run(out: Path, **more: Any) -> Run:
    """A run on the tiny assignment."""
    return Run.create(settings(out, **more))


def grade(run: Run, folder: Path, name: str = "alice") -> dict[str, Any]:
    """Grade one submission; returns its result with the checks by id."""
    result = grade_path(run, folder, name)
    return result | {"checks": {check["id"]: check for check in result["checks"]}}


class InProcess(LocalSubject):
    """Stands in for a worker where a test is about the judge's side: no process is started."""

    def __init__(self, settings: WorkerSettings, checkpoints: dict[str, Path] | None = None) -> None:
        weights = WeightFile(settings.weights, settings.weight_index) if settings.weights else None
        self._folder = tempfile.TemporaryDirectory()
        super().__init__(Path(self._folder.name), weights, checkpoints)
        self.settings, self.generation = settings, 0

    def close(self) -> None:
        """Stay: there is no worker to be ended."""

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def grade_class(paths: list[Path], out: Path, jobs: int = 1, **more: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Grade a class with all its pages; returns the results and what was said."""
    said: list[str] = []
    return grade_many(paths, settings(out, **more), jobs, said.append), said
