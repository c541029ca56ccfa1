"""What every assignment's exam has without writing it: forms of damage, and attacks at a function of its own."""

import re
from pathlib import Path

import pytest

from autograder.course.sources import find_sources
from autograder.exam import attacks, forms
from autograder.exam.attacks import Target
from autograder.exam.building import solved_notebooks, write_submission
from autograder.exam.entries import CorpusError, read_corpus

REPO = Path(__file__).resolve().parents[2]
TARGET = Target("a.ipynb", "area", "def area(mask, scale):", "    count =", "-1.0", {"value": 1.0}, ("length",))


@pytest.fixture(scope="module")
def shared():
    return {entry.name: entry for entry in attacks.shared(TARGET)}


def test_the_page_for_authors_counts_them(shared):
    page = (REPO / "docs" / "assignments.md").read_text(encoding="utf-8")
    assert f"{len(forms.FORMS)} forms of it" in page and f"So do {len(shared)} attacks" in page


@pytest.mark.parametrize("assignment", ["fcn", "satellite"])
def test_every_assignment_meets_them_all_and_they_fit_its_notebooks(assignment, shared, tmp_path):
    sources = find_sources(assignment, REPO)
    corpus = read_corpus(sources.material)
    met = {entry.name for kind in ("attacks", "damaged") for entry in corpus.of_kind(kind)}
    assert met >= {*shared, *(form.name for form in forms.FORMS)}
    notebooks = solved_notebooks(sources.notebooks)
    for number, entry in enumerate(entry for entry in corpus.of_kind("attacks") if entry.name in shared):
        write_submission(entry, notebooks, tmp_path / str(number) / "work")


def test_an_attack_names_the_function_it_is_made_at_and_nothing_of_another_assignment(shared):
    for entry in shared.values():
        assert set(entry.checks) <= {"area", "length"} and set(entry.lost) <= set(entry.checks), entry.name
        code = "\n".join([*entry.sources.values(), *(new for pairs in entry.changes.values() for _, new in pairs)])
        assert "{{" not in code and not re.search(r"\b(scores|hist|read_label|mean_iou)\b", code), entry.name
    assert shared["a-recursion"].changes == {"area": [["    count =", "    return area(mask, scale)\n    count ="]]}
    assert shared["c-patches-the-comparison"].lost == {"area": {"value": 1.0}}
    assert shared["d-notebook-is-a-link"].lost == {"length": "all", "area": "all"}
    assert shared["e-zip-slip"].checks == ("area",)


def test_a_function_that_begins_otherwise_is_told(shared, tmp_path):
    cell = {"cell_type": "code", "source": "def area(mask, scale):\n    return 1"}
    notebooks = {"a.ipynb": {"cells": [cell | {"metadata": {"nbgrader": {"grade_id": "area", "solution": True}}}]}}
    with pytest.raises(CorpusError, match=r"a-recursion: the cell area does not hold '    count ='"):
        write_submission(shared["a-recursion"], notebooks, tmp_path)
