"""``python -m autograder mark`` without its browser: an appeal, marks from a table or a gradebook, pages written again."""

import csv
import json
import shutil
import sqlite3

import pytest
from click.testing import CliRunner
from fake_class import fake_result, set_check
from marked_class import put_marks

from autograder.cli import main
from autograder.cli import mark as command
from autograder.marking import read_marks

APPEAL = ("--change", "ben", "fcn32s.crop", "4", "--reason", "The sheet said 18.")


@pytest.fixture
def graded(tmp_path):
    for name in ("ada", "ben"):
        result = fake_result(name)
        if name == "ben":
            set_check(result, "fcn32s.crop", 2, "crop.shift", {"dy": 1, "dx": 0}, "The output lies one row too low.")
        (tmp_path / "graded" / name).mkdir(parents=True)
        (tmp_path / "graded" / name / "result.json").write_text(json.dumps(result))
    return tmp_path / "graded"


def mark(*arguments, status=0):
    outcome = CliRunner().invoke(main, ["mark", *map(str, arguments)])
    assert outcome.exit_code == status, outcome.output
    return " ".join(outcome.output.split())


def summary(graded):
    with (graded / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_an_appeal_is_one_command_and_is_in_all_pages_and_exports(graded):
    assert "ben, fcn32s.crop: 4 points" in mark(graded, "--as", "Ada L", *APPEAL)
    assert summary(graded)["ben"]["fcn32s.crop"] == "4"
    assert "The sheet said 18." in (graded / "ben" / "report.html").read_text() + (graded / "index.html").read_text()
    book = read_marks(graded).books[0]
    assert (book.by, book.overrides["ben"]["fcn32s.crop"].was) == ("Ada L", 2)
    assert CliRunner().invoke(main, ["export", str(graded), "--to", "gradescope"]).exit_code == 0
    assert json.loads((graded / "exports/gradescope/ben/results.json").read_text())["score"] == 70


def test_a_second_change_replaces_the_first_and_remembers_the_judges_points(graded):
    mark(graded, "--as", "ada", *APPEAL)
    mark(graded, "--as", "bob", "--change", "ben", "fcn32s.crop", "3,5", "--reason", "half of it")
    assert summary(graded)["ben"]["fcn32s.crop"] == "3.5", "bob knew what ada had given"
    books = [book for book in read_marks(graded).books if book.overrides]
    assert {book.by: book.overrides["ben"]["fcn32s.crop"].was for book in books} == {"ada": 2, "bob": 2}


@pytest.mark.parametrize(("arguments", "words"), [
    (("--change", "ben", "fcn32s.crop", "4"), "--change NAME CHECK POINTS and --reason TEXT belong together"),
    (("--reason", "x"), "belong together"), (("--change", "bene", "scores", "4", "--reason", "x"), "there is no result of 'bene'"),
    (("--change", "ben", "score", "4", "--reason", "x"), "there is no check 'score'; there is: read_label"),
    (("--change", "ben", "scores", "4.5", "--reason", "x"), "expected points from 0 to 4 in steps of 0.5, found '4.5'"),
    (("--change", "ben", "scores", "all", "--reason", "x"), "found 'all'"),
    (("--as", "rubric", *APPEAL), "expected a name"), (("--assignment", "none", "--pages"), "There is no assignment 'none'"),
])  # fmt: skip
def test_bad_usage_is_named_and_nothing_is_written(graded, arguments, words):
    assert words in mark(graded, *arguments, status=2)
    assert not (graded / "index.html").exists() and not any(book.overrides for book in read_marks(graded).books)


def test_the_token_is_no_word_of_a_command_that_others_can_see(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    with command._opened(tmp_path / "ada.html", "http://127.0.0.1:1/#secret"):
        path = tmp_path / ".ada.html"
        assert "secret" in path.read_text() and path.stat().st_mode & 0o077 == 0
    assert opened == [path.as_uri()] and not path.exists()


def test_pages_follow_a_marks_toml_that_was_written_by_hand(graded):
    put_marks(graded, "[answers.ada.question_1]\npoints = 9\n", base=False)
    mark(graded, "--pages")
    assert (summary(graded)["ada"]["question_1"], summary(graded)["ada"]["score"]) == ("9", "79")
    put_marks(graded, "[answers.adda.question_1]\npoints = 9\n", base=False)
    assert "there is no result of 'adda'" in mark(graded, "--pages", status=1)
    assert summary(graded)["ada"]["question_1"] == "", "what is no longer given is no longer there"
    assert "Marked by hand" not in (graded / "ada" / "report.html").read_text()


def test_points_of_a_table_are_taken_once(graded, tmp_path):
    table = tmp_path / "COPY.csv"
    table.write_text("name,question_1,question_2,fcn32s.crop,reason\nada,9,,,\nben,15,3.5,4,an appeal\n")
    assert "4 taken from" in mark(graded, "--as", "ada", "--take", table)
    assert "0 taken from" in mark(graded, "--as", "ada", "--take", table)
    assert [summary(graded)["ben"][check] for check in ("question_1", "question_2", "fcn32s.crop", "score")] == ["15", "3.5", "4", "88.5"]
    assert read_marks(graded).overrides("ben", "fcn32s.crop")[0].what.reason == "an appeal"


def test_a_table_that_changes_an_override_leaves_the_judges_points_known(graded, tmp_path):
    mark(graded, "--as", "ada", *APPEAL)
    (tmp_path / "COPY.csv").write_text("name,question_1,fcn32s.crop,reason\nben,,3,less of it\n")
    mark(graded, "--as", "ada", "--take", tmp_path / "COPY.csv")
    override = read_marks(graded).overrides("ben", "fcn32s.crop")[0].what
    assert (override.points, override.was, override.reason) == (3, 2, "less of it")


def test_a_table_that_changes_points_without_a_reason_is_refused(graded, tmp_path):
    (tmp_path / "COPY.csv").write_text("name,question_1,fcn32s.crop\nben,15,4\n")
    assert "say why in a column 'reason'" in mark(graded, "--take", tmp_path / "COPY.csv", status=2)


def write_small_result(graded, name, double, status):
    """A result of the small course."""
    checks = [("double", double, 4.0, status), ("last.value", 6.0, 6.0, "earned"), ("question_1", None, 5.0, "needs_manual")]
    rest = {"cause": None, "measured": None, "message": "", "seconds": 0.1}
    checks = [{"id": check, "points": points, "max_points": top, "status": status, **rest} for check, points, top, status in checks]
    (graded / name).mkdir(parents=True)
    result = fake_result(name, assignment="tiny", checks=checks, score=double + 6, max_score=15.0, needs_manual=5.0)
    (graded / name / "result.json").write_text(json.dumps(result))


def test_nbgraders_gradebook_goes_both_ways(graded, tmp_path, small_gradebook):
    """What is given in formgrader is taken into the marks, and marks go back as manual scores."""
    shutil.rmtree(graded)
    write_small_result(graded, "ada", 4.0, "earned")
    write_small_result(graded, "ben", 2.0, "partial")
    db, assignment = small_gradebook
    export = ["export", str(graded), "--to", "gradebook", "--db", str(db)]
    assert CliRunner().invoke(main, export).exit_code == 0
    with sqlite3.connect(db) as database:  # a grader at work in formgrader
        cell = "(select id from base_cell where name = 'question_1')"
        database.execute(f"update grade set manual_score = 4.5, needs_manual_grade = 0 where cell_id in {cell}")
        database.execute(f"update comment set manual_comment = 'Well argued.' where cell_id in {cell}")
    database.close()
    assert "2 taken from" in mark(graded, "--as", "ada", "--assignment", assignment, "--take", db)
    taken = read_marks(graded).marks("ben", "question_1")[0].what
    assert (taken.points, taken.comment) == (4.5, "Well argued.")
    mark(graded, "--as", "ada", "--assignment", assignment, "--change", "ben", "double", "3", "--reason", "an appeal")
    outcome = CliRunner().invoke(main, export)
    assert outcome.exit_code == 0, outcome.output
    with sqlite3.connect(db) as database:
        query = "select base_cell.name, auto_score, manual_score from grade join base_cell on cell_id = base_cell.id"
        rows = set(database.execute(query))
    database.close()
    assert ("double-check", 2.0, 3.0) in rows and ("question_1", None, 4.5) in rows
