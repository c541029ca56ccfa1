"""A class is graded side by side; whatever happens to one submission, the others' results are there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny import DOUBLE, SECRET, TINY, grade_class, weights, write_submission

from autograder.cli import main
from autograder.course.seeds import SECRET_VARIABLE
from autograder.report.result_schema import validate

REPO = Path(__file__).resolve().parents[2]
KILLER = """
import os
from autograder.judge.checking import check

@check("killer")
def test_killer(student, grading):
    if student.call("double", 1) == 666:
        os._exit(9)  # the judge itself
"""


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class with all kinds of luck, two judges side by side."""
    root = tmp_path_factory.mktemp("class")
    work = root / "submitted"
    paths = [
        write_submission(work / "perfect" / "tiny", checkpoint=weights()),
        write_submission(work / "wrong" / "tiny", "def double(values):\n    return values * 3"),
        write_submission(work / "=cmd <b>" / "tiny", DOUBLE, net=None),
    ]
    (work / "broken.zip").write_bytes(b"no zip")
    results, said = grade_class([*paths, work / "broken.zip"], root / "out", jobs=2)
    return {result["submission"]: result for result in results}, said, root / "out"


def test_results_come_in_the_order_that_was_asked_for_and_are_valid(graded):
    results, _, out = graded
    assert list(results) == ["perfect", "wrong", "=cmd <b>", "broken"]
    assert [r["score"] for r in results.values()] == [10, 4, 4, 0]
    for name, result in results.items():
        validate(result)
        assert json.loads((out / name / "result.json").read_text()) == result
        assert (out / name / "report.html").is_file()


@pytest.mark.slow
def test_a_judge_that_dies_takes_nobody_else_along(tmp_path):
    assignment, work = tmp_path / "assignment", tmp_path / "submitted"
    (assignment / "checks").mkdir(parents=True)
    for path in ("rubric.toml", "prepare.py", "checks/test_tiny.py"):
        (assignment / path).write_text((TINY / path).read_text())
    with (assignment / "rubric.toml").open("a") as rubric:
        rubric.write('\n[checks.killer]\ntitle = "Kills judges"\npoints = 1\n')
    (assignment / "checks" / "test_killer.py").write_text(KILLER)
    answers = {"a": "values * 2", "b": "666", "c": "values * 2", "d": "values * 3"}
    paths = [write_submission(work / name, f"def double(values):\n    return {answer}") for name, answer in answers.items()]
    results, said = grade_class(paths, tmp_path / "out", jobs=2, assignment=str(assignment))
    assert [r["score"] for r in results] == [8, 0, 8, 5]
    assert {c["status"] for c in results[1]["checks"]} == {"could_not_grade", "needs_manual"}
    assert [line for line in said if "died" in line] == [line for line in said if line.startswith("b:")]
    for name, result in zip(answers, results, strict=True):
        assert json.loads((tmp_path / "out" / name / "result.json").read_text()) == result


def test_the_class_has_its_table_and_its_page(graded):
    results, _, out = graded
    lines = (out / "summary.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("name,score,max_score,needs_manual,first_fault,double,net.forward,net.accuracy,question")
    assert len(lines) == 1 + len(results) and not any(line.startswith("=") for line in lines)
    page = (out / "index.html").read_text()
    assert "&lt;b&gt;" in page and "=cmd <b>" not in page
    assert not list(out.glob("*/*.part")) and not list(out.rglob("*.tmp"))


def grade(*arguments: object, **environment: str):
    return CliRunner().invoke(main, ["grade", *map(str, arguments)], env={SECRET_VARIABLE: SECRET, **environment})


@pytest.mark.parametrize(("arguments", "words"), [
    ([], "Missing"), (["{nobody}", "--out", "{out}"], "no such submission"), (["{alice}"], "--out"),
    (["{alice}", "--out", "{out}", "--assignment", "fnc"], "no assignment 'fnc'"),
    (["{alice}", "--out", "{out}", "--assignment", TINY, "--only", "dobule"], "no check 'dobule'"),
    (["{alice}", "--out", "{out}", "--assignment", TINY, "--jobs", "0"], "--jobs"),
    (["{alice}", "--out", "{out}", "--assignment", TINY, "--require-isolation", "a wall"], "a wall"),
])  # fmt: skip
def test_bad_usage_is_exit_2_with_the_reason(tmp_path, arguments, words):
    places = {"alice": write_submission(tmp_path / "alice"), "nobody": tmp_path / "nobody", "out": tmp_path / "out"}
    found = grade(*[str(argument).format(**places) for argument in arguments])
    assert found.exit_code == 2 and words in found.output
    assert "Traceback" not in found.output


def test_a_short_secret_is_exit_2(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".segkit-secret").write_text("x")
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    write_submission(tmp_path / "alice")
    found = CliRunner().invoke(main, ["grade", "alice", "--out", "out", "--assignment", str(TINY)])
    assert found.exit_code == 2 and "Remove the file" in found.output


def test_who_regrades_one_is_told_that_the_page_holds_that_one_alone(tmp_path):
    """As after an appeal: summary and class page are those of the run, and the class seems to be gone."""
    paths = [write_submission(tmp_path / name) for name in ("alice", "bob")]
    options = ["--out", tmp_path / "out", "--assignment", TINY, "--only", "double"]
    assert "earlier runs" not in grade(*paths, *options).output
    said = " ".join(grade(paths[0], *options, "--regrade").output.split())
    command = f"python -m autograder mark {tmp_path / 'out'} --pages"
    assert f"1 results of earlier runs lie there too (bob), and are not on this page: `{command}`" in said
    again = CliRunner().invoke(main, ["mark", str(tmp_path / "out"), "--pages", "--assignment", str(TINY)])
    assert again.exit_code == 0, again.output
    rows = (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8-sig").splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["alice", "bob"]


def test_an_output_folder_that_cannot_be_made_is_said_without_a_traceback(tmp_path):
    write_submission(tmp_path / "alice")
    (tmp_path / "file").write_text("x")
    found = grade(tmp_path / "alice", "--out", tmp_path / "file" / "out", "--assignment", TINY)
    assert found.exit_code == 1 and "file" in found.output and "Traceback" not in found.output


@pytest.mark.parametrize(("data", "code"), [pytest.param("drawn", 0, marks=pytest.mark.slow), (None, 1)])
def test_exit_0_whatever_the_points_and_1_if_something_could_not_be_graded(tmp_path, data, code):
    folder = write_submission(tmp_path / "alice", "def double(values):\n    return 0", checkpoint=weights(good=False))
    options = ["--data", data] if data else []
    found = grade(folder, "--out", tmp_path / "out", "--assignment", TINY, "--device", "cpu", *options)
    assert found.exit_code == code, found.output
    assert "alice" in found.output and ("could not be graded: net.accuracy" in found.output) == bool(code)


@pytest.mark.slow
def test_an_interrupted_run_keeps_what_was_graded_and_goes_on_from_there(tmp_path):
    """Ctrl+C reaches every process: a judge at work, and one that has nothing more to do."""
    slow = "import time\ndef double(values):\n    time.sleep(50)\n    return values * 2"
    first, second = write_submission(tmp_path / "a"), write_submission(tmp_path / "b", slow)
    command = [sys.executable, "-m", "autograder", "grade", first, second, "--out", tmp_path / "out", "--assignment", TINY,
               "--data", "drawn", "--jobs", "2"]  # fmt: skip
    process = subprocess.Popen([str(part) for part in command], cwd=REPO, env=os.environ | {SECRET_VARIABLE: SECRET},
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                               # a suite that runs in the background hands down "ignore Ctrl-C"
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / "out" / "a" / "result.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)  # the first judge waits
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert "Interrupted: 1 of 2 submissions are graded and written" in output and "Traceback" not in output
    validate(json.loads((tmp_path / "out" / "a" / "result.json").read_text()))
    assert not (tmp_path / "out" / "b" / "result.json").exists()
