"""A term with a class of sixty: graded, marked in a real browser, exported into every system, appealed against, graded again.

What must come out is a table that was written down beforehand (``class_of_sixty``); every file is compared with it cell by cell.
"""

import csv
import io
import json
import shutil
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from at_the_keyboard import Command, Marker, expect, order_of
from class_of_sixty import CLASS, CRITERIA, ROSTER, TOP, term_course
from in_browser import CHROMIUM
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from playing import Term, command
from term_gradebooks import GRADEBOOKS
from traitlets.config import Config

pytest_plugins = ["in_browser"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs the system's Chromium")]

REASON = "The sheet asked for three times the values: appeal of 20 March."
APPEALED = "lena"
BEFORE = {one.login: one.points for one in CLASS}
AFTER = BEFORE | {APPEALED: BEFORE[APPEALED] | {"double": 4}}
FACTS = [text for pair in ("classroom=c", "submission=s/1", "commit=https://x/{owner}", "release=https://r") for text in ("--fact", pair)]
# what the export into nbgrader's gradebook fills: check -> cell
CELLS = {"double": "double-check", "last.value": "last-value", "question_1": "question_1", "question_2": "question_2"}


def totals(points):
    return {login: f"{sum(of.values()):g}" for login, of in points.items()}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return term_course(tmp_path_factory.mktemp("term") / "course")


@pytest.fixture(scope="module")
def marked(browser, course, tmp_path_factory):
    """The class, graded from Canvas's download and marked; and how many keys each answer took."""
    with pytest.MonkeyPatch.context() as patch:
        term = Term(patch, tmp_path_factory.mktemp("class"), course, "Canvas", CLASS)
        term.grade()
        yield SimpleNamespace(term=term, **mark_all(browser, term))


def mark_all(browser, term):
    people = {one.login: one for one in CLASS}
    room = Command(term.graded, "ada", "--assignment", term.course)
    try:
        marker, keys, began = Marker(browser, room.address), [], time.monotonic()
        for check in CRITERIA:
            marker.last = None
            order = order_of(term.graded, check)
            for number, student in enumerate(order, 1):
                expect(marker.page.locator("#place")).to_contain_text(f"answer {number} of {len(CLASS)}")
                marker.wait()
                keys.append(marker.give(CRITERIA[check][people[student].texts[check]]) + 1)
                marker.press("u" if number == len(order) else "n")
        marker.saved()
        seconds = time.monotonic() - began
        return {"keys": keys, "seconds": seconds, "errors": marker.errors, "said": room.end()}
    finally:
        if room.process.poll() is None:
            room.process.kill()
            room.process.communicate()


def test_120_answers_are_marked_with_three_keys_each_at_most_and_no_click(marked):
    print(f"\n{len(marked.keys)} answers: {sum(marked.keys) / len(marked.keys):.2f} keys each, at most {max(marked.keys)}, "
          f"no click, {marked.seconds:.0f} s without reading")  # fmt: skip
    assert len(marked.keys) == 120 and sum(marked.keys) <= 3 * 120 and marked.errors == []
    assert "Marks are in" in marked.said and "Class page" in marked.said
    summary = marked.term.rows("summary.csv")
    assert {login: {check: row[check] for check in CELLS} for login, row in summary.items()} == {
        login: {check: f"{value:g}" for check, value in of.items()} for login, of in BEFORE.items()
    }
    assert {row["needs_manual"] for row in summary.values()} == {"0"}


def test_the_late_penalty_stands_beside_the_points(marked):
    summary = marked.term.rows("summary.csv")
    assert {login: row["late penalty"] for login, row in summary.items() if row["late penalty"] != "0"} == {"dmitri": "4"}
    points = sum(BEFORE["dmitri"].values())
    assert (summary["dmitri"]["score"], summary["dmitri"]["points after penalty"]) == (f"{points:g}", f"{points - 4:g}")
    report = " ".join((marked.term.graded / "dmitri" / "report.html").read_text(encoding="utf-8").split())
    assert "Handed in late by 1 d 9 h" in report and f"20% of the maximum off, 4 points; <b>{points - 4:g}</b> remain" in report
    assert "Handed in late" not in (marked.term.graded / "eve" / "report.html").read_text(encoding="utf-8")


LEFT = ("--late-penalty", "leave")  # points as they are: one of the class came late


def fill(system, term, folder, *more):
    """Fill the file that a system gave out; returns the new one, and what was said."""
    (folder / "grades.csv").write_bytes(GRADEBOOKS[system]({}))
    said = command("export", term.graded, "--into", folder / "grades.csv", "--roster", term.roster, *more)
    return (folder / "grades.filled.csv").read_bytes(), said


@pytest.mark.parametrize("system", GRADEBOOKS)
def test_every_gradebook_file_holds_the_points_and_no_other_byte_changed(marked, tmp_path, system):
    filled, said = fill(system, marked.term, tmp_path, "--late-penalty", "leave")
    assert filled == GRADEBOOKS[system](totals(BEFORE)) and "left to the system: dmitri" in said
    assert "60 points in column" in said and "Zora" in said, "the line without a result is named"
    filled, said = fill(system, marked.term, tmp_path, "--late-penalty", "take")
    less = f"{sum(BEFORE['dmitri'].values()) - 4:g}"
    assert filled == GRADEBOOKS[system]({**totals(BEFORE), "dmitri": less}) and f"- 4 = {less}" in said


def test_a_gradebook_in_which_one_cell_was_edited_by_hand_says_which_points_change(marked, tmp_path):
    (tmp_path / "grades.csv").write_bytes(GRADEBOOKS["Moodle"]({"bjoern_m": "12"}))
    said = command(
        "export", marked.term.graded, "--into", tmp_path / "grades.csv", "--roster", marked.term.roster, "--late-penalty", "leave"
    )
    assert f"bjoern_m 12 -> {totals(BEFORE)['bjoern_m']}" in said
    assert (tmp_path / "grades.filled.csv").read_bytes() == GRADEBOOKS["Moodle"](totals(BEFORE))


# ------------------------------------------------------------------------------------------------------------- other systems
def exported(term, folder):
    """Each target -> login -> check -> points, as its files say them; the files that hold words -> their text."""
    for target in ("gradescope", "junit", "classroom50", "csv", "mail"):
        more = (*FACTS, "--late-penalty", "leave") if target == "classroom50" else ("--roster", folder / "people.csv")
        command("export", term.graded, "--to", target, "--out", folder / target, *more)
    found, words = {}, {}
    found["gradescope"] = {
        path.parent.name: {test["name"]: test["score"] for test in json.loads(path.read_text())["tests"]}
        for path in (folder / "gradescope").glob("*/results.json")
    }
    found["classroom50"] = {
        path.parent.name: {test["test-name"]: test["score"] / 2 for test in json.loads(path.read_text())["tests"]}
        for path in (folder / "classroom50").glob("*/result.json")
    }
    found["junit"] = {path.parent.name: dict(junit_points(path)) for path in (folder / "junit").glob("*/junit.xml")}
    words["gradescope"] = (folder / "gradescope" / APPEALED / "results.json").read_text(encoding="utf-8")
    words["csv"] = (folder / "csv" / "grades.csv").read_text(encoding="utf-8-sig")
    rows = [row for row in csv.DictReader(io.StringIO(words["csv"])) if row["score"]]
    sums = {row["student_id"]: (row["raw_score"], row["max_score"]) for row in rows}
    assert {row["student_id"]: row["late_submission_penalty"] for row in rows if row["late_submission_penalty"] != "0"} == {"dmitri": "4"}
    with (folder / "mail" / "addresses.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    mailed = {row["name"]: (row["email"], row["points"], row["max_points"]) for row in rows}
    words["mail"] = next((folder / "mail" / row["file"]).read_text(encoding="utf-8") for row in rows if row["name"] == APPEALED)
    return found, words, sums, mailed


def junit_points(path):
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        (points,) = (one.get("value") for one in case.iter("property") if one.get("name") == "points")
        yield case.get("name"), float(points)


def nbgrader_points(db):
    """Login -> cell -> what counts, read past nbgrader: the manual score before the automatic one."""
    query = """
        select submitted_assignment.student_id, base_cell.name, grade.manual_score, grade.auto_score, grade.needs_manual_grade from grade
        join base_cell on grade.cell_id = base_cell.id join submitted_notebook on grade.notebook_id = submitted_notebook.id
        join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id"""
    found = {}
    with sqlite3.connect(db) as database:
        for login, cell, manual, auto, waits in database.execute(query):
            assert not waits, f"{login}, {cell} waits for a person"
            found.setdefault(login, {})[cell] = auto if manual is None else manual
    return found


def check_exports(term, folder, points):
    """Demand that every target says these points; returns the texts that hold words."""
    folder.mkdir()
    (folder / "people.csv").write_text(ROSTER(CLASS), encoding="utf-8")
    found, words, sums, mailed = exported(term, folder)
    for target, said in found.items():
        assert said == points, target
    assert sums == {login: (total, str(TOP)) for login, total in totals(points).items()}
    assert mailed == {login: (f"{login}@example.org", total, str(TOP)) for login, total in totals(points).items()}
    return words


def test_every_other_target_says_the_same_points(marked, tmp_path):
    words = check_exports(marked.term, tmp_path / "out", BEFORE)
    assert REASON not in "".join(words.values())


# ---------------------------------------------------------------------------------------------------------------- an appeal
@pytest.fixture
def gradebook(course):
    """nbgrader's gradebook, as nbgrader makes it for the course."""
    root = Path(course).parents[2]
    config = Config(CourseDirectory={"root": str(root), "source_directory": "notebooks", "assignment_id": "tiny"})
    GenerateAssignment(coursedir=CourseDirectory(config=config)).start()
    return root / "gradebook.db"


def test_an_appeal_survives_a_regrade_and_is_in_every_export_and_report(marked, tmp_path, gradebook):
    term, beside = marked.term, marked.term.graded.with_name("before the appeal")
    shutil.copytree(term.graded, beside)
    try:
        command("mark", term.graded, "--assignment", term.course, "--as", "ada", "--change", APPEALED, "double", 4, "--reason", REASON)
        for number, regraded in enumerate((False, True)):
            if regraded:
                assert "60 graded" in term.grade("--regrade")
                assert term.results()[APPEALED]["double"] == 2, "the judge's own points stay as they were"
            words = check_exports(term, tmp_path / f"out{number}", AFTER)
            assert [name for name, text in words.items() if REASON not in text] == []
            for page in (term.graded / APPEALED / "report.html", term.graded / "index.html"):
                assert REASON in page.read_text(encoding="utf-8"), page
            for system, made in GRADEBOOKS.items():
                assert fill(system, term, tmp_path, *LEFT)[0] == made(totals(AFTER)), system
            assert REASON in fill("Moodle", term, tmp_path, "--comments", *LEFT)[0].decode()
            command("export", term.graded, "--to", "gradebook", "--db", gradebook)
            assert nbgrader_points(gradebook) == {
                login: {CELLS[check]: value for check, value in of.items()} for login, of in AFTER.items()
            }
            summary = term.rows("summary.csv")
            assert (summary[APPEALED]["score"], summary["dmitri"]["late penalty"]) == (totals(AFTER)[APPEALED], "4")
    finally:
        shutil.rmtree(term.graded)
        beside.rename(term.graded)
