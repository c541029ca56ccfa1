"""All notes of a graded class: found, shown side by side, and kept away from points and students."""

import csv
import json

import numpy as np
import pytest
from copying import disguised
from fake_class import fake_result, set_check
from honest import PEOPLE
from looked_at import OWN_WORDS, graded
from read_page import Page

from autograder.alike.kept import MOST_CELL, read_work
from autograder.alike.notes import find_notes
from autograder.alike.page import write_notes
from autograder.alike.sketches import packed
from autograder.course.assignment import open_assignment
from autograder.report import write_class_page

HOSTILE = '</pre></div><script>alert(1)</script><img src=x onerror="alert(2)">'


def results_of(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))}


def notes_of(folder, **changed):
    return find_notes(folder, results_of(folder) | changed, open_assignment("fcn"))


def kinds(notes):
    return [(note.kind, note.names) for note in notes]


def test_people_who_wrote_for_themselves_get_no_note(tmp_path):
    notes, lines = notes_of(graded(tmp_path, PEOPLE))
    assert notes == [] and lines == []


def test_code_answers_and_checkpoints_that_were_taken_are_noted(tmp_path):
    people = {**PEOPLE, "eve": {where: disguised(text) for where, text in PEOPLE["ben"].items()}}
    words = {**OWN_WORDS, "eve": OWN_WORDS["cleo"].replace("hardly moves", "barely moves")}
    hashes = {"ada": "a" * 64, "eve": "a" * 64, "ben": "b" * 64, "cleo": "c" * 64, "dmitri": "d" * 64}
    notes, _ = notes_of(graded(tmp_path, people, words, hashes))
    assert kinds(notes) == [("code", ("ben", "eve")), ("checkpoint", ("ada", "eve")), ("answer", ("cleo", "eve"))]
    one, other = notes[0].links[0].passages[0]
    assert "class FCN" in one.text and "class my_" in other.text and len(one.lines) > 15


def test_those_who_hang_together_get_one_note(tmp_path):
    copies = {f"copy{number}": PEOPLE["ben"] for number in range(3)}
    notes, _ = notes_of(graded(tmp_path, {**PEOPLE, **copies, **{f"other{n}": {} for n in range(6)}}, {}))
    assert kinds(notes) == [("code", ("ben", "copy0", "copy1", "copy2"))]
    assert len(notes[0].links) == 3


def test_what_most_of_the_class_has_is_no_note(tmp_path):
    """A helper from the lecture, a published checkpoint, an answer from the slides."""
    people = {f"student{number}": PEOPLE["ben"] for number in range(6)}
    words, hashes = dict.fromkeys(people, OWN_WORDS["ada"]), dict.fromkeys(people, "a" * 64)
    assert notes_of(graded(tmp_path, people, words, hashes))[0] == []


def test_networks_with_the_same_values_are_noted_in_a_class_of_two(tmp_path):
    folder, values = graded(tmp_path, {"ada": {}, "ben": {}, "cleo": {}}, {}), np.random.default_rng(0)
    taken, own = values.normal(size=9).astype(np.float32), values.normal(size=9).astype(np.float32)
    for name, one in (("ada", taken), ("ben", taken), ("cleo", own)):
        work = {"cells": [], "checkpoints": {"fcn8s": {"sha256": name * 16, "sketch": packed({"score.weight": one})}}}
        (folder / name / "work.json").write_text(json.dumps(work))
    notes, _ = notes_of(folder)
    assert kinds(notes) == [("checkpoint", ("ada", "ben"))] and "the same values" in notes[0].links[0].says


@pytest.mark.parametrize(("status", "noted"), [("not_earned", True), ("partial", False), ("could_not_grade", False), ("earned", False)])
def test_a_gate_of_a_network_that_fails_elsewhere_is_noted(tmp_path, status, noted):
    points = {"not_earned": 0, "partial": 2, "earned": 4}.get(status)
    result = set_check(fake_result("ada"), "fcn8s.shapes", points, "shape.size", {}, "wrong", status)
    notes, _ = notes_of(graded(tmp_path, {"ada": {}}), ada=result)
    assert kinds(notes) == ([("gate", ("ada",))] if noted else [])
    if noted:
        assert notes[0].says.startswith("The checkpoint earned 6 of 6 points in fcn8s.miou") and "fcn8s.shapes" in notes[0].says


def test_a_gate_that_earned_nothing_is_no_note(tmp_path):
    result = set_check(fake_result("ada"), "fcn8s.shapes", 0, "shape.size", {}, "wrong")
    set_check(result, "fcn8s.miou", 0, "miou.below", {}, "low")
    assert notes_of(graded(tmp_path, {"ada": {}}), ada=result)[0] == []


@pytest.mark.parametrize(("best", "fails", "noted"), [
    ("fcn8s", "fcn8s.shapes", True), ("fcn8s", "fcn16s.shapes", False), ("fcn16s", "fcn16s.shapes", True),
    ("fcn16s", "fcn8s.shapes", False), ("fcn16s", "fcn32s.shapes", False), ("", "fcn8s.shapes", False),
])  # fmt: skip
def test_of_several_networks_the_one_that_earned_the_gate_is_looked_at(tmp_path, best, fails, noted):
    opened, scores = open_assignment("satellite"), {"fcn16s": 0.6, "fcn8s": 0.6, "fcn32s": 0.5}
    measured = {"mean_iou": 0.7, **scores, best: 0.7} if best else None
    result = fake_result("ada", checks=[
        {"id": check.id, "points": check.points, "max_points": check.points, "status": "earned", "measured": None}
        for check in opened.rubric.checks.values() if not check.manual
    ])  # fmt: skip
    for check in result["checks"]:
        check |= {"improved.miou": {"measured": measured}, fails: {"points": 0, "status": "not_earned"}}.get(check["id"], {})
        if check["id"] == "fcn32s.miou":
            check |= {"points": 0, "status": "not_earned"}
    found = [note for note in find_notes(graded(tmp_path, {"ada": {}}), {"ada": result}, opened)[0] if note.kind == "gate"]
    assert [(note.what, fails in note.says) for note in found] == ([("improved.miou", True)] if noted else [])


def test_submissions_without_kept_code_are_named(tmp_path):
    folder = graded(tmp_path, {"ada": {}, "ben": {}, "cleo": {}})
    (folder / "ada" / "work.json").unlink()
    (folder / "ben" / "work.json").write_text('{"cells": [{"where": 1}], "checkpoints": []}')
    _, lines = notes_of(folder)
    assert len(lines) == 1 and "Of 2 submissions no code was kept" in lines[0] and "ada, ben" in lines[0]


@pytest.mark.parametrize("content", ["", "[" * 100_000, "[]", "{}", '{"cells": {}, "checkpoints": {"a": 1}}',
                                     '{"cells": 3, "checkpoints": {}}',
                                     '{"cells": [], "checkpoints": {"a": {"sha256": "", "sketch": {"b": "not base64"}}}}'])  # fmt: skip
def test_a_damaged_file_is_no_work(tmp_path, content):
    (tmp_path / "work.json").write_text(content)
    assert read_work(tmp_path) is None


# ------------------------------------------------------------------------------------------------------------------- pages
@pytest.fixture
def hostile(tmp_path):
    code = {where: f'{text}\nprint("{HOSTILE}")' for where, text in PEOPLE["ben"].items()}
    words = f"{OWN_WORDS['ada']} {HOSTILE}"
    folder = graded(tmp_path, {**PEOPLE, "=eve": code}, {**OWN_WORDS, "ada": words, "=eve": words})
    notes, lines = notes_of(folder)
    write_notes(notes, folder, HOSTILE, [*lines, HOSTILE])
    return folder


def test_nothing_that_a_student_wrote_becomes_a_tag(hostile):
    page = Page((hostile / "alike.html").read_text(encoding="utf-8"))
    assert page.text.count("<script>alert(1)</script>") > 3, "it is shown as text"
    assert page.all("script") == [] and page.all("img") == []
    assert all("onerror" not in attrs for _, attrs in page.tags)


def test_table_and_json_hold_every_note_and_no_formula(hostile):
    rows = list(csv.DictReader((hostile / "alike.csv").open(encoding="utf-8-sig")))
    assert {row["kind"] for row in rows} == {"code", "answer"}
    assert all(not row[name].startswith("=") for row in rows for name in row)
    notes = json.loads((hostile / "alike.json").read_text())["notes"]
    assert [note["names"] for note in notes] == [["=eve", "ben"], ["=eve", "ada"]]
    assert notes[0]["links"][0]["passages"][0][0]["lines"]


def test_the_class_page_links_the_notes_once_somebody_looked(hostile, tmp_path):
    results = list(results_of(hostile).values())
    assert "alike.html" in write_class_page(results, hostile).read_text()
    (hostile / "alike.json").unlink()
    assert "alike.html" not in write_class_page(results, hostile).read_text()


def test_a_passage_without_end_is_cut(tmp_path):
    lines = "\n".join(
        f"value_{number} = np.stack([a[{number}], b.sum(), c ** {number}], axis=b) + {number % 7} * 'x'" for number in range(400)
    )
    code = {"a.ipynb, cell 1": lines + "\ny = '" + "z" * 5000 + "'\n" + PEOPLE["ben"]["2_fcn32s.ipynb, cell 12"]}
    folder = graded(tmp_path, {"ada": PEOPLE["ada"], "cleo": PEOPLE["cleo"], "eve": code, "mallory": code}, {})
    notes, _ = notes_of(folder)
    page = write_notes(notes, folder, "fcn").read_text()
    assert "Cut here" in page and "z" * 400 not in page and len(page) < 120_000
    assert MOST_CELL < 100_000
