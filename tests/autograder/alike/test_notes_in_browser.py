"""The page of notes in a real browser."""

import json

import pytest
from copying import disguised
from honest import PEOPLE
from in_browser import CHROMIUM, assert_nothing_is_cut, clean
from looked_at import OWN_WORDS, graded

from autograder.alike.gaps import Gap, Gaps, gap_notes
from autograder.alike.notes import find_notes
from autograder.alike.page import write_notes
from autograder.course.assignment import open_assignment

pytest.importorskip("axe_playwright_python")

pytest_plugins = ["in_browser"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs the system's Chromium")]


def test_axe_finds_nothing_on_the_notes_and_nothing_is_cut_on_a_phone(tmp_path, visit):
    short = {where: PEOPLE["ben"][where] for where in ("1_data.ipynb, cell 18", "3_pretraining.ipynb, cell 8")}
    people = {"ada": {}, "ben": short, "cleo": {}, "eve": {where: disguised(text) for where, text in short.items()}}
    folder = graded(tmp_path, people, {**OWN_WORDS, "eve": OWN_WORDS["ada"]}, {"ada": "a" * 64, "eve": "a" * 64})
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/result.json")}
    notes, _ = find_notes(folder, results, open_assignment("fcn"))
    assert {note.kind for note in notes} == {"code", "answer", "checkpoint"}
    found = [Gap("ada", 0.93, 0.41), *(Gap(f"student{n}", 0.55 + 0.01 * n, 0.45) for n in range(8)), Gap("eve", 0.5, 0.52)]
    gaps = [
        Gaps("fcn8s.miou", "mean IoU", 12, tuple(found), {"ben": "No checkpoint."}),
        Gaps("pretraining.miou", "mean IoU", 12, (), {"ada": "None."}),
    ]
    page = visit(write_notes([*notes, *gap_notes(gaps)], folder, "fcn", ["One line."], gaps))
    assert page.locator("svg .far").count() == 2 and page.locator("svg g").count() == 10
    clean(page)
    page.set_viewport_size({"width": 375, "height": 800})
    assert_nothing_is_cut(page)
