"""What lateness takes off, cell by cell in every format: points are never changed without a word, and no penalty is lost.

The class: of 100 points ada has 92.5 and came in time, bjoern has 100 and loses 20% of the maximum for two days, chiara waits for points by
hand, dmitri has 4 and loses those, for no penalty takes more than there is.
"""

import csv
import io
import json
from xml.etree import ElementTree

import gradebook_files as files
import pytest
from click.testing import CliRunner
from fake_class import fake_result
from gradebook_files import graded_folder, marked, slots
from gradebooks import entry, mark_by_hand
from nbgrader.api import Gradebook

from autograder.cli import main
from autograder.export import Options
from autograder.export.gradebook import write_gradebook
from autograder.report.lateness import Late

HANDINS = """name,submitted,due,lateness,penalty,file,notes
ada,2026-03-14T20:00:00+01:00,2026-03-14T23:59:00+01:00,,,ada.zip,
bjoern,2026-03-16T10:00:00+01:00,2026-03-14T23:59:00+01:00,1 d 10 h,20%,bjoern.zip,
chiara,2026-03-16T10:00:00+01:00,2026-03-14T23:59:00+01:00,1 d 10 h,20%,chiara.zip,
dmitri,2026-03-20T10:00:00+01:00,2026-03-14T23:59:00+01:00,5 d 10 h,50%,dmitri.zip,
"""
LINE = "Late by 1 d 10 h: the course's rule takes 20 points off (20%); 80 remain."


@pytest.fixture
def graded(tmp_path):
    def make(handins=HANDINS):
        results = [marked("ada", 92.5), marked("bjoern", 100), fake_result("chiara"), marked("dmitri", 4)]
        folder = graded_folder(tmp_path / "graded", *results)
        (folder / "handins.csv").write_text(handins, encoding="utf-8-sig")
        return folder

    return make


def export(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def manual(tmp_path):
    """All questions of chiara's get 0, so that CSV has totals of everybody."""
    (tmp_path / "hand.csv").write_text("name,question_1,question_2\nchiara,0,0\n")
    return tmp_path / "hand.csv"


# ------------------------------------------------------------------------------------------------------ a cell of its own
def test_nbgraders_csv_has_the_points_the_penalty_and_what_remains(graded, tmp_path):
    outcome = export(graded(), "--to", "csv", "--out", tmp_path / "g.csv")
    assert outcome.exit_code == 0, outcome.output
    cells = {row["student_id"]: (row["raw_score"], row["late_submission_penalty"], row["score"]) for row in rows(tmp_path / "g.csv")}
    assert cells == {"ada": ("92.5", "0", "92.5"), "bjoern": ("100", "20", "80"), "chiara": ("70", "14", "56"), "dmitri": ("4", "4", "0")}
    # chiara's are of the 70 automatic points, as long as nobody gave her others: so is the maximum of her line


def test_points_that_are_given_later_have_their_penalty_too(graded, tmp_path):
    assert export(graded(), "--to", "csv", "--out", tmp_path / "g.csv", "--manual", manual(tmp_path)).exit_code == 0
    chiara = next(row for row in rows(tmp_path / "g.csv") if row["student_id"] == "chiara")
    assert (chiara["raw_score"], chiara["late_submission_penalty"], chiara["score"], chiara["max_score"]) == ("70", "20", "50", "100")


def test_a_penalty_that_cannot_be_read_leaves_the_score_open_and_is_said(graded, tmp_path):
    folder = graded(HANDINS.replace("20%,bjoern", "a bit,bjoern"))
    outcome = export(folder, "--to", "csv", "--out", tmp_path / "g.csv")
    assert outcome.exit_code == 1 and "bjoern: no score after the penalty: " in outcome.output and "'a bit'" in outcome.output
    bjoern = rows(tmp_path / "g.csv")[1]
    assert (bjoern["raw_score"], bjoern["late_submission_penalty"], bjoern["score"]) == ("100", "", "")
    assert export(folder, "--to", "mail").exit_code == 1


def test_addresses_have_columns_of_it_where_it_costs_somebody_points(graded, tmp_path):
    (tmp_path / "roster.csv").write_text(files.ROSTER)
    folder = graded()
    assert export(folder, "--to", "mail", "--out", tmp_path / "mail", "--roster", tmp_path / "roster.csv").exit_code == 0
    cells = {
        row["name"]: (row["points"], row["late_penalty"], row["points_after_penalty"]) for row in rows(tmp_path / "mail/addresses.csv")
    }
    assert cells == {"ada": ("92.5", "0", "92.5"), "bjoern": ("100", "20", "80"), "chiara": ("", "", ""), "dmitri": ("4", "4", "0")}
    (folder / "handins.csv").write_text(HANDINS.replace("20%", "").replace("50%", ""))
    assert export(folder, "--to", "mail", "--out", tmp_path / "mail", "--roster", tmp_path / "roster.csv").exit_code == 0
    assert "late_penalty" not in rows(tmp_path / "mail/addresses.csv")[0]


def test_formats_of_tests_say_it_and_keep_the_points(graded, tmp_path):
    folder = graded()
    assert export(folder, "--to", "gradescope", "--out", tmp_path / "gs").exit_code == 0
    found = json.loads((tmp_path / "gs/1_bjoern/results.json").read_text())
    assert found["score"] == 100 and f"{LINE} They are not taken off the points here." in found["output"]
    assert "Late" not in json.loads((tmp_path / "gs/0_ada/results.json").read_text())["output"]
    assert export(folder, "--to", "junit", "--out", tmp_path / "ju").exit_code == 0
    suite = ElementTree.parse(tmp_path / "ju/1_bjoern/junit.xml").getroot().find("testsuite")
    said = {one.get("name"): one.get("value") for one in suite.find("properties")}
    assert said == {"late_penalty": "20", "late": LINE}
    assert ElementTree.parse(tmp_path / "ju/0_ada/junit.xml").getroot().find("testsuite/properties") is None
    facts = [part for name in ("classroom", "submission", "commit", "release") for part in ("--fact", f"{name}=submit/x")]
    outcome = export(folder, "--to", "classroom50", "--out", tmp_path / "c50", *facts)
    assert outcome.exit_code == 1 and "without its late penalty, for which this format has no place" in outcome.output
    assert LINE in outcome.output
    assert export(folder, "--to", "classroom50", "--out", tmp_path / "c50", "--late-penalty", "leave", *facts).exit_code == 0
    assert json.loads((tmp_path / "c50/1_bjoern/result.json").read_text())["score"] == 200


# ------------------------------------------------------------------------------------------------- one cell for all of it
FORMS = {"canvas": files.CANVAS, "moodle": files.MOODLE, "moodle, german": files.MOODLE_GERMAN, "brightspace": files.BRIGHTSPACE,
         "blackboard": files.BLACKBOARD}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_file_without_a_column_for_it_asks_and_then_does_what_it_is_told(graded, tmp_path, form):
    locked = form.startswith("moodle")  # dmitri's grade cannot be changed there
    comma = form == "moodle, german"
    path = tmp_path / "g.csv"
    path.write_text(slots(FORMS[form]), encoding="utf-8", newline="")
    outcome = export(graded(), "--into", path)
    assert outcome.exit_code == 2 and not (tmp_path / "g.filled.csv").exists()
    words = " ".join(outcome.output.split())
    assert "3 came late and have a penalty by the course's rule: bjoern (20%), chiara (20%), dmitri (50%)" in words
    assert "--late-penalty take" in words and "--late-penalty leave" in words
    for choice, bjoern, dmitri in (("take", "80", "0"), ("leave", "100", "4")):
        outcome = export(tmp_path / "graded", "--into", path, "--late-penalty", choice)
        assert outcome.exit_code == locked, outcome.output
        points = {"ada": '"92,5"' if comma else "92.5", "bjoern": bjoern, **({} if locked else {"dmitri": dmitri})}
        assert (tmp_path / "g.filled.csv").read_bytes().decode() == slots(FORMS[form], **points)
        said = "bjoern 100 - 20 = 80" if choice == "take" else "bjoern 100 - 20"
        assert said in outcome.output and ("left to the system" in outcome.output) == (choice == "leave")


def test_nobody_is_asked_where_lateness_costs_nothing(graded, tmp_path):
    path = tmp_path / "g.csv"
    path.write_text(slots(files.CANVAS), encoding="utf-8", newline="")
    outcome = export(graded(HANDINS.replace("20%", "").replace("50%", "")), "--into", path)
    assert outcome.exit_code == 0 and (tmp_path / "g.filled.csv").read_bytes().decode() == slots(
        files.CANVAS, ada="92.5", bjoern="100", dmitri="4"
    )


def test_the_comment_says_it_and_is_known_again_as_ours(graded, tmp_path):
    path = tmp_path / "g.csv"
    path.write_text(slots(files.MOODLE).replace('"<p>Fine,\nbut ""late"".</p>"', ""), newline="")
    for source in (path, tmp_path / "g.filled.csv"):
        again = tmp_path / "again.csv"
        again.write_bytes(source.read_bytes())
        outcome = export(graded() if source == path else tmp_path / "graded", "--into", again, "--comments", "--late-penalty", "take")
        (tmp_path / "g.filled.csv").write_bytes((tmp_path / "again.filled.csv").read_bytes())
        cells = [row["Feedback comments"] for row in rows(tmp_path / "g.filled.csv")]
        assert cells[1].startswith(f"<p>fcn: 100 of 100 points.</p><p>{LINE.replace(chr(39), '&#x27;')}</p>"), cells
        assert "Late" not in cells[0] and "kept" not in outcome.output


def test_a_penalty_in_points_has_no_share_of_single_checks(graded, tmp_path):
    path = tmp_path / "g.csv"
    path.write_text(slots(files.CANVAS).replace("100.00", "70.00"), encoding="utf-8", newline="")
    folder = graded(HANDINS.replace("20%", "5 points").replace("50%", "5 points"))
    outcome = export(folder, "--into", path, "--without", "question*", "--late-penalty", "take")
    assert outcome.exit_code == 2 and "a penalty in points" in outcome.output
    (folder / "handins.csv").write_text(HANDINS)
    outcome = export(folder, "--into", path, "--without", "question*", "--late-penalty", "take")
    assert outcome.exit_code == 0 and "bjoern 70 - 14 = 56" in outcome.output, outcome.output  # 20% of the 70 that the column has


# --------------------------------------------------------------------------------------------------- nbgrader's gradebook
def penalties(db, name="ada"):
    """Penalty of each notebook and of all, and what nbgrader's own export would give as the score."""
    with Gradebook(f"sqlite:///{db}") as book:
        found = book.find_submission("tiny", name)
        own = {one.name: one.late_submission_penalty for one in found.notebooks}
        return own, found.late_submission_penalty, max(0.0, found.score - found.late_submission_penalty)


def late(penalty, **points):
    made = entry(**points)
    return type(made)(made.folder, made.result, Late("1 d 10 h", penalty))


def test_the_gradebook_has_it_in_its_own_column_in_shares_of_the_notebooks(db):
    exported = {}
    written = write_gradebook(db, [late("20%")], Options(exported=exported))  # 20% of 15; the notebooks have 4 and 6 points
    assert penalties(db) == ({"1_first": 1.2, "2_second": 1.8}, 3.0, 7.0)
    assert written.penalties == ["ada"] and "penalties for lateness written: ada" in str(written)
    assert write_gradebook(db, [late("20%")], Options(exported=exported)).penalties == []
    write_gradebook(db, [late("10% of score", double=3)], Options(exported=exported))
    assert penalties(db) == ({"1_first": 0.3, "2_second": 0.6}, pytest.approx(0.9), pytest.approx(8.1))
    write_gradebook(db, [entry()], Options(exported=exported))  # an extension was granted
    assert penalties(db) == ({"1_first": None, "2_second": None}, 0.0, 10.0) and exported == {}


def test_a_penalty_that_was_set_in_nbgrader_stays_and_is_named(db):
    write_gradebook(db, [entry()], Options())
    mark_by_hand(db)
    written = write_gradebook(db, [late("20%")], Options(exported={}))
    assert penalties(db)[0] == {"1_first": 2.0, "2_second": None} and written.kept_penalties == ["ada"]
    assert "differ from the course's rule, kept: ada" in str(written)
    assert write_gradebook(db, [entry()], Options(exported={})).kept_penalties == []
