"""Marks in results: points, messages, sums, and what is named where they do not fit."""

import json

import pytest
from marked_class import graded_class, put_marks

from autograder.marking import marked
from autograder.marking.applying import answer_hash
from autograder.report import read_answers
from autograder.report.labels import given_by_hand


def applied(graded, whole=True):
    return marked(graded, {path.parent.name: json.loads(path.read_text()) for path in graded.glob("*/result.json")}, whole=whole)


def check_of(found, name, check):
    return next(c for c in found.results[name]["checks"] if c["id"] == check)


def test_without_marks_results_are_what_they_were(tmp_path):
    graded = graded_class(tmp_path)
    found = applied(graded)
    assert found.results["ada"] == json.loads((graded / "ada" / "result.json").read_text())
    assert (found.faults, found.notices) == ([], [])


def test_criteria_add_up_and_the_student_reads_them(tmp_path):
    graded = graded_class(tmp_path)
    put_marks(graded, """
[criteria.question_1.wrong]
text = "names a network that is none"
points = -1
[criteria.question_1.idea]
text = "an idea of their own"
points = 1
[answers.ada.question_1]
criteria = ["named", "wrong"]
half = ["evidence"]
adjust = 0.5
reason = "the curve was right"
comment = "Good.\\nSee page 3."
""")  # fmt: skip
    found = applied(graded)
    check = check_of(found, "ada", "question_1")
    assert (check["points"], check["status"]) == (10, "partial")  # 8 - 1 + 2.5 + 0.5
    assert check["message"].splitlines() == [
        "Marked by hand: 10 of 15 points.", "8 of 8  two reasons", "2.5 of 5  evidence for each", "0 of 2  clear words",
        "-1  names a network that is none", "+0.5  the curve was right", "Good.", "See page 3.",
    ]  # fmt: skip
    result = found.results["ada"]
    assert (result["score"], result["needs_manual"]) == (80, 15)
    assert given_by_hand(check) and given_by_hand(check_of(found, "ada", "question_2"))


@pytest.mark.parametrize(("marks", "points"), [
    ('criteria = ["named", "evidence", "clarity"]\nadjust = 3\nreason = "x"', 15), ('criteria = []\nadjust = -2\nreason = "x"', 0),
    ('criteria = []\nhalf = ["named", "clarity"]', 5), ("criteria = []", 0), ("points = 0", 0), ("points = 15", 15),
])  # fmt: skip
def test_points_stay_between_nothing_and_all(tmp_path, marks, points):
    graded = graded_class(tmp_path)
    put_marks(graded, f"[answers.ada.question_1]\n{marks}\n")
    assert check_of(applied(graded), "ada", "question_1")["points"] == points


def test_an_override_has_its_reason_above_the_judges_words(tmp_path):
    graded = graded_class(tmp_path)
    put_marks(graded, '[overrides.ben."fcn32s.crop"]\npoints = 4\nwas = 2\nreason = "The sheet said 18."\nwhen = 2026-03-20\n')
    found = applied(graded)
    check = check_of(found, "ben", "fcn32s.crop")
    assert (check["points"], check["status"], check["cause"], check["hand"]["was"]) == (4, "earned", None, 2)
    assert check["message"].splitlines()[:2] == [
        "Changed by hand from 2 to 4 points: The sheet said 18.",
        "The output lies one row too low.",
    ]
    assert found.results["ben"]["score"] == 70 and found.notices == []


def test_an_override_stands_when_the_judges_points_change_but_somebody_is_told(tmp_path):
    graded = graded_class(tmp_path)
    put_marks(graded, '[overrides.ben."fcn32s.crop"]\npoints = 4\nwas = 3\nreason = "x"\nwhen = 2026-03-20\n')
    found = applied(graded)
    assert check_of(found, "ben", "fcn32s.crop")["points"] == 4
    assert found.notices == [
        "ben, fcn32s.crop: ada changed 3 to 4 points, which stand, but the judge gives 2 now; look at it again, and correct `was`"
    ]


def test_two_overrides_leave_the_judges_points(tmp_path):
    graded = graded_class(tmp_path)
    for name, points in (("ada", 4), ("bob", 3)):
        put_marks(graded, f'[overrides.ben."fcn32s.crop"]\npoints = {points}\nreason = "x"\nwhen = 2026-03-20\n', name)
    found = applied(graded)
    assert check_of(found, "ben", "fcn32s.crop")["points"] == 2 and "the judge's points stand" in found.notices[0]


@pytest.mark.parametrize(("text", "words"), [
    ("[answers.ada.question_1]\npoints = 15.5\n", "ada.toml, line 2: expected points from 0 to 15, found 15.5"),
    ("[answers.ada.question_9]\npoints = 1\n", "ada.toml, line 2: there is no check 'question_9'; there is: "),
    ("[answers.ada.scores]\npoints = 1\n", "ada.toml, line 2: this is an automatic check; put it under [overrides...], with a reason"),
    ('[overrides.ada.question_1]\npoints = 1\nreason = "x"\nwhen = 2026-03-20\n', "a person marks this; put it under [answers...]"),
    ('[answers.ada.question_1]\ncriteria = ["named", "nmaed"]\n',
     "there is no criterion 'nmaed' of question_1; there is: named, evidence, clarity"),
    ('[overrides.ada.scores]\npoints = 9\nreason = "x"\nwhen = 2026-03-20\n', "ada.toml, line 2: expected points from 0 to 4, found 9"),
])  # fmt: skip
def test_what_fits_no_result_is_named_and_changes_nothing(tmp_path, text, words):
    graded = graded_class(tmp_path)
    put_marks(graded, text)
    found = applied(graded)
    assert len(found.faults) == 1 and words in found.faults[0]
    assert found.results["ada"] == json.loads((graded / "ada" / "result.json").read_text())


def test_a_name_that_nobody_has_is_noticed(tmp_path):
    graded = graded_class(tmp_path)
    path = put_marks(graded, "[answers.adda.question_1]\npoints = 15\n")
    assert applied(graded).notices == [f"{path}, line 2: there is no result of 'adda'; correct the name or take it out"]
    assert applied(graded, whole=False).notices == []


def test_a_mark_of_an_answer_that_was_changed_is_open_again(tmp_path):
    graded = graded_class(tmp_path)
    own = answer_hash(read_answers(graded / "ada")["question_1"])
    put_marks(graded, f'[answers.ada.question_1]\npoints = 15\nof = "{own}"\n')
    assert check_of(applied(graded), "ada", "question_1")["points"] == 15
    answers = (graded / "ada" / "answers.json").read_text()
    (graded / "ada" / "answers.json").write_text(answers.replace("What ada wrote for question_1", "Something else"))
    found = applied(graded)
    assert check_of(found, "ada", "question_1")["points"] is None and "changed after ada had marked it" in found.notices[0]


def test_a_criterion_in_dispute_leaves_its_answers_open_and_no_others(tmp_path):
    graded = graded_class(tmp_path)
    edit = '[criteria.question_1.named]\ntext = "two reasons"\npoints = {}\nwhen = 2026-03-20T10:00:0{}Z\n'
    put_marks(
        graded, edit.format(6, 1) + '[answers.ada.question_1]\ncriteria = ["named"]\n[answers.ben.question_1]\ncriteria = ["clarity"]\n'
    )
    assert check_of(applied(graded), "ada", "question_1")["points"] == 6, "one person's change counts in every answer that used it"
    put_marks(graded, edit.format(7, 2), "bob")
    found = applied(graded)
    assert check_of(found, "ada", "question_1")["points"] is None and check_of(found, "ben", "question_1")["points"] == 2
    assert found.notices == ["ada, question_1: open, since persons gave one of its criteria different points; decide in the marking room"]
