"""A worker that answers honestly, but for a value here and there: no check of ``satellite`` calls that the grader's fault.

What such a worker earns depends on what was spoilt. That a check is left open because of it would let anybody out of a zero.
"""

import atexit
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from autograder.judge.checking import run_checks
from autograder.judge.run import Run, Settings
from autograder.judge.student import Student
from autograder.sandbox.client import WorkerSettings
from autograder.sandbox.worker import by_name
from segkit.notebooks import Workbook
from segkit.notebooks.reading import Cell, Document
from segkit.reference import satellite as reference
from segkit.subject import LocalSubject, StudentError

from .answers import Liar, thing

__all__ = ["check_half_answers"]

CHECKS = ("read_mask", "mean_iou", "embed")


def spoilt(rng: random.Random, value: Any) -> Any:
    """A reply with something else in one place of it, or in its own."""
    if isinstance(value, (list, tuple)) and value and rng.random() > 0.25:
        number = rng.randrange(len(value))
        return [spoilt(rng, item) if place == number else item for place, item in enumerate(value)]
    if isinstance(value, dict) and value and rng.random() > 0.25:
        key = rng.choice(sorted(value, key=str))
        return {**value, key: spoilt(rng, value[key])}
    if isinstance(value, np.ndarray) and value.ndim and rng.random() > 0.4:
        with np.errstate(all="ignore"):
            return rng.choice([value[:1], value * np.nan, value.reshape(-1), value[None], value.astype(bool), value[:0]])
    return thing(rng)


@cache
def _run() -> Run:
    run = Run.create(Settings("satellite", Path("/nowhere"), data="sample", secret="lies", only=CHECKS))
    atexit.register(run.close)
    return run


def _lie(rng: random.Random, subject: LocalSubject) -> Callable[[str, dict[str, Any]], Any]:
    rate = rng.choice([0.02, 0.1, 0.3])

    def lie(do: str, arguments: dict[str, Any]) -> Any:
        if do == "define":
            return None
        try:
            found = by_name(getattr(subject, do))(**arguments)
        except StudentError:
            raise
        except Exception as error:  # what a worker calls a fault of the grader; of a student's code nobody believes it
            raise StudentError(f"{type(error).__name__}: {error}", "code.raises") from None
        return spoilt(rng, found) if rng.random() < rate else found

    return lie


def check_half_answers(rng: random.Random, folder: Path) -> None:
    """No check is left open, whatever the worker makes of a right answer."""
    run, subject = _run(), LocalSubject(folder)
    for name in CHECKS:
        subject.adopt(name, getattr(reference, name))
    cells = [Cell("lies.ipynb", number, f"def {name}(*given):\n    return given", None) for number, name in enumerate(CHECKS, start=1)]
    liar = Liar(_lie(rng, subject), WorkerSettings("none", run.folder, weight_index=run.weight_index))
    student = Student(Workbook([Document("lies.ipynb", cells)], run.rubric.defines), liar, ())
    context = SimpleNamespace(
        run=run, rubric=run.rubric, seeds=run.seeds, cache=run.cache, empty_ini=run.empty_ini, weights_file=run.folder / "weights.bin",
    )  # fmt: skip
    for verdict in run_checks(student, context, run.assignment.checks, run.wanted_checks):
        assert verdict.status != "could_not_grade", f"{verdict.id}: {verdict.message[:600]}"


check_half_answers.prepare = _run
