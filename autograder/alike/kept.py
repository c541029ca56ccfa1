"""What is kept of a submission while it is graded, so that it can be held against the others: its code, and a sketch of its checkpoints."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autograder.alike.sketches import packed, sketch, unpacked
from autograder.handins.submission import Submission
from segkit.atomic import disk_is_full, replacing

__all__ = ["WORK", "Cell", "Work", "keep_work", "read_work"]

WORK = "work.json"
MOST_CELL, MOST_CODE = 60_000, 600_000  # characters; the course's own notebooks have 60 000 in all
MOST_FILE = 16 * 2**20  # bytes


@dataclass(frozen=True)
class Cell:
    """A piece of code: where it stood, for people, and its text."""

    where: str
    text: str


@dataclass(frozen=True)
class Work:
    """What was kept of one submission.

    Attributes:
        cells: Its code cells and scripts.
        hashes: Name of a checkpoint -> sha256 of its file.
        sketches: Name of a checkpoint -> tensor -> some of its values, float32; only of files that can be read without running them.
    """

    cells: tuple[Cell, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    sketches: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)


def keep_work(folder: Path, submission: Submission) -> None:
    """Write ``work.json``. Whatever goes wrong here costs a note, never a grade.

    Args:
        folder: The submission's result folder.
        submission: It is open.

    Raises:
        DiskFullError: There was no room.
    """
    try:
        content = {
            "cells": _cells(submission),
            "checkpoints": {
                name: {"sha256": checkpoint.sha256, "sketch": packed(sketch(checkpoint.path)) if checkpoint.path else {}}
                for name, checkpoint in submission.checkpoints.items()
            },
        }
        with replacing(folder / WORK) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")
    except Exception as error:
        if disk_is_full(error):
            raise


def _cells(submission: Submission) -> list[dict[str, str]]:
    cells, left = [], MOST_CODE
    for document in submission.workbook.documents:
        for cell in document.cells:
            text = cell.source[: min(MOST_CELL, left)]
            left -= len(text)
            if text.strip():
                cells.append({"where": cell.label, "text": text})
    return cells


def read_work(folder: Path) -> Work | None:
    """What ``folder/work.json`` holds; None where there is none, or it cannot be read."""
    try:
        path = folder / WORK
        if path.stat().st_size > MOST_FILE:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        return Work(
            tuple(Cell(str(cell["where"]), str(cell["text"])) for cell in content["cells"]),
            {str(name): str(one["sha256"]) for name, one in content["checkpoints"].items() if one["sha256"]},
            {str(name): unpacked(one["sketch"]) for name, one in content["checkpoints"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
