"""What ``segkit submit`` says of each check: passed, failed with the cause, or found and not tested; and of two copies."""

import os
import zipfile
from datetime import datetime

import pytest
from submit_work import COUNTS, FACTS, RECALL, SCORES, STUB, cell, hand_in, in_this_process, older, write, write_work

from segkit import submit as module
from segkit.notebooks import open_folder, take
from segkit.trying import Outcome, run_trials


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_trials", in_this_process)
    return write_work(tmp_path / "my work")


def test_a_check_that_passed_says_so_with_its_points(work):
    text = hand_in(work)
    assert "[ok]  scores             passed (worth 4 points)\n" in text
    assert "Everything is there; 2 of 3 checks were tested and passed." in text


def test_a_check_that_failed_says_why_and_the_bundle_is_written_all_the_same(work):
    write_work(work, RECALL)
    text = hand_in(work, code=1)
    assert "[!!]  scores             failed (worth 4 points): IoU of class 0 expected 0.5000, got 0.7500. Likely cause: " in text
    assert "1 fault(s): correct them" in text and "Everything is there" not in text
    assert "scores IoU of class 0" in work.with_name("submission-receipt.txt").read_text()
    assert "1_data.ipynb" in zipfile.ZipFile(work.with_name("submission.zip")).namelist()


@pytest.mark.parametrize("source", [SCORES, RECALL, "def scores(hist):\n    return 1 / 0"])
def test_fast_tests_nothing_and_says_so(work, monkeypatch, source):
    monkeypatch.setattr(module, "run_trials", None)  # not called
    write_work(work, source)
    text = hand_in(work, "--fast")
    assert "[  ]  scores             found, not tested\n" in text
    assert "Everything is there; nothing was tested (--fast)." in text


# ucbds-infra/otter-grader#474: "the last answer or two doesn't show up", for the notebook was not saved
def test_the_student_sees_when_the_newest_notebook_was_saved(work):
    older(work / "1_data.ipynb", 3 * 60 + 5)
    older(work / "5_questions.ipynb", 9 * 3600)
    assert "last saved  1_data.ipynb, 3 minutes ago: what you changed in a notebook since then is not in it" in hand_in(work, "--fast")
    os.utime(work / "1_data.ipynb", (1_772_000_000, 1_772_000_000))
    os.utime(work / "5_questions.ipynb", (1_772_000_000 - 60, 1_772_000_000 - 60))
    assert f"last saved  1_data.ipynb, {datetime.fromtimestamp(1_772_000_000):%Y-%m-%d %H:%M}: " in hand_in(work, "--fast")


def test_no_points_stand_beside_what_was_not_tested(work):
    write_work(work, STUB)
    texts = [hand_in(work, "--fast", code=1), hand_in(work, code=1)]
    for line in "\n".join(texts).splitlines():
        assert " points" not in line or line.startswith("[ok]  confusion_matrix"), line


def test_an_answer_is_found_and_left_to_a_person(work):
    assert "[  ]  question_1         found, not tested: a person reads it" in hand_in(work)


def test_a_check_without_a_visible_one_is_not_called_good(work):
    write_work(work, facts=FACTS | {"visible": {}})
    text = hand_in(work)
    assert "[ok]" not in text and "[  ]  scores             found, not tested" in text and "no check to run beforehand" in text


def test_untouched_work_is_not_told_that_there_are_no_checks(work):
    write_work(work, STUB)
    write(work, "1_data.ipynb", cell(STUB.replace("scores", "confusion_matrix"), "confusion_matrix"), cell(STUB, "scores"))
    text = hand_in(work, code=1)
    assert "0 of 3 checks were tested and passed" in text and "no check to run beforehand" not in text


def test_what_a_check_needs_is_what_assignment_json_says(work):
    """A course that adds a check of its own finds it in the list, without a change of the kit."""
    more = {"checks": {"speed": 2}, "needs": {"speed": ["scores", "confusion_matrix"]}, "visible": {}}
    write_work(work, STUB, FACTS | more)
    text = hand_in(work, code=1)
    assert "[--]  speed              scores is not finished: 1_data.ipynb, cell 2" in text and "question_1" not in text


def test_a_fault_that_comes_again_is_told_once(work):
    facts = FACTS | {"needs": FACTS["needs"] | {"again": ["scores"]}, "visible": FACTS["visible"] | {"again": "check_scores(scores)"}}
    write_work(work, RECALL, facts)
    assert "[!!]  again              failed: the same fault as scores" in hand_in(work, code=1)


def test_a_check_that_needs_something_that_is_not_there_is_not_tested(work):
    facts = FACTS | {"visible": FACTS["visible"] | {"confusion_matrix": "check_copy(confusion_matrix, scores)"}}
    write_work(work, STUB, facts)
    assert "found, not tested: it needs scores, which is not there yet" in hand_in(work, code=1)


def test_a_failure_that_another_definition_may_have_caused_is_nobodys(work):
    facts = FACTS | {
        "needs": {"scores": ["scores"], "confusion_matrix": ["confusion_matrix"]},
        "visible": {"scores": "check_scores(scores)", "confusion_matrix": "check_copy(confusion_matrix, scores)"},
    }
    write_work(work, RECALL, facts)
    assert "[  ]  confusion_matrix   found, not tested: scores failed first, and with it: " in hand_in(work, code=1)


def test_code_that_cannot_be_run_is_a_failure_with_its_cell(work):
    write_work(work, "import numppy\nLIMIT = numppy.inf\ndef scores(hist, limit=LIMIT):\n    return 1")
    printed = hand_in(work, code=1)
    assert "[!!]  scores             failed (worth 4 points): it cannot be run: 1_data.ipynb, cell 2, line 3:" in printed
    assert "1_data.ipynb, cell 2, line 1: import numppy" in printed and "numppy is not installed" in printed
    assert "line 2" not in printed, "what failed in between is no cause"


def test_ctrl_c_ends_the_checks_and_not_the_hand_in(work, monkeypatch):
    def stopped(trials, definitions, folder, told):
        told("confusion_matrix", Outcome("passed"))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_trials", stopped)
    text = hand_in(work)
    assert "[ok]  confusion_matrix" in text and "scores             found, not tested: stopped by Ctrl-C" in text
    assert work.with_name("submission-receipt.txt").is_file()


# ucbds-infra/otter-grader#244: tests that pass in the notebook and not on what is handed in
@pytest.mark.slow
def test_the_checks_see_only_what_is_handed_in(work, monkeypatch):
    """A table that lies beside the notebooks is there for the student, and not for the grader."""
    monkeypatch.setattr(module, "run_trials", run_trials)
    (work / "table.npy").write_bytes(b"")
    write_work(work, "TABLE = open('table.npy')" + SCORES.replace("(hist)", "(hist, t=TABLE)", 1))
    assert "scores             failed (worth 4 points): it cannot be run" in hand_in(work, code=1)
    (work / "helpers.py").write_text("ONE = 1\n")
    write_work(work, SCORES.replace("numpy as np", "numpy as np\nfrom helpers import ONE").replace("(union, 1)", "(union, ONE)"))
    assert "[ok]  scores" in hand_in(work)


# ------------------------------------------------------------------------------------------------------ two copies
COPY = "1_data-Copy1.ipynb"


def copied(work, scores, name=COPY):
    return write(work, name, cell(COUNTS, "confusion_matrix"), cell(scores, "scores"))


def chosen(work, capsys):
    """The notebook that take, submit and the grader choose."""
    from autograder.course.assignment import open_assignment
    from autograder.handins.submission import read_submission

    take("scores", work)
    taken = capsys.readouterr().out.split("from ")[1].split(",")[0]
    graded = read_submission(work, "ada", open_assignment("fcn").rubric).workbook.find("scores").cell.file
    return taken, graded


@pytest.mark.parametrize("seconds", [-5000, 0.7, 5000])
def test_take_submit_and_grader_choose_the_same_of_two_copies(work, capsys, seconds):
    older(copied(work, SCORES), seconds)
    older(work / "1_data.ipynb", 0)
    assert set(chosen(work, capsys)) == {"1_data.ipynb"}
    assert f"note: {COPY} has the same cells as 1_data.ipynb: 1_data.ipynb was read" in hand_in(work)


def test_take_and_grader_agree_on_copies_that_were_saved_within_two_seconds(work, capsys):
    """A zip keeps even seconds only: what is newer by one must not count here and lose there."""
    (work / "1_data.ipynb").rename(work / "a data.ipynb")
    copied(work, SCORES, "b data.ipynb")
    for name, when in (("a data.ipynb", 1_700_000_000), ("b data.ipynb", 1_700_000_001)):
        os.utime(work / name, (when, when))
    hand_in(work)
    with zipfile.ZipFile(work.with_name("submission.zip")) as bundle:
        assert len({bundle.getinfo(name).date_time for name in ("a data.ipynb", "b data.ipynb")}) == 1
    assert set(chosen(work, capsys)) == {"a data.ipynb"}
    assert open_folder(work).notes == ["b data.ipynb has the same cells as a data.ipynb: a data.ipynb was read"]


# ucbds-infra/otter-grader#722
@pytest.mark.parametrize("name", [COPY, "Copy of 1_data.ipynb", "1_data_ada.ipynb"])
def test_a_finished_copy_counts_before_the_untouched_original(work, capsys, name):
    (work / "1_data.ipynb").rename(work / name)
    older(work / name)
    copied(work, STUB, "1_data.ipynb")
    assert set(chosen(work, capsys)) == {name}
    assert "[ok]  scores" in hand_in(work)


def test_two_notebooks_that_hold_one_solution_are_a_fault_that_says_which_counts(work):
    copied(work, RECALL)
    text = hand_in(work, code=1)
    assert f"[!!]  scores is in two notebooks: the grader reads 1_data.ipynb, cell 2, not {COPY}, cell 2. Keep one: " in text
    assert "confusion_matrix is in two notebooks" not in text  # the same in both


def test_a_solution_pasted_into_a_later_notebook_is_a_fault_if_it_differs(work):
    for source, code in ((SCORES, 0), (RECALL, 1)):
        write(work, "5_questions.ipynb", cell(source, "pasted"), cell("Because of A and B.", "question_1", markdown=True))
        assert ("scores is in two notebooks: the grader reads 1_data.ipynb, cell 2, not 5_questions.ipynb, cell 1" in
                hand_in(work, code=code)) == bool(code)  # fmt: skip


@pytest.mark.parametrize("source", ["scores = [0.1, 0.2]", "class Net:\n    def scores(self, hist):\n        return 1", STUB])
def test_what_only_has_the_name_of_a_solution_is_no_second_version_of_it(work, source):
    write(work, "5_questions.ipynb", cell(source, "other"), cell("Because of A and B.", "question_1", markdown=True))
    assert "in two notebooks" not in hand_in(work)


def test_a_question_answered_in_two_copies_is_a_fault(work):
    write(work, "5_questions (1).ipynb", cell("Because of C.", "question_1", markdown=True))
    assert "question_1 is answered in two notebooks, 5_questions (1).ipynb and 5_questions.ipynb" in hand_in(work, code=1)
