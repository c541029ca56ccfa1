"""``grade --bulk`` from the zip of a course system to the class page and the CSV."""

import csv
import json
import zipfile

import pytest
from click.testing import CliRunner
from tiny import TINY, write_submission

from autograder.cli import main


def test_grading_nothing_is_bad_usage(tmp_path):
    outcome = CliRunner().invoke(main, ["grade", "--out", str(tmp_path / "out")])
    assert outcome.exit_code == 2
    assert "either SUBMISSIONS (folders or zips), or --bulk EXPORT.zip" in outcome.output


def test_a_bulk_download_that_cannot_be_used_is_bad_usage(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        bundle.writestr("holiday.jpg", "x")
    outcome = CliRunner().invoke(main, ["grade", "--out", str(tmp_path / "out"), "--bulk", str(tmp_path / "x.zip")])
    assert outcome.exit_code == 2
    assert "expected a bulk download of" in outcome.output


@pytest.mark.slow
def test_a_moodle_download_is_graded_under_the_rosters_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_COURSE_SECRET", "a secret of the tests only")
    write_submission(tmp_path / "work")
    with zipfile.ZipFile(tmp_path / "moodle.zip", "w") as bundle:
        for file in (tmp_path / "work").rglob("*.ipynb"):
            bundle.write(file, f"Ada Lovelace_11_assignsubmission_file_/{file.name}")
            bundle.write(file, f"Jane Doe_12_assignsubmission_file_/{file.name}")
    (tmp_path / "roster.csv").write_text("student_id,first_name,last_name,email\nada,Ada,Lovelace,a@x\n")
    out = tmp_path / "out"
    options = ["--assignment", str(TINY), "--bulk", str(tmp_path / "moodle.zip"), "--roster", str(tmp_path / "roster.csv")]
    outcome = CliRunner().invoke(main, ["grade", "--out", str(out), "--device", "cpu", *options])
    assert outcome.exit_code == 1, outcome.output
    assert "2 graded" in outcome.output and "1 things wait for you" in outcome.output
    assert "Jane_Doe_12: 'Jane Doe_12' is not in the roster: decide by hand" in outcome.output
    assert json.loads((out / "ada" / "result.json").read_text())["submission"] == "ada"
    assert (out / "Jane_Doe_12" / "report.html").is_file()
    with (out / "handins.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["Jane_Doe_12", "ada"]
    outcome = CliRunner().invoke(main, ["export", str(out), "--to", "csv", "--roster", str(tmp_path / "roster.csv")])
    assert outcome.exit_code == 0, outcome.output
    rows = list(csv.DictReader((out / "exports/csv/grades.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [(row["student_id"], row["email"]) for row in rows] == [("Jane_Doe_12", ""), ("ada", "a@x")]
