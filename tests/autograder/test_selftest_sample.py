"""The part of the grader's own exam that the test suite sits: 32 entries over all kinds and cells."""

import tomllib
from pathlib import Path

import pytest

from autograder.course.assignment import open_assignment
from autograder.exam.complete import choose, sit_exam
from autograder.exam.entries import Entry

REPO = Path(__file__).resolve().parents[2]
SOURCE = REPO / "notebooks" / "fcn"
SAMPLE = tomllib.loads((Path(__file__).parent / "exam_sample.toml").read_text())
KINDS = [kind for kind in SAMPLE if kind not in ("assignment", "parity")]


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    found = choose(open_assignment("fcn").folder, SOURCE, KINDS)
    return [entry for entry in found if entry.name in SAMPLE[entry.kind]]


def test_the_sample_has_entries_of_every_kind_and_cell(entries):
    assert len(entries) == 32 == sum(len(SAMPLE[kind]) for kind in KINDS)
    assert {cell for entry in entries for cell in entry.cells} == {
        "read_label", "confusion_matrix", "scores", "copy_vgg16", "fcn32s", "fcn8s",
    }  # fmt: skip
    assert len(SAMPLE["parity"]) == 2 and set(SAMPLE["parity"]) <= {entry.name for entry in entries}


@pytest.mark.slow
def test_a_fixed_sample_of_the_exam_is_passed(entries):
    """But for those that test_selftest_parity.py sits."""
    outcomes = sit_exam([entry for entry in entries if entry.name not in SAMPLE["parity"]], "fcn", REPO)
    assert len(outcomes) == 30 and [f"{o.entry.name}: {o.problem}" for o in outcomes if o.problem] == []
