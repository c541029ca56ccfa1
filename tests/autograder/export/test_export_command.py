"""``python -m autograder export`` on a folder of results: where files go, what is said, exit codes."""

import json

import pytest
from click.testing import CliRunner
from fake_class import fake_result, set_check

from autograder.cli import main


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
    assert "3 results hold something that waits for points by hand; it was left out, not exported as 0." in outcome.output
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
    none = {name: None for name in ("CLASSROOM", "ASSIGNMENT", "OWNER", "SUBMISSION_TAG", "COMMIT_URL", "RELEASE_URL")}
    outcome = export(graded / "ada", "--to", "classroom50", env=none)
    assert outcome.exit_code == 2 and "COMMIT_URL or --fact commit=..." in outcome.output
    pairs = ["classroom=c", "submission=submit/1", "commit=https://x/{owner}", "release=https://r"]
    options = [text for pair in pairs for text in ("--fact", pair)]
    outcome = export(graded / "ada", "--to", "classroom50", "--out", tmp_path / "result.json", *options, env=none)
    assert outcome.exit_code == 0, outcome.output
    content = json.loads((tmp_path / "result.json").read_text())
    assert (content["commit"], content["score"], content["max-score"]) == ("https://x/ada", 140, 140)


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
