"""The other rule of unknown pixels is one word of the rubric: notebooks, checks and the exam's entries follow it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import findings

from autograder.course.assignment import open_assignment
from autograder.course.numbers import values_of
from autograder.course.rubric import RubricError
from autograder.exam.building import solved_notebooks, write_submission
from autograder.exam.entries import read_corpus
from segkit.checks.satellite.masks import iou_mistakes
from segkit.reference import satellite as reference

REPO = Path(__file__).parents[3]
RULES = {"left out": False, "wrong": True}


def year_of(folder: Path, rule: str) -> Path:
    """The assignment in a year with a rule: its source notebooks, found beside its rubric."""
    material, notebooks = folder / "autograder" / "assignments" / "satellite", folder / "notebooks" / "satellite"
    shutil.copytree(REPO / "autograder" / "assignments" / "satellite", material, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPO / "notebooks" / "satellite", notebooks)
    text = (material / "rubric.toml").read_text()
    assert text.count('\nunknown = "left out"\n') == 1
    (material / "rubric.toml").write_text(text.replace('\nunknown = "left out"\n', f'\nunknown = "{rule}"\n'))
    return material


def defined(notebooks: dict[str, Any], grade_id: str) -> dict[str, Any]:
    """What a cell of a year's solved notebooks defines."""
    (source,) = ("".join(cell["source"]) for notebook in notebooks.values() for cell in notebook["cells"]
                 if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)  # fmt: skip
    names: dict[str, Any] = {"np": np}
    exec(source, names)
    return names


@pytest.fixture(params=RULES)
def year(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, dict[str, Any]]:
    material = year_of(tmp_path, request.param)
    return request.param, material, solved_notebooks(tmp_path / "notebooks" / "satellite")


def test_solution_table_and_text_follow_the_rubric(year: tuple[str, Path, dict[str, Any]], tmp_path: Path) -> None:
    rule, _, notebooks = year
    rng = np.random.default_rng(0)
    pred, gt = rng.integers(0, 7, (2, 30, 40)), rng.integers(0, 7, (2, 30, 40))
    expected = reference.mean_iou(pred, gt, RULES[rule])
    assert abs(expected - reference.mean_iou(pred, gt, not RULES[rule])) > 0.005
    mean_iou, counting = defined(notebooks, "mean_iou")["mean_iou"], defined(notebooks, "show-counting")
    stored = np.where(gt == 6, 255, gt).astype(np.uint8)  # as the kit's datasets have unknown
    for truth in (gt, stored):
        accuracy, _, mean = counting["scores"](counting["confusion_matrix"](pred, truth, 7))
        assert mean_iou(pred, truth) == pytest.approx(expected) and mean == pytest.approx(expected)
        assert accuracy == pytest.approx((pred == gt)[gt < 6].mean())
    assert f"The rule of this course: **{rule}**." in str(notebooks["2_masks.ipynb"])
    assert findings(tmp_path / "asked", iou_mistakes, rule, seed=1, mean_iou=mean_iou) == []


def test_every_entry_of_the_exam_fits_the_years_solutions(year: tuple[str, Path, dict[str, Any]], tmp_path: Path) -> None:
    rule, material, notebooks = year
    entries = {entry.name: entry for entry in read_corpus(material).entries if "mean_iou" in entry.cells}
    assert len(entries) > 25
    for name, entry in entries.items():
        write_submission(entry, notebooks, tmp_path / "entries" / entry.kind / name)
    lost = {name: entry.lost.get("mean_iou", {}) for name, entry in entries.items() if entry.sources and not entry.overrides}
    assert not [name for name, parts in lost.items() if "unknown" in parts], "a whole source has one rule: it says in which year it is sat"


def test_a_third_rule_is_refused(tmp_path: Path) -> None:
    material = year_of(tmp_path, "sometimes")
    with pytest.raises(RubricError, match="expected unknown = 'left out' or 'wrong', found 'sometimes'"):
        values_of(open_assignment(material))
