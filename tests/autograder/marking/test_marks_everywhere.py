"""Reports, class page and every export show what people gave, and a regrade keeps it."""

import csv
import json
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from fake_class import CHECKS
from marked_class import graded_class, put_marks
from tiny import grade_class, settings, write_submission

from autograder.batch import grade_many
from autograder.cli import main
from autograder.marking import marked
from autograder.report import write_class_page, write_student_page, write_summary

MARKS = """
[answers.ada.question_1]
criteria = ["named", "clarity"]
comment = "Where is the evidence?"
[answers.ada.question_2]
points = 15
[answers.ben.question_1]
points = 0
[answers.ben.question_2]
points = 3.5
[overrides.ben."fcn32s.crop"]
points = 4
was = 2
reason = "The sheet said 18."
when = 2026-03-20T10:00:00Z
"""


@pytest.fixture
def graded(tmp_path):
    graded = graded_class(tmp_path / "graded")
    put_marks(graded, MARKS)
    return graded


def results(graded):
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted(graded.glob("*/result.json"))}
    return list(marked(graded, found).results.values())


def export(graded, *arguments):
    outcome = CliRunner().invoke(main, ["export", str(graded), "--to", *map(str, arguments)])
    assert outcome.exit_code == 0, outcome.output
    return graded / "exports" / arguments[0]


# ------------------------------------------------------------------------------------------------------------------ pages
def test_the_students_page_shows_points_criteria_and_comment_beside_the_answer(graded):
    page = write_student_page(results(graded)[0], graded / "ada", checks=CHECKS).read_text()
    by_hand = page[page.index("<h2>Graded by hand</h2>") :]
    assert "10 of 15" in by_hand and "8 of 8  two reasons" in by_hand and "Where is the evidence?" in by_hand
    assert "95</b> <span>of 100" in page and "points, 30 of them given by hand" in page
    assert "Nothing went wrong" in page, "what a person took off is no fault that a program found"


def test_the_students_page_shows_why_points_were_changed(graded):
    page = write_student_page(results(graded)[1], graded / "ben", checks=CHECKS).read_text()
    assert "Changed by hand from 2 to 4 points: The sheet said 18." in page


def test_the_class_page_counts_no_mark_as_a_cause_and_names_who_changed_points(graded):
    page = write_class_page(results(graded), graded, checks=CHECKS).read_text()
    assert ">4*</td>" in page and "changed from 2 by ada, 20 March 2026, 10:00 UTC: The sheet said 18." in page
    assert "What went wrong" not in page and "crop.shift" not in page
    assert "of the 100 points that were given so far" in page


def test_the_summary_has_the_points(graded):
    write_summary(results(graded), graded)
    rows = list(csv.DictReader((graded / "summary.csv").open(encoding="utf-8-sig")))
    assert [(row["score"], row["needs_manual"], row["question_1"], row["fcn32s.crop"], row["first_fault"]) for row in rows] == [
        ("95", "0", "10", "4", ""), ("73.5", "0", "0", "4", ""),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- exports
def test_gradescope_shows_points_comments_and_reasons(graded):
    content = json.loads((export(graded, "gradescope") / "ben" / "results.json").read_text())
    tests = {test["name"]: test for test in content["tests"]}
    assert content["score"] == 73.5
    assert (tests["fcn32s.crop"]["score"], tests["fcn32s.crop"]["status"]) == (4, "passed")
    assert "The sheet said 18." in tests["fcn32s.crop"]["output"]
    ada = json.loads((graded / "exports/gradescope/ada/results.json").read_text())
    assert "Where is the evidence?" in next(test["output"] for test in ada["tests"] if test["name"] == "question_1")


def test_classroom50_has_all_points(graded):
    facts = [text for pair in ("classroom=c", "submission=s/1", "commit=https://x", "release=https://r") for text in ("--fact", pair)]
    content = json.loads((export(graded, "classroom50", *facts) / "ben" / "result.json").read_text())
    tests = {test["test-name"]: test for test in content["tests"]}
    assert (content["score"], content["max-score"]) == (147, 200)
    assert tests["fcn32s.crop"] == {"test-name": "fcn32s.crop", "passed": True, "score": 8, "max-score": 8}
    assert tests["question_2"]["score"] == 7


def test_junit_has_points_and_words(graded):
    suite = ElementTree.parse(export(graded, "junit") / "ben" / "junit.xml").getroot()[0]
    cases = {case.get("name"): case for case in suite}
    properties = {name: {p.get("name"): p.get("value") for p in case[0]} for name, case in cases.items()}
    assert properties["fcn32s.crop"] == {"by_hand": "override", "points": "4", "max_points": "4"}
    assert properties["question_2"] == {"by_hand": "mark", "points": "3.5", "max_points": "15"}
    assert cases["question_2"].find("failure").get("message").startswith("3.5 of 15 points. Marked by hand")
    assert suite.get("skipped") == "0"


def test_the_csv_has_totals_and_comments(graded):
    with (export(graded, "csv") / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["student_id"], row["score"], row["max_score"], row["comment"]) for row in rows] == [
        ("ada", "95", "100", "question_1: Where is the evidence?"),
        ("ben", "73.5", "100", "fcn32s.crop: Changed by hand from 2 to 4 points: The sheet said 18."),
    ]


def test_one_who_is_not_marked_yet_gets_no_total_and_nobody_a_smaller_maximum(graded):
    put_marks(graded, MARKS.replace("[answers.ben.question_2]\npoints = 3.5\n", ""))
    with (export(graded, "csv") / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [(row["score"], row["max_score"]) for row in csv.DictReader(file)] == [("95", "100"), ("", "100")]


def test_overrides_alone_count_in_the_automatic_totals(graded):
    put_marks(graded, MARKS[MARKS.index("[overrides") :])
    with (export(graded, "csv") / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [(row["score"], row["max_score"]) for row in csv.DictReader(file)] == [("70", "70"), ("70", "70")]


def test_one_result_of_a_class_is_exported_with_its_marks(graded):
    assert json.loads((export(graded / "ben", "gradescope") / "ben" / "results.json").read_text())["score"] == 73.5


def test_marks_that_cannot_be_used_stop_an_export_before_it_writes(graded):
    (graded / "marks.toml").write_text('by = "cyd"\n[answers.ben.question_1]\npoints = 77\n')
    outcome = CliRunner().invoke(main, ["export", str(graded), "--to", "csv"])
    assert outcome.exit_code == 2 and "marks.toml, line 2: expected points from 0 to 15, found 77" in " ".join(outcome.output.split())
    (graded / "marks.toml").write_text('by = "cyd"\n[answers.bene.question_1]\npoints = 7\n')
    outcome = CliRunner().invoke(main, ["export", str(graded), "--to", "csv"])
    assert outcome.exit_code == 1 and "there is no result of 'bene'" in outcome.output


# --------------------------------------------------------------------------------------------------------------- an appeal
APPEAL = """by = "ada"
[overrides.bob.double]
points = 4
was = 0
reason = "The sheet asked for the half: appeal of 20 March."
when = 2026-03-20
[answers.bob.question]
points = 4.5
comment = "Nicely put."
"""


def test_an_appeal_survives_a_regrade_and_is_in_every_report_and_export(tmp_path):
    out = tmp_path / "graded"
    paths = [write_submission(tmp_path / "raw" / "bob", double="def double(x):\n    return x / 2")]
    before, _ = grade_class(paths, out)
    assert {c["id"]: c["points"] for c in before[0]["checks"]}["double"] == 0
    (out / "marks.toml").write_text(APPEAL)
    for regrade in (False, True):
        said: list[str] = []
        after = grade_many(paths, settings(out), 1, said.append, regrade=regrade)
        points = {c["id"]: c["points"] for c in after[0]["checks"]}
        assert (points["double"], points["question"]) == (4, 4.5), said
        page = (out / "bob" / "report.html").read_text()
        assert "appeal of 20 March" in page and "Nicely put." in page
        assert "appeal of 20 March" in (out / "index.html").read_text()
        assert {c["id"]: c["points"] for c in json.loads((out / "bob" / "result.json").read_text())["checks"]}["double"] == 0
    row = next(csv.DictReader((out / "summary.csv").open(encoding="utf-8-sig")))
    assert (row["double"], row["question"]) == ("4", "4.5")
    gradescope = json.loads((export(out, "gradescope") / "bob" / "results.json").read_text())["tests"]
    assert [(test["score"], "appeal of 20 March" in test["output"]) for test in gradescope if test["name"] == "double"] == [(4, True)]
    junit = ElementTree.parse(export(out, "junit") / "bob" / "junit.xml").getroot().iter("testcase")
    assert [p.get("value") for case in junit if case.get("name") == "double" for p in case.iter("property")] == ["override", "4", "4"]
    facts = [text for pair in ("classroom=c", "submission=s/1", "commit=https://x", "release=https://r") for text in ("--fact", pair)]
    classroom = json.loads((export(out, "classroom50", *facts) / "bob" / "result.json").read_text())["tests"]
    assert [test["score"] for test in classroom if test["test-name"] == "double"] == [8]
    assert "appeal of 20 March" in (export(out, "csv") / "grades.csv").read_text()


def test_marks_with_a_slip_stop_a_run_before_it_grades(tmp_path):
    (tmp_path / "graded").mkdir()
    (tmp_path / "graded" / "marks.toml").write_text("[answers]\n")
    write_submission(tmp_path / "raw" / "bob")
    outcome = CliRunner().invoke(main, ["grade", str(tmp_path / "raw" / "bob"), "--out", str(tmp_path / "graded"), "--data", "sample"])
    assert outcome.exit_code == 2 and "marks.toml, line 1: the file: by" in " ".join(outcome.output.split()), outcome.output
    assert not (tmp_path / "graded" / "bob").exists()
