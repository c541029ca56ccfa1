"""The part of the grader's own exam that the test suite sits: 44 entries over all kinds and cells."""

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


def entries_of(kinds) -> list[Entry]:
    found = choose(open_assignment("fcn").folder, SOURCE, kinds)
    return [entry for entry in found if entry.name in SAMPLE[entry.kind]]


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return entries_of(KINDS)


def test_the_sample_has_entries_of_every_kind_and_cell(entries):
    assert len(entries) == 44 == sum(len(SAMPLE[kind]) for kind in KINDS)
    assert {cell for entry in entries for cell in entry.cells} == {
        "read_label", "confusion_matrix", "scores", "copy_vgg16", "fcn32s", "fcn8s",
    }  # fmt: skip
    assert len(SAMPLE["parity"]) == 6 and set(SAMPLE["parity"]) <= {entry.name for entry in entries}


@pytest.mark.slow
def test_a_fixed_sample_of_the_exam_is_passed(entries):
    outcomes = sit_exam(entries, "fcn", REPO)
    assert len(outcomes) == 44 and [f"{o.entry.name}: {o.problem}" for o in outcomes if o.problem] == []
