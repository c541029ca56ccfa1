"""Two entries of the exam's sample, graded by the real commands of all three ways: the same points.

The exam compares the three for all entries, in one process; that nbgrader's commands do what its functions do for every kind of
hand-in is held by test_nbgrader.py.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from autograder.course.assignment import open_assignment
from autograder.course.numbers import check_id_of
from autograder.exam.building import solved_notebooks, write_submission
from autograder.exam.course import QUERY
from autograder.exam.entries import Entry, read_corpus
from autograder.exam.pytest_plugin import points_in_junit
from autograder.exam.sitting import SECRET

REPO = Path(__file__).resolve().parents[2]
SOURCE = REPO / "notebooks" / "fcn"
SAMPLE = tomllib.loads((Path(__file__).parent / "exam_sample.toml").read_text())


def run(*command: str, cwd: Path, codes=(0,)) -> str:
    environment = os.environ | {"SEGKIT_COURSE_SECRET": SECRET, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def two_hand_ins(tmp_path_factory) -> tuple[Path, dict[str, Entry]]:
    """A course of nbgrader, and the raw hand-ins of two entries, each in ``raw/``."""
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(SOURCE, root / "notebooks" / "fcn", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "assignment.json"))
    settings = (REPO / "nbgrader_config.py").read_text()
    (root / "nbgrader_config.py").write_text(settings.replace("Path(__file__).resolve().parent", f"Path({str(REPO)!r})"))
    corpus = read_corpus(open_assignment("fcn").folder).entries
    two = {entry.name: entry for entry in corpus if entry.name in SAMPLE["parity"]}
    assert len(two) == 2
    notebooks = solved_notebooks(SOURCE)
    for name, entry in two.items():
        path = write_submission(entry, notebooks, root / "made" / name)
        target = root / "raw" / (name + path.suffix)
        target.parent.mkdir(exist_ok=True)
        shutil.move(path, target)
    return root, two


@pytest.fixture(scope="module")
def by_command_line(two_hand_ins) -> dict[str, dict[str, float | None]]:
    root, two = two_hand_ins
    only = [argument for check in sorted({c for e in two.values() for c in e.checks}) for argument in ("--only", check)]
    raw = [str(path) for path in sorted((root / "raw").iterdir())]
    run("autograder", "grade", *raw, "--out", "graded", "--device", "cpu", *only, cwd=root)
    found = {}
    for name in two:
        checks = json.loads((root / "graded" / name / "result.json").read_text())["checks"]
        found[name] = {check["id"]: check["points"] for check in checks}
    return found


def expected_points(entry, check) -> float | None:
    lost = entry.lost_in(check)
    return None if lost is None else check.earned(lost)


@pytest.mark.slow
def test_the_command_line_gives_what_the_corpus_says(two_hand_ins, by_command_line):
    """Else the three could agree on something wrong."""
    rubric = open_assignment("fcn").rubric
    for name, entry in two_hand_ins[1].items():
        expected = {check: expected_points(entry, rubric.checks[check]) for check in entry.checks}
        assert {check: by_command_line[name][check] for check in entry.checks} == expected, name


@pytest.mark.slow
def test_nbgraders_gradebook_has_the_points_of_the_command_line(two_hand_ins, by_command_line):
    root, two = two_hand_ins
    run("autograder", "collect", *[str(path) for path in sorted((root / "raw").iterdir())], cwd=root)
    run("nbgrader", "generate_assignment", "fcn", cwd=root)
    run("nbgrader", "autograde", "fcn", cwd=root)
    points = {name: check.points for name, check in open_assignment("fcn").rubric.checks.items()}
    with sqlite3.connect(root / "gradebook.db") as database:
        for name in two:
            rows = database.execute(QUERY, (name,)).fetchall()
            book = {check_id_of(cell, points): None if waits else score for cell, score, waits in rows}
            assert {check: book[check] for check in by_command_line[name]} == by_command_line[name], name


@pytest.mark.slow
def test_plain_pytest_gives_the_points_of_the_command_line(two_hand_ins, by_command_line):
    root, two = two_hand_ins
    for name, entry in two.items():
        path = next((root / "raw").glob(f"{name}*"))
        only = [argument for check in entry.checks for argument in ("--only-check", check)]
        run("pytest", "-n", "0", "-q", "-p", "autograder.exam.pytest_plugin", "-p", "no:cacheprovider", "--submission", str(path),
            *only, "--junitxml", str(root / f"{name}.xml"), str(REPO / "autograder" / "assignments" / "fcn" / "checks"),
            cwd=REPO, codes=(0, 1))  # fmt: skip
        assert points_in_junit(root / f"{name}.xml") == {check: by_command_line[name][check] for check in entry.checks}, name
