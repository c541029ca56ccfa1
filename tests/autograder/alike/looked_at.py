"""A graded class with kept work, without grading anything."""

import json
from pathlib import Path

from fake_class import fake_result

__all__ = ["OWN_WORDS", "graded"]

OWN_WORDS = {
    "ada": "VGG-16 has seen a million photographs before, so its first layers already find edges and textures, which three hundred facades "
    "cannot teach. And the network starts from features of good size, so that gradients reach every layer from the first step on.",
    "ben": "Two reasons: few pictures, many weights. Without pretraining 134 million parameters overfit to the training facades; the loss "
    "goes down but mIoU on validation stays at 0.13. With it, only the score layer has to be learned from nothing.",
    "cleo": "First, low-level filters transfer between data sets, as one sees in the plots of notebook 3. Second, optimisation: from "
    "scratch the deep stack without normalisation hardly moves in five epochs, whereas the copied one does within one.",
    "dmitri": "Because ImageNet is big. The features are general, our data set is small, and training would need far more epochs than we "
    "ran to reach the same accuracy; the curves of both runs differ by a factor of three after the fifth epoch already.",
}


def graded(
    folder: Path, people: dict[str, dict[str, str]], answers: dict[str, str] = OWN_WORDS, hashes: dict[str, str] | None = None
) -> Path:
    """Write results, kept code and answers.

    Args:
        folder: The class.
        people: Name -> place of a cell -> its code.
        answers: Name -> what was written for question_1.
        hashes: Name -> hash of the checkpoint of fcn8s.
    """
    for name, cells in people.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "result.json").write_text(json.dumps(fake_result(name)))
        work = {"cells": [{"where": where, "text": text} for where, text in cells.items()], "checkpoints": {}}
        if name in (hashes or {}):
            work["checkpoints"] = {"fcn8s": {"sha256": hashes[name], "sketch": {}}}
        (folder / name / "work.json").write_text(json.dumps(work))
        texts = [{"where": "5_questions.ipynb, cell 3", "text": answers[name]}] if name in answers else []
        (folder / name / "answers.json").write_text(json.dumps([{"check": "question_1", "texts": texts, "note": ""}]))
    return folder
