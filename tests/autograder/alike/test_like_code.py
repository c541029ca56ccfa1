"""Near-identical code: a disguised copy is noted, people who wrote for themselves are not."""

from functools import cache, partial
from pathlib import Path

import pytest
from copying import disguised, worked_over
from honest import PEOPLE

from autograder.alike.code import like_code
from autograder.alike.kept import Cell, Work
from autograder.alike.starter import starter_code
from autograder.course.assignment import open_assignment
from autograder.exam.building import solution_cell, solved_notebooks
from autograder.exam.entries import read_corpus

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def starter():
    texts, faults = starter_code(open_assignment("fcn"))
    assert faults == []
    return texts


def work(cells):
    return Work(tuple(Cell(where, text) for where, text in cells.items() if text.strip()))


def pairs(people, starter=()):
    return {(link.one, link.other): link for link in like_code({name: work(cells) for name, cells in people.items()}, starter)}


@cache
def corpus_people():
    """Every honest variant of the exam, and everything seen in public, as a student whose other cells are the course's own."""
    notebooks = solved_notebooks(REPOSITORY / "notebooks" / "fcn")
    people = {}
    for entry in read_corpus(open_assignment("fcn").folder).entries:
        if entry.kind not in ("variants", "real") or entry.build:
            continue
        cells = dict(entry.sources)
        for grade_id, changes in entry.changes.items():
            notebook, position = solution_cell(notebooks, grade_id)
            source = notebook["cells"][position]["source"]
            for old, new in changes:
                source = source.replace(old, new)
            cells[grade_id] = source
        people[f"{entry.kind} {entry.name}"] = cells
    return people


def test_people_who_wrote_for_themselves_are_not_alike(starter):
    assert pairs(PEOPLE, starter) == {}


def test_no_two_honest_variants_of_the_exam_are_alike(starter):
    people = corpus_people()
    assert len(people) > 140  # as the page of instructors says
    assert pairs({**people, **PEOPLE}, starter) == {}


@pytest.mark.parametrize("change", [disguised, worked_over, partial(worked_over, every=2)], ids=["renamed", "sixth line", "second line"])
@pytest.mark.parametrize("victim", ["ada", "ben", "cleo"])
def test_a_disguised_copy_is_noted_and_nobody_else(starter, victim, change):
    people = {**corpus_people(), **PEOPLE, "copier": {where: change(text) for where, text in PEOPLE[victim].items()}}
    found = pairs(people, starter)
    assert set(found) == {(victim, "copier")}
    assert found[victim, "copier"].share > 0.7
