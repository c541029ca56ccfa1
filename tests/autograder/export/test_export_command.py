"""``python -m autograder export`` on a folder of results: where files go, what is said, exit codes."""

import csv
import json

import pytest
from click.testing import CliRunner
from fake_class import fake_result, set_check

from autograder.cli import main
from autograder.report import write_summary


@pytest.fixture
def graded(tmp_path):
    """A graded class of three: perfect, one check not gradable, nothing gradable."""
    lost = set_check(fake_result("ben"), "fcn8s.miou", None, status="could_not_grade", message="no data")
    broken = fake_result("carl")
    for check in broken["checks"]:
        if not check["id"].startswith("question"):
            set_check(broken, check["id"], None, status="could_not_grade", message="broken zip")
    for result in (fake_result("ada"), lost, broken):
        (tmp_path / "graded" / result["submission"]).mkdir(parents=True)
        (tmp_path / "graded" / result["submission"] / "result.json").write_text(json.dumps(result))
    return tmp_path / "graded"


def export(*arguments, env=None):
    return CliRunner(env=env).invoke(main, ["export", *map(str, arguments)])


def test_files_go_below_exports_by_default_and_results_stay_as_they_are(graded):
    before = (graded / "ada" / "result.json").read_bytes()
    outcome = export(graded, "--to", "gradescope")
    assert json.loads((graded / "exports/gradescope/ada/results.json").read_text())["score"] == 70
    assert not (graded / "exports/gradescope/carl").exists()
    assert (graded / "ada" / "result.json").read_bytes() == before
    assert outcome.exit_code == 1, "carl could not be exported, which must be seen"
    assert "carl: not exported: no check of it has points" in outcome.output


def test_what_is_open_is_said(graded):
    outcome = export(graded, "--to", "junit")
    assert outcome.exit_code == 0
    assert "3 results hold something that waits for points by hand; these points are open, not exported as 0." in outcome.output
    assert "2 results hold something that could not be graded (ben, carl)" in outcome.output


def test_one_submission_can_go_into_one_file(graded, tmp_path):
    outcome = export(graded / "ada", "--to", "gradescope", "--out", tmp_path / "results" / "results.json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads((tmp_path / "results/results.json").read_text())["score"] == 70


def test_a_class_does_not_go_into_one_file(graded, tmp_path):
    outcome = export(graded, "--to", "junit", "--out", tmp_path / "all.xml")
    assert outcome.exit_code == 2
    assert "is one file, but 3 are to be written; give a folder" in outcome.output


def test_classroom50_outside_of_its_runner_needs_facts(graded, tmp_path):
    none = dict.fromkeys(("CLASSROOM", "ASSIGNMENT", "OWNER", "SUBMISSION_TAG", "COMMIT_URL", "RELEASE_URL"))
    outcome = export(graded / "ada", "--to", "classroom50", env=none)
    assert outcome.exit_code == 2 and "COMMIT_URL or --fact commit=..." in outcome.output
    pairs = ["classroom=c", "submission=submit/1", "commit=https://x/{owner}", "release=https://r"]
    options = [text for pair in pairs for text in ("--fact", pair)]
    outcome = export(graded / "ada", "--to", "classroom50", "--out", tmp_path / "result.json", *options, env=none)
    assert outcome.exit_code == 0, outcome.output
    content = json.loads((tmp_path / "result.json").read_text())
    assert (content["commit"], content["score"], content["max-score"]) == ("https://x/ada", 140, 140)


def test_a_result_with_open_checks_is_no_total_for_classroom50(graded, tmp_path):
    pairs = ["classroom=c", "submission=submit/1", "commit=https://x/{owner}", "release=https://r"]
    options = [text for pair in pairs for text in ("--fact", pair)]
    outcome = export(graded, "--to", "classroom50", *options)
    assert outcome.exit_code == 1
    assert "ben: not exported: 6 points are open: fcn8s.miou (6); grade it again, or give them by hand (`" in outcome.output
    assert [path.parent.name for path in (graded / "exports").rglob("result.json")] == ["ada"]
    outcome = export(graded, "--to", "classroom50", *options, *points(tmp_path, "name,fcn8s.miou,question_1,question_2\nben,3,9,15\n"))
    assert "ada: not exported: 30 points are open: question_1 (15), question_2 (15)" in outcome.output
    content = json.loads((graded / "exports/classroom50/ben/result.json").read_text())
    assert (content["score"], content["max-score"]) == (2 * 91, 200)


def test_a_fact_that_is_none_is_bad_usage(graded):
    outcome = export(graded, "--to", "classroom50", "--fact", "colour=red")
    assert outcome.exit_code == 2 and "expected NAME=VALUE with a name among classroom, assignment" in outcome.output


def test_an_invalid_result_is_named_and_the_others_are_exported(graded):
    (graded / "ada" / "result.json").write_text('{"schema": "segkit-result/1", "score": 100}')
    outcome = export(graded, "--to", "csv")
    assert outcome.exit_code == 1
    assert "ada/result.json: not exported" in outcome.output
    assert (graded / "exports/csv/grades.csv").read_text().count("\n") == 3


def test_a_folder_without_results_says_what_to_do(tmp_path):
    outcome = export(tmp_path, "--to", "csv")
    assert outcome.exit_code == 2
    assert "expected results (NAME/result.json), found none" in outcome.output


def test_times_of_a_bulk_download_reach_the_csv(graded):
    (graded / "handins.csv").write_text('"name","submitted"\n"ada","2026-03-14T22:10:05+00:00"\n')
    export(graded, "--to", "csv")
    assert '"fcn","","2026-03-14T22:10:05+00:00","ada"' in (graded / "exports/csv/grades.csv").read_text()


def points(tmp_path, text, encoding="utf-8"):
    (tmp_path / "points.csv").write_text(text, encoding=encoding)
    return "--manual", tmp_path / "points.csv"


def test_a_filled_in_summary_gives_the_points_by_hand(graded, tmp_path):
    """What is open can be filled in where `grade` left the cells empty; points that are there stay."""
    results = [json.loads((graded / name / "result.json").read_text()) for name in ("ada", "ben", "carl")]
    with write_summary(results, tmp_path).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, given in zip(rows, ("15", "0", ""), strict=True):
        row.update(question_1=given, question_2="7.5" if given else "")
    text = "\n".join([",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)])
    before = (graded / "ada" / "result.json").read_bytes()
    outcome = export(graded, "--to", "csv", *points(tmp_path, text))
    assert outcome.exit_code == 0, outcome.output
    assert "1 results hold something that waits for points by hand" in outcome.output
    with (graded / "exports/csv/grades.csv").open(encoding="utf-8-sig", newline="") as file:
        grades = {row["student_id"]: (row["score"], row["max_score"]) for row in csv.DictReader(file)}
    assert grades == {"ada": ("92.5", "100"), "ben": ("", "100"), "carl": ("", "100")}
    assert (graded / "ada" / "result.json").read_bytes() == before


@pytest.mark.parametrize(("row", "words"), [
    ({"read_label": "3"}, "ada, read_label: the result has 4 points, the table 3. To change points that are given, say why in a column"),
    ({"read_label": "99", "reason": "typed"}, "ada, read_label: expected points from 0 to 4 in steps of 0.5, found '99'"),
    ({"score": "71"}, "ada, score: expected 70, the sum of the checks, found '71'. Change the points of a check, not the sum"),
])  # fmt: skip
def test_a_changed_cell_of_an_automatic_check_is_never_ignored(graded, tmp_path, row, words):
    write_summary([json.loads((graded / "ada" / "result.json").read_text())], tmp_path)
    with (tmp_path / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        whole = {**next(csv.DictReader(file)), **row}
    outcome = export(graded / "ada", "--to", "csv", *points(tmp_path, ",".join(whole) + "\n" + ",".join(whole.values()) + "\n"))
    assert outcome.exit_code == 2 and words in " ".join(outcome.output.split()), outcome.output
    assert not (graded / "ada" / "exports").exists()


def test_a_changed_cell_with_a_reason_is_an_override(graded, tmp_path):
    table = points(tmp_path, "name,score,read_label,reason\nada,69,3,one value was guessed\n")
    outcome = export(graded / "ada", "--to", "gradescope", *table)
    assert outcome.exit_code == 0, outcome.output
    content = json.loads((graded / "ada/exports/gradescope/ada/results.json").read_text())
    test = next(test for test in content["tests"] if test["name"] == "read_label")
    assert (content["score"], test["score"], test["status"]) == (69, 3, "failed")
    assert test["output"].splitlines()[0] == "Changed by hand from 4 to 3 points: one value was guessed"


def test_points_by_hand_reach_every_system(graded, tmp_path):
    table = points(tmp_path, "name;question_1;question_2\r\nada;15;7,5\r\n;;\r\n", "cp1252")
    assert export(graded / "ada", "--to", "gradescope", *table).exit_code == 0
    tests = {test["name"]: test for test in json.loads((graded / "ada/exports/gradescope/ada/results.json").read_text())["tests"]}
    assert (tests["question_1"]["score"], tests["question_1"]["status"]) == (15, "passed")
    assert (tests["question_2"]["score"], tests["question_2"]["tags"]) == (7.5, ["partial"])


@pytest.mark.parametrize(("text", "words"), [
    ("name,question_1\nada,15.5\n", "ada, question_1: expected points from 0 to 15 in steps of 0.5, found '15.5'"),
    ("name,question_1\nada,-1\n", "found '-1'"), ("name,question_1\nada,nan\n", "found 'nan'"),
    ("name,question_1\nada,7.25\n", "found '7.25'"), ("name,question_1\nada,good\n", "found 'good'"),
    ("name,question_1\nadda,15\n", "there is no result of 'adda'"), ("name,question_1\nada,1\nada,2\n", "found 'ada' more than once"),
    ("name,score\nada,100\n", "expected a column for what has no points yet ('confusion_matrix', "),
    ("", "expected a header and rows below it"), ("student,question_1\nada,1\n", "expected a header with the column name"),
])  # fmt: skip
def test_impossible_points_by_hand_are_bad_usage_and_nothing_is_written(graded, tmp_path, text, words):
    outcome = export(graded, "--to", "csv", *points(tmp_path, text))
    assert outcome.exit_code == 2 and words in " ".join(outcome.output.split()), outcome.output
    assert not (graded / "exports").exists()


def test_what_could_not_be_graded_can_be_given_points_by_hand_too(graded, tmp_path):
    checks = {check["id"]: check for check in json.loads((graded / "carl" / "result.json").read_text())["checks"]}
    stuck = [name for name, check in checks.items() if check["status"] == "could_not_grade"]
    filled = [*stuck, "question_1", "question_2"]
    outcome = export(graded / "carl", "--to", "csv", *points(tmp_path, f"name,{','.join(filled)}\ncarl{',1' * len(filled)}\n"))
    assert outcome.exit_code == 0, outcome.output
    earned = sum(check["points"] or 0 for check in checks.values())
    assert stuck and f'"{earned + len(filled):g}","100"' in (graded / "carl/exports/csv/grades.csv").read_text()


@pytest.mark.parametrize("results", [("ada ", "ada"), ("ada ",)])
def test_names_with_blanks_around_them_are_not_taken_for_others(tmp_path, results):
    for number, name in enumerate(results):
        (tmp_path / "g" / str(number)).mkdir(parents=True)
        (tmp_path / "g" / str(number) / "result.json").write_text(json.dumps(fake_result(name)))
    outcome = export(tmp_path / "g", "--to", "csv", *points(tmp_path, "name,question_1,question_2\nada ,1,2\n"))
    assert outcome.exit_code == 0, outcome.output
    with (tmp_path / "g/exports/csv/grades.csv").open(encoding="utf-8-sig", newline="") as file:
        assert {row["student_id"]: row["score"] for row in csv.DictReader(file)} == {"ada ": "73"} | dict.fromkeys(results[1:], "")


def test_names_that_the_summary_had_to_quote_are_known(tmp_path):
    (tmp_path / "g" / "x").mkdir(parents=True)
    (tmp_path / "g" / "x" / "result.json").write_text(json.dumps(fake_result("=x")))
    name = write_summary([fake_result("=x")], tmp_path).read_text().splitlines()[1].partition(",")[0]
    outcome = export(tmp_path / "g", "--to", "csv", *points(tmp_path, f"name,question_1,question_2\n{name},1,2\n"))
    assert outcome.exit_code == 0 and '"73","100"' in (tmp_path / "g/exports/csv/grades.csv").read_text(), outcome.output


def test_points_by_hand_do_not_go_into_the_gradebook(graded, tmp_path):
    outcome = export(graded, "--to", "gradebook", *points(tmp_path, "name,question_1\nada,1\n"))
    assert outcome.exit_code == 2 and "formgrader" in outcome.output
