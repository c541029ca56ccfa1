"""Three hand-ins of ``satellite``, graded by the real commands of all three ways: the same points.

All three have the solutions of notebook 2 at the most, for networks take a minute each; the exam compares the ways for all entries.
"""

import csv
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest

from autograder.course.assignment import open_assignment
from autograder.course.numbers import check_id_of
from autograder.demo.classroom import make_class
from autograder.demo.students import Student, read_students
from autograder.exam.course import QUERY
from autograder.exam.entries import read_corpus
from autograder.exam.pytest_plugin import points_in_junit
from autograder.exam.sitting import SECRET
from autograder.release.notebooks import student_version, write_notebook

REPO = Path(__file__).resolve().parents[3]
SOURCE = REPO / "notebooks" / "satellite"
ASSIGNMENT = open_assignment("satellite")
CHECKS = {name: check for name, check in ASSIGNMENT.rubric.checks.items() if not check.manual}


def run(*command: str, cwd: Path, codes: tuple[int, ...] = (0,)) -> None:
    environment = os.environ | {"SEGKIT_COURSE_SECRET": SECRET, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def students() -> list[Student]:
    """One who did nothing, one who did notebook 2, and one who made a mistake in it."""
    class_ = {one.name: one for one in read_students(ASSIGNMENT.folder)}
    rest = frozenset(ASSIGNMENT.rubric.defines) - {"read_mask", "mean_iou"}
    (mistake,) = (entry for entry in read_corpus(ASSIGNMENT.folder).of_kind("mutants") if entry.name == "iou-recall")
    solved = replace(class_["perfect"], name="solved", undone=rest, checkpoints={})
    return [class_["untouched"], solved, replace(solved, name="mutant", entry=mistake)]


@pytest.fixture(scope="module")
def course(students: list[Student], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course of nbgrader, the raw hand-ins, and what the command line said of them in ``graded/``."""
    root = tmp_path_factory.mktemp("course")
    for folder in (root / "notebooks" / "satellite", root / "release"):
        folder.mkdir(parents=True)
        for path in SOURCE.glob("*.ipynb"):
            notebook = nbformat.read(path, as_version=4)
            write_notebook(folder / path.name, student_version(notebook, path.name) if folder.name == "release" else notebook)
    settings = (REPO / "nbgrader_config.py").read_text()
    (root / "nbgrader_config.py").write_text(settings.replace("Path(__file__).resolve().parent", f"Path({str(REPO)!r})"))
    paths = make_class(root / "release", SOURCE, None, root / "raw", students)
    run("autograder", "grade", *map(str, paths), "--assignment", "satellite", "--out", "graded", "--device", "cpu", cwd=root)
    return root


def graded(course: Path, name: str) -> dict[str, float]:
    checks = json.loads((course / "graded" / name / "result.json").read_text())["checks"]
    return {check["id"]: check["points"] for check in checks if check["id"] in CHECKS}


@pytest.mark.slow
def test_the_command_line_gives_what_is_expected(course: Path, students: list[Student]) -> None:
    """Else the three could agree on something wrong."""
    for one in students:
        assert graded(course, one.name) == {name: one.expected(check) for name, check in CHECKS.items()}, one.name
    assert [sum(graded(course, one.name).values()) for one in students] == [0, 10, 7]


@pytest.mark.slow
def test_nbgraders_gradebook_has_the_points_of_the_command_line(course: Path, students: list[Student]) -> None:
    raw = [str(course / "raw" / one.name) for one in students]
    run("autograder", "collect", "--assignment", "satellite", *raw, cwd=course)
    run("nbgrader", "generate_assignment", "satellite", cwd=course)
    run("nbgrader", "autograde", "satellite", cwd=course)
    with sqlite3.connect(course / "gradebook.db") as database:
        for one in students:
            rows = database.execute(QUERY, (one.name,)).fetchall()
            book = {check_id_of(cell, ASSIGNMENT.rubric.checks): score for cell, score, _ in rows}
            assert {name: book[name] for name in CHECKS} == graded(course, one.name), one.name


@pytest.mark.slow
def test_plain_pytest_gives_the_points_of_the_command_line(course: Path) -> None:
    only = [argument for check in ("read_mask", "mean_iou") for argument in ("--only-check", check)]
    plain = ("-n", "0", "-q", "-p", "autograder.exam.pytest_plugin", "-p", "no:cacheprovider")
    hand_in = ("--submission", str(course / "raw" / "mutant"), *only, "--junitxml", str(course / "mutant.xml"))
    run("pytest", *plain, *hand_in, str(ASSIGNMENT.folder / "checks"), cwd=REPO, codes=(0, 1))
    assert points_in_junit(course / "mutant.xml") == {check: graded(course, "mutant")[check] for check in ("read_mask", "mean_iou")}


@pytest.mark.slow
def test_exports_have_the_points_of_the_command_line_and_what_a_person_gives_stays_open(course: Path, students: list[Student]) -> None:
    by_hand = sorted(name for name, check in ASSIGNMENT.rubric.checks.items() if check.manual)
    for target in ("gradescope", "junit", "csv"):
        run("autograder", "export", "graded", "--to", target, cwd=course)
    exports = course / "graded" / "exports"
    table = csv.DictReader((exports / "csv" / "grades.csv").read_text(encoding="utf-8-sig").splitlines())
    totals = {row["student_id"]: row["score"] for row in table}
    for one in students:
        tests = json.loads((exports / "gradescope" / one.name / "results.json").read_text())["tests"]
        assert {test["name"]: test["score"] for test in tests if "score" in test} == graded(course, one.name)
        assert sorted(test["name"].partition(" ")[0] for test in tests if "score" not in test) == by_hand
        cases = ElementTree.parse(exports / "junit" / one.name / "junit.xml").iter("testcase")
        points = {case.get("name"): case.find(".//property[@name='points']") for case in cases if case.find("skipped") is None}
        assert {name: float(value.get("value")) for name, value in points.items()} == graded(course, one.name)
        assert float(totals[one.name]) == sum(graded(course, one.name).values())
