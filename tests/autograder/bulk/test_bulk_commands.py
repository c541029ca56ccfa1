"""``grade`` and ``collect`` over a whole class: what is refused, what is said, and when the exit status is 0."""

import json
import zipfile

import golden
import pytest
from click.testing import CliRunner
from small_course import write_course
from tiny import TINY, write_submission

from autograder.cli import main
from autograder.handins.bulk.handins import looks_like_bulk


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return write_course(tmp_path_factory.mktemp("course"))


def invoke(*arguments):
    outcome = CliRunner().invoke(main, [str(argument) for argument in arguments], color=True)  # as a terminal gets it
    return outcome.exit_code, " ".join(outcome.output.split())


@pytest.mark.parametrize("command", ["grade", "collect"])
@pytest.mark.parametrize(("system", "files"), [
    ("Canvas", golden.CANVAS), ("Moodle", golden.MOODLE), ("Gradescope", golden.GRADESCOPE), ("Blackboard", golden.BLACKBOARD),
    ("Brightspace", golden.BRIGHTSPACE), ("nbgrader's exchange", golden.EXCHANGE), ("nbgrader's folder submitted", golden.SUBMITTED),
])  # fmt: skip
def test_a_bulk_download_that_is_given_as_a_submission_is_refused_with_the_option(tmp_path, export, command, system, files):
    code, text = invoke(command, export(files), "--out", tmp_path / "out", "--assignment", TINY)
    assert code == 2 and f"is a bulk download of {system} with several students" in text
    assert f"python -m autograder {command} --bulk {tmp_path / 'export.zip'} --roster roster.csv" in text


@pytest.mark.parametrize("files", [
    {"1_data.ipynb": "x", "fcn/2_fcn.ipynb": "y"}, {"doe_1_2_1_data.ipynb": "my files as Canvas gave them back"}, {},
    {"submission_1/a.ipynb": "my tries"}, {"submitted/ada/fcn/1_data.ipynb": "x", "submitted/ada/fcn/2_fcn.ipynb": "x"},
])  # fmt: skip
def test_one_students_zip_is_no_bulk_download_whatever_is_in_it(tmp_path, export, files):
    assert looks_like_bulk(export(files)) == ""
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04")
    assert looks_like_bulk(tmp_path / "broken.zip") == looks_like_bulk(tmp_path) == ""


@pytest.fixture
def download(course, tmp_path):
    """A Canvas download of two students, one of whom is not on the roster, and the command that collects it."""
    with zipfile.ZipFile(tmp_path / "canvas.zip", "w") as bundle:
        for path in course.notebook_paths():
            bundle.write(path, f"lovelaceada_4711_90001_{path.name}")
            bundle.write(path, f"guest_99_90002_{path.name}")
    (tmp_path / "roster.csv").write_text('Student;ID;SIS Login ID\n"Lovelace, Ada";4711;ada\n', encoding="utf-8-sig")
    return ("collect", "--bulk", tmp_path / "canvas.zip", "--roster", tmp_path / "roster.csv", "--out", tmp_path / "submitted",
            "--assignment", "tiny", "--root", course.root)  # fmt: skip


def test_a_bulk_download_is_collected_and_what_waits_for_a_decision_is_no_success(tmp_path, download):
    code, text = invoke(*download, "--due", "2026-03-14T23:59", "--zone", "Europe/Berlin")
    assert code == 1 and "due 2026-03-14 23:59:00 CET (Europe/Berlin)" in text
    assert "1 things wait for you: guest_99: 'guest_99' is not in the roster: decide by hand." in text
    assert sorted(path.name for path in (tmp_path / "submitted").glob("*/tiny")) == ["tiny", "tiny"]
    assert (tmp_path / "submitted" / "ada" / "tiny" / "1_first.ipynb").is_file()
    assert not [path for path in (tmp_path / "submitted").glob("*") if path.is_file()], "`grade submitted/*` would take it for a hand-in"
    for line in ("handin,student", "guest_99,-"):
        with (tmp_path / "decisions.csv").open("a") as file:
            file.write(f"{line}\n")
    code, text = invoke(*download, "--force")
    assert code == 0 and "nobody's, as" in text and "wait for you" not in text
    assert f"{tmp_path / 'submitted' / 'guest_99'}: of earlier downloads, and nobody here has these names" in text


@pytest.mark.parametrize(("change", "reason"), [
    (("--zone", "Berlin"), "expected a time zone such as Europe/Berlin"),
    (("--due", "soon"), "The due date: expected a time such as"),
    (("--penalty", "much"), "--penalty: expected a rule such as"),
])  # fmt: skip
def test_what_cannot_be_read_on_the_command_line_is_bad_usage(tmp_path, download, change, reason):
    code, text = invoke(*download, *change)
    assert code == 2 and reason in text and not (tmp_path / "submitted" / "ada").exists()


def test_letters_that_move_a_terminal_are_never_printed(tmp_path, export, course):
    first, second = course.notebook_paths()
    files = {f"evil\x1b[2Jname_5_assignsubmission_file_/{first.name}": first.read_text(), "\x1b[2J.txt": "z",
             f"Ada Lovelace_1_assignsubmission_file_/{second.name}": second.read_text()}  # fmt: skip
    (tmp_path / "roster.csv").write_text("login,name\nada,Ada Lovelace\n")
    arguments = ("--bulk", export(files), "--roster", tmp_path / "roster.csv", "--out", tmp_path / "out")
    code, text = invoke("collect", *arguments, "--assignment", "tiny", "--root", course.root)
    assert code == 1 and "2 things wait for you" in text and "\x1b" not in text


def test_a_roster_without_repositories_and_without_a_download_says_what_is_expected(tmp_path):
    (tmp_path / "roster.csv").write_text("id,name\nada,Ada\n")
    code, text = invoke("grade", "--roster", tmp_path / "roster.csv", "--out", tmp_path / "out", "--assignment", TINY)
    assert code == 2 and "expected a column repository with addresses or folders, or --bulk EXPORT.zip" in text


@pytest.mark.slow
def test_a_class_is_graded_from_folders_of_its_roster_and_lateness_costs_no_points_of_the_checks(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_COURSE_SECRET", "a secret of the tests only")
    write_submission(tmp_path / "ada's")
    (tmp_path / "roster.csv").write_text("login,repository\nada,ada's\nben,absent\n")
    (tmp_path / "late.csv").write_text("id,submitted\nada,2026-03-16 08:00\n")
    out = tmp_path / "out"
    code, text = invoke("grade", "--roster", tmp_path / "roster.csv", "--out", out, "--assignment", TINY, "--device", "cpu",
                        "--due", "2026-03-15", "--late", tmp_path / "late.csv", "--penalty", "10% per day")  # fmt: skip
    assert code == 1 and "1 graded" in text and "ben: absent: expected an address with https://" in text
    result = json.loads((out / "ada" / "result.json").read_text())
    head, row = (line.split(",") for line in (out / "summary.csv").read_text(encoding="utf-8-sig").splitlines())
    assert head[-2:] == ["late penalty", "points after penalty"]
    assert row[-2:] == [f"{result['max_score'] / 10:g}", f"{result['score'] - result['max_score'] / 10:g}"]
    assert "Handed in late by 8 h" in (out / "ada" / "report.html").read_text()
