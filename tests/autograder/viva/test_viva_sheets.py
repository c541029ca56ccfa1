"""Sheets of a class: kept while they hold, different for neighbours, honest where code does not run."""

import json
from dataclasses import replace

import pytest
from viva_forms import PLAIN, hand_in

from autograder.sandbox.client import GraderFault
from autograder.viva import choosing, sitting
from autograder.viva.sitting import Plan, asked_about, kept_sheet, measure_one, sheet_of


@pytest.fixture
def plan(tmp_path):
    return Plan(3, 0, 600.0, tmp_path / "viva")


@pytest.fixture
def ada(tmp_path):
    return hand_in(tmp_path / "ada", {})


def no_asking(*_):
    raise AssertionError("nothing was to be asked")


def test_a_sheet_has_a_question_of_shapes_one_of_values_one_of_learning(run, plan, ada):
    sheet = sheet_of(run, plan, ada, "ada", "Ada", ())
    assert [question["topic"] for question in sheet["questions"]] == ["shapes", "values", "learning"]
    assert len({question["defines"] for question in sheet["questions"]}) == 3
    assert sheet["student"] == "Ada" and sheet["note"] == ""


def test_a_sheet_is_kept_while_code_and_seed_are_the_same(run, plan, ada, monkeypatch):
    sheet = sheet_of(run, plan, ada, "ada", "Ada", ())
    assert kept_sheet(plan.folder, "ada") == sheet
    monkeypatch.setattr(sitting, "take_down", no_asking)
    assert sheet_of(run, plan, ada, "ada", "Ada", ()) == sheet
    for other in (replace(plan, seed=1), replace(plan, questions=2)):
        with pytest.raises(AssertionError, match="nothing was to be asked"):
            sheet_of(run, other, ada, "ada", "Ada", ())
    hand_in(ada, {"step": PLAIN["step"].replace("model.train()", "model.train(True)")})
    with pytest.raises(AssertionError, match="nothing was to be asked"):
        sheet_of(run, plan, ada, "ada", "Ada", ())


@pytest.mark.parametrize("content", ["{", "[]", '{"key": 1, "questions": []}', '{"key": "a"}'])
def test_a_damaged_sheet_is_made_again(run, plan, ada, content):
    sheet = sheet_of(run, plan, ada, "ada", "Ada", ())
    (plan.folder / "measured" / "ada.json").write_text(content)
    assert kept_sheet(plan.folder, "ada") is None
    assert sheet_of(run, plan, ada, "ada", "Ada", ())["questions"] == sheet["questions"]


def test_another_seed_asks_otherwise(run, plan, ada):
    sheets = [sheet_of(run, replace(plan, seed=seed), ada, "ada", "Ada", ()) for seed in (0, 1)]
    assert asked_about(sheets[0]) != asked_about(sheets[1])


def test_neighbours_with_the_same_code_are_asked_about_other_lines(run, plan, tmp_path):
    before = []
    for name in ("ada", "bob", "eve"):
        about = asked_about(sheet_of(run, plan, hand_in(tmp_path / name, {}), name, name, before))
        assert len(about) == 3 and {line for line, _ in about}.isdisjoint(line for line, _ in before)
        before = about


def test_neighbours_with_a_single_line_get_other_changes_of_it(run, plan, tmp_path):
    form = dict.fromkeys(("confusion", "net", "step"), "x = 1\n") | {
        "iou": "def mean_iou(pred, gt): return 4 * (pred == gt).mean() + 0.5\n"
    }
    plan, keys = replace(plan, questions=1), []
    for name in ("ada", "bob"):
        about = asked_about(sheet_of(run, plan, hand_in(tmp_path / name, form), name, name, keys[-1:]))
        keys += about
    assert len(keys) == 2 and keys[0][0] == keys[1][0] and keys[0][1] != keys[1][1]


@pytest.mark.parametrize(("form", "note"), [
    (dict.fromkeys(PLAIN, "raise RuntimeError('no')\n"), "None of the definitions runs"),
    (dict.fromkeys(PLAIN, "def broken(:\n"), "None of the definitions runs"),
    ({"confusion": "def confusion_matrix(a, b, n):\n    raise ValueError('no')\n"}, ""),
])  # fmt: skip
def test_code_that_cannot_run_gets_questions_on_what_can(run, plan, tmp_path, form, note):
    sheet = sheet_of(run, plan, hand_in(tmp_path / "ada", form), "ada", "Ada", ())
    assert sheet["note"].startswith(note) and bool(sheet["note"]) == bool(note)
    assert len(sheet["questions"]) == (0 if note else 3)
    assert "confusion_matrix" not in {question["defines"] for question in sheet["questions"]}


def test_a_submission_that_cannot_be_read_has_a_note(run, plan, tmp_path):
    (tmp_path / "ada").mkdir()
    sheet = sheet_of(run, plan, tmp_path / "ada", "ada", "Ada", ())
    assert sheet["questions"] == [] and "Nothing was handed in" in sheet["note"]


def test_a_search_that_time_cut_short_is_made_again(run, plan, ada):
    sheet = sheet_of(run, replace(plan, seconds=0.0), ada, "ada", "Ada", ())
    assert sheet["questions"] == [] and "0 s were over" in sheet["note"]
    assert len(sheet_of(run, replace(plan, seconds=600.0), ada, "ada", "Ada", ())["questions"]) == 3
    assert sheet_of(run, replace(plan, seconds=0.0), ada, "ada", "Ada", ())["key"] == ""


def test_a_fault_of_the_grader_keeps_nothing(run, plan, ada, monkeypatch):
    def fault(*_):
        raise GraderFault("no worker")

    monkeypatch.setattr(sitting, "take_down", fault)
    with pytest.raises(GraderFault):
        sheet_of(run, plan, ada, "ada", "Ada", ())
    assert kept_sheet(plan.folder, "ada") is None


def test_random_results_are_not_asked_about(run, plan, tmp_path):
    form = {"iou": "import random\ndef mean_iou(pred, labels):\n    return random.SystemRandom().random() + 3\n"}
    for seed in range(2):
        sheet = sheet_of(run, replace(plan, seed=seed, questions=5), hand_in(tmp_path / "ada", form), "ada", "Ada", ())
        assert "mean_iou" not in {question["defines"] for question in sheet["questions"]}


def test_a_change_that_does_nothing_is_asked_about_only_where_nothing_else_is_left(run, plan, tmp_path):
    form = dict.fromkeys(("confusion", "net", "step"), "x = 1\n")
    form |= {"iou": "import numpy as np\ndef mean_iou(pred, labels):\n    return np.mean(pred == labels, keepdims=False)\n"}
    sheet = sheet_of(run, replace(plan, questions=5), hand_in(tmp_path / "ada", form), "ada", "Ada", ())
    asks = [question["ask"] for question in sheet["questions"]]
    assert asks.count("matter") <= 1
    assert next(q for q in sheet["questions"] if q["ask"] == "matter")["answers"][0].startswith("No:")


def test_what_a_student_wrote_is_cut(run, plan, tmp_path):
    long = PLAIN["step"].replace("return loss.item()", f"return loss.item() + 0 * len('{'x' * 20_000}')")
    sheet = sheet_of(run, replace(plan, questions=8), hand_in(tmp_path / "ada", {"step": long}), "ada", "Ada", ())
    assert len(json.dumps([{**question, "pictures": []} for question in sheet["questions"]])) < 60_000


def test_one_answer_is_measured_again_by_its_name(run, plan, ada):
    question = sheet_of(run, plan, ada, "ada", "Ada", ())["questions"][2]
    choice, effects = measure_one(run, ada, "ada", question["name"])
    assert choice.change.after == question["after"]
    assert effects[0].words == question["answers"][0]
    for unknown in ("step-9999", "nothing-001", "step", "step-x"):
        assert measure_one(run, ada, "ada", unknown) is None


@pytest.mark.slow
def test_changed_code_runs_behind_the_walls_and_may_hang_or_die(small, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "SECONDS", 3.0)
    hangs = """import os
def mean_iou(pred, labels):
    n = 4
    while n > 0:
        n -= 1
    if n == 7:
        os._exit(3)
    return n + 0.5
"""
    submission = hand_in(tmp_path / "ada", dict.fromkeys(("confusion", "net", "step"), "x = 1\n") | {"iou": hangs})
    plan = Plan(6, 0, 600.0, tmp_path / "viva")
    with sitting.open_run(str(small), plan.folder, 0, None) as run:
        sheet = sheet_of(run, plan, submission, "ada", "Ada", ())
    answers = {question["after"]: question["answers"][0] for question in sheet["questions"]}
    assert "It gives no answer in time." in answers.values()
    assert "It ends the process." in answers.values()
