"""nbgrader's own gradebook: automatic scores go in, whatever a person gave stays, and a busy database loses nothing."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from gradebooks import dump, entry, grades, mark_by_hand
from nbgrader.api import Gradebook

from autograder.cli import main
from autograder.export import Entry, ExportError, Options
from autograder.export.gradebook import GradebookError, write_gradebook
from autograder.handins.roster import Roster, Student

REPOSITORY = Path(__file__).resolve().parents[3]


def test_scores_reach_the_cells_of_the_release_and_questions_wait(db):
    done = write_gradebook(db, [entry(double=2.5)], Options())
    assert grades(db) == {"double-check": (2.5, None, None, False), "last-value": (6.0, None, None, False),
                          "question_1": (None, None, None, True)}  # fmt: skip
    assert (done.changed, done.unchanged, done.new_students) == (2, 0, ["ada"])
    with Gradebook(f"sqlite:///{db}") as book:
        submission = book.find_submission("tiny", "ada")
        assert (submission.score, submission.max_score, submission.needs_manual_grade) == (8.5, 15.0, True)


def test_what_could_not_be_graded_waits_for_a_person_and_is_no_zero(db):
    write_gradebook(db, [entry(double=None, last=0)], Options())
    assert grades(db)["double-check"] == (None, None, None, True)
    assert grades(db)["last-value"] == (0.0, None, None, False), "a zero that was earned is a zero"


def test_a_second_export_changes_not_a_byte_of_the_contents(db):
    write_gradebook(db, [entry(double=2.5), entry("ben", double=None)], Options())
    mark_by_hand(db)
    before = dump(db)
    done = write_gradebook(db, [entry(double=2.5), entry("ben", double=None)], Options())
    assert dump(db) == before
    assert (done.changed, done.unchanged, done.new_students, done.again) == (0, 4, [], [])


def test_what_a_grader_gave_stays_when_the_automatic_score_changes(db):
    write_gradebook(db, [entry(double=2.5)], Options())
    mark_by_hand(db)
    comments = [line for line in dump(db) if '"comment"' in line]
    done = write_gradebook(db, [entry(double=4.0, last=3.0)], Options())
    assert grades(db)["double-check"] == (4.0, 3.5, None, True), "kept, and to be looked at again, as nbgrader does it"
    assert grades(db)["question_1"] == (None, 4.0, 1.0, False)
    assert grades(db)["last-value"] == (3.0, None, None, False)
    assert done.again == ["ada: double-check"] and "look at them again: ada: double-check" in str(done)
    assert [line for line in dump(db) if '"comment"' in line] == comments
    with Gradebook(f"sqlite:///{db}") as book:
        notebook = book.find_submission_notebook("1_first", "tiny", "ada")
        assert (notebook.late_submission_penalty, notebook.flagged) == (2.0, True)
        assert book.find_submission("tiny", "ada").score == 3.5 + 3.0 + (4.0 + 1.0)


def test_a_hand_given_score_for_what_could_not_be_graded_is_not_asked_for_again(db):
    write_gradebook(db, [entry(double=None)], Options())
    mark_by_hand(db)
    write_gradebook(db, [entry(double=None)], Options())
    assert grades(db)["double-check"] == (None, 3.5, None, False)


def test_students_the_gradebook_knows_keep_their_names_and_new_ones_get_the_rosters(db):
    with Gradebook(f"sqlite:///{db}") as book:
        book.add_student("ada", first_name="Augusta", email="old@x")
    roster = Roster((Student("ada", frozenset(), "Ada", "L", "a@x"), Student("ben", frozenset(), "Ben", "B", "b@x")))
    handed_in = {"ada": "2026-03-14T22:10:05+00:00"}
    done = write_gradebook(db, [entry(), entry("ben")], Options(roster=roster, handed_in=handed_in))
    assert done.new_students == ["ben"]
    with Gradebook(f"sqlite:///{db}") as book:
        assert (book.find_student("ada").first_name, book.find_student("ada").email) == ("Augusta", "old@x")
        assert (book.find_student("ben").last_name, book.find_student("ben").email) == ("B", "b@x")
        assert book.find_submission("tiny", "ada").timestamp.isoformat() == "2026-03-14T22:10:05"


def test_a_notebook_that_the_gradebook_forgot_gets_its_scores_again(db):
    write_gradebook(db, [entry()], Options())
    with Gradebook(f"sqlite:///{db}") as book:
        book.remove_submission_notebook("2_second", "tiny", "ada")
    assert "last-value" not in grades(db)
    write_gradebook(db, [entry(last=3.0)], Options())
    assert grades(db)["last-value"] == (3.0, None, None, False) and grades(db)["question_1"][3]


# --- what must be refused, with nothing written


def refused(db, entries, match, error=ExportError, **more):
    before = dump(db)
    with pytest.raises(error, match=match):
        write_gradebook(db, entries, Options(), **more)
    assert dump(db) == before


def test_an_assignment_that_the_gradebook_does_not_know_is_named_with_the_way_out(db):
    other = Entry("zoe", {**entry("zoe").result, "assignment": "fcn"})
    refused(db, [entry(), other], r"no assignment 'fcn' \(known: tiny\).*Nothing was written.*nbgrader generate_assignment fcn")
    assert grades(db) == {}, "the result before the faulty one was not written either"


def test_points_of_another_rubric_are_refused(db):
    found = entry()
    found.result["checks"][0]["max_points"] = 5.0
    refused(db, [found], r"the cell double-check is worth 4 points, the check double 5.*generate_assignment tiny")


def test_a_check_without_a_cell_is_refused(db):
    found = entry()
    found.result["checks"][1]["id"] = "first.value"
    refused(db, [entry("ben"), found], "ada: .*no cell for the check first.value")


def test_no_gradebook_and_no_gradebooks_file_say_what_to_do(tmp_path):
    with pytest.raises(ExportError, match="there is no gradebook. Run `nbgrader generate_assignment`"):
        write_gradebook(tmp_path / "none.db", [entry()], Options())
    assert not (tmp_path / "none.db").exists(), "nbgrader would make an empty one"
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").touch()
    with pytest.raises(ExportError, match="expected nbgrader's gradebook"):
        write_gradebook(tmp_path / "empty.db", [entry()], Options())
    (tmp_path / "text.db").write_text("name,score\n" * 100)
    with pytest.raises(GradebookError, match="not a database. Nothing was written"):
        write_gradebook(tmp_path / "text.db", [entry()], Options())


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_busy_gradebook_is_waited_for_as_long_as_said_and_then_named(db, lock):
    before = dump(db)
    with sqlite3.connect(db, isolation_level=None) as other:
        other.execute(lock)
        started = time.monotonic()
        with pytest.raises(GradebookError, match=r"is busy: .* for 0.5 s. Nothing was written.*--wait SECONDS"):
            write_gradebook(db, [entry()], Options(), wait=0.5)
        assert 0.4 < time.monotonic() - started < 5
        other.execute("ROLLBACK")
    assert dump(db) == before


def test_a_gradebook_that_becomes_free_in_time_is_written(db):
    other = sqlite3.connect(db, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("insert into student (id) values ('held')")
    threading.Timer(0.7, lambda: other.execute("COMMIT")).start()
    write_gradebook(db, [entry()], Options(), wait=20)
    assert grades(db)["double-check"][0] == 4.0
    with sqlite3.connect(db) as database:
        assert {name for (name,) in database.execute("select id from student")} == {"held", "ada"}


def test_nobody_sees_half_a_class(db, monkeypatch):
    """A fault in the middle, and a reader meanwhile: the old state, whole."""
    import autograder.export.gradebook as module

    before, real, seen = dump(db), module._submission, []

    def failing(gradebook, found, options, written):
        if found.folder == "ben":
            seen.append(dump(db))
            raise sqlite3.OperationalError("database or disk is full")
        real(gradebook, found, options, written)

    monkeypatch.setattr(module, "_submission", failing)
    with pytest.raises(GradebookError, match="database or disk is full. Nothing was written"):
        write_gradebook(db, [entry(), entry("ben")], Options())
    assert seen == [before] and dump(db) == before


@pytest.mark.slow
def test_two_exports_at_once_write_one_after_the_other(db):
    code = ("import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
            "from test_gradebook import entry; from autograder.export import Options\n"
            "from autograder.export.gradebook import write_gradebook\n"
            "write_gradebook(Path(sys.argv[1]), [entry(f's{n}') for n in range(30)], Options(), wait=60)")  # fmt: skip
    folders = [str(REPOSITORY), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    runs = [subprocess.Popen([sys.executable, "-c", code, str(db), *folders], stderr=subprocess.PIPE) for _ in range(2)]
    for run in runs:
        assert run.communicate(timeout=120)[1].decode()[-500:] == "" and run.returncode == 0
    with sqlite3.connect(db) as database:
        assert database.execute("select count(*) from submitted_assignment").fetchone() == (30,)
        assert database.execute("select count(*), sum(auto_score) from grade where auto_score is not null").fetchone() == (60, 300.0)


# --- the command


def test_the_command_writes_says_what_is_open_and_names_a_busy_gradebook(db, tmp_path):
    for found in (entry(), entry("ben", double=None)):
        (tmp_path / "graded" / found.folder).mkdir(parents=True)
        (tmp_path / "graded" / found.folder / "result.json").write_text(json.dumps(found.result))
    command = ["export", str(tmp_path / "graded"), "--to", "gradebook", "--db", str(db)]
    outcome = CliRunner().invoke(main, command)
    assert outcome.exit_code == 0, outcome.output
    assert "3 cells written, 1 were right already" in outcome.output and "new in the gradebook: ada, ben" in outcome.output
    assert "1 results hold something that could not be graded (ben)" in outcome.output
    with sqlite3.connect(db, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        outcome = CliRunner().invoke(main, [*command, "--wait", "0.2"])
    assert outcome.exit_code == 1 and "is busy" in outcome.output and "Traceback" not in outcome.output


def test_a_gradebook_is_no_output_file(db, tmp_path):
    (tmp_path / "graded" / "ada").mkdir(parents=True)
    (tmp_path / "graded" / "ada" / "result.json").write_text(json.dumps(entry().result))
    outcome = CliRunner().invoke(main, ["export", str(tmp_path / "graded"), "--to", "gradebook", "--out", str(tmp_path / "x.db")])
    assert outcome.exit_code == 2 and "name nbgrader's database with --db" in outcome.output
