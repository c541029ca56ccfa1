"""Every consumer's format, written down here from its documentation, and what no export may ever say: 0 for open points."""

import csv
import io
import json
import subprocess
import sys
from xml.etree import ElementTree

import jsonschema
import pytest
from fake_class import HOSTILE, fake_class, fake_result, set_check

from autograder.export import WRITERS, Entry, ExportError, Options
from autograder.export.classroom50 import classroom50_result, environment_facts
from autograder.export.entries import open_checks
from autograder.export.gradescope import gradescope_results
from autograder.export.junit import junit_xml
from autograder.export.nbgrader_csv import nbgrader_csv
from autograder.handins.roster import Roster, Student

POINT = {"type": "number", "minimum": 0}
SEEN = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
FORMATS = {"enum": ["text", "html", "simple_format", "md", "ansi"]}

GRADESCOPE = {
    "type": "object", "additionalProperties": False, "required": ["score", "tests"],
    "properties": {
        "score": POINT, "execution_time": {"type": "integer", "minimum": 0}, "output": {"type": "string"},
        "output_format": FORMATS, "visibility": SEEN, "stdout_visibility": SEEN,
        "tests": {"type": "array", "items": {
            "type": "object", "additionalProperties": False, "required": ["name"],
            "properties": {
                "score": POINT, "max_score": POINT, "status": {"enum": ["passed", "failed"]}, "name": {"type": "string"},
                "number": {"type": "string"}, "output": {"type": "string"}, "output_format": FORMATS, "visibility": SEEN,
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            # Gradescope shows max_score without score as 0 points
            "dependentRequired": {"max_score": ["score"], "score": ["max_score", "status"], "status": ["score"]},
        }},
    },
}  # fmt: skip

TEXT = {"type": "string", "minLength": 1}
WHOLE = {"type": "integer", "minimum": 0}
CLASSROOM50 = {
    "type": "object", "additionalProperties": False,
    "required": ["schema", "classroom", "assignment", "assignment_type", "owner", "submission", "commit", "release", "review",
                 "datetime", "score", "max-score", "tests"],
    "properties": {
        "schema": {"const": "classroom50/result/v1"}, "classroom": TEXT, "assignment": TEXT,
        "assignment_type": {"enum": ["individual", "group"]}, "owner": TEXT,
        "submission": {"type": "string", "pattern": "^submit/"}, "commit": TEXT, "release": TEXT, "review": TEXT,
        "datetime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        "score": WHOLE, "max-score": WHOLE,
        "tests": {"type": "array", "items": {
            "type": "object", "additionalProperties": False, "required": ["test-name", "passed", "score", "max-score"],
            "properties": {"test-name": TEXT, "passed": {"type": "boolean"}, "score": WHOLE, "max-score": WHOLE},
        }},
    },
}  # fmt: skip

NBGRADER = [
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
]

RUNNER = {
    "CLASSROOM": "seg26",
    "ASSIGNMENT": "fcn",
    "OWNER": "ada",
    "SUBMISSION_TAG": "submit/2026-03-14T22-10-05Z-abc1234",
    "COMMIT_URL": "https://github.test/seg26-fcn-ada/commit/abc",
    "RELEASE_URL": "https://github.test/r",
    "HOME": "/root",
}


def stuck():
    """A result with a lost check, a half point, and one that could not be graded."""
    result = set_check(fake_result("ada"), "fcn8s.miou", None, status="could_not_grade", message="no data")
    set_check(result, "scores", 0, "iou.recall", None, "expected IoU, got recall")
    return set_check(result, "fcn8s.layers", 5.5, "layer.name", None, "score_pool4")


def nothing():
    """A result in which no check has points."""
    result = fake_result("lost")
    for check in result["checks"]:
        if not check["id"].startswith("question"):
            set_check(result, check["id"], None, status="could_not_grade", message="broken zip")
    return result


def entries():
    return [Entry(f"s{number}", result) for number, result in enumerate(fake_class())]


def table(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


# --- Gradescope


@pytest.mark.parametrize("result", [*fake_class(), stuck()], ids=lambda result: ascii(result["submission"])[:20])
def test_gradescope_results_follow_their_format(result):
    content = gradescope_results(result)
    jsonschema.validate(content, GRADESCOPE)
    assert content["score"] == result["score"] == sum(test.get("score", 0) for test in content["tests"])


def test_gradescope_gets_no_number_for_open_points():
    tests = {test["name"].split(" ")[0]: test for test in gradescope_results(stuck())["tests"]}
    for name in ("question_1", "question_2", "fcn8s.miou"):
        assert not {"score", "max_score", "status"} & tests[name].keys()
    assert tests["question_1"]["name"] == "question_1 (up to 15 points, given by hand)"
    assert tests["fcn8s.miou"]["name"] == "fcn8s.miou (could not be graded: up to 6 points are open, none is lost)"
    assert (tests["scores"]["score"], tests["scores"]["max_score"], tests["scores"]["status"]) == (0, 4, "failed")
    assert (tests["fcn8s.layers"]["score"], tests["fcn8s.layers"]["status"]) == (5.5, "failed")
    assert tests["read_label"]["status"] == "passed"


def test_gradescope_says_at_the_top_what_is_open_and_what_was_repaired():
    head = gradescope_results({**stuck(), "notes": ["1_data.ipynb was known by its cells"]})["output"]
    assert head.splitlines()[0] == "59.5 of 100 points so far; 36 are still open, not lost."
    assert "question_2: up to 15 points, given by hand." in head
    assert "fcn8s.miou: could not be graded" in head
    assert head.endswith("Note: 1_data.ipynb was known by its cells")


def test_gradescope_never_shows_standard_output_and_takes_text_as_text():
    result = fake_result("ada")
    set_check(result, "scores", 0, None, None, f"\x1b[31m{HOSTILE}\x1b[0m\x00")
    content = gradescope_results(result, "after_published")
    assert content["stdout_visibility"] == "hidden" and content["visibility"] == "after_published"
    assert {test["output_format"] for test in content["tests"]} == {"text"}
    assert {test["visibility"] for test in content["tests"]} == {"after_published"}
    assert "\x1b" not in json.dumps(content, ensure_ascii=False)


def test_an_endless_message_is_cut():
    result = set_check(fake_result("ada"), "scores", 0, None, None, "x" * 10**6)
    assert len(gradescope_results(result)["tests"][2]["output"]) < 21_000


# --- Classroom 50


def facts(**more):
    return environment_facts(RUNNER) | more


@pytest.mark.parametrize("result", fake_class(), ids=lambda result: ascii(result["submission"])[:20])
def test_classroom50_results_follow_their_format(result):
    for check in open_checks(result):
        if check["status"] == "could_not_grade":
            set_check(result, check["id"], 0)
    content = classroom50_result(result, facts())
    jsonschema.validate(content, CLASSROOM50)
    assert content["score"] == sum(test["score"] for test in content["tests"]) == 2 * result["score"]
    assert content["max-score"] == sum(test["max-score"] for test in content["tests"])
    assert all(type(test[key]) is int for test in content["tests"] for key in ("score", "max-score"))


def test_classroom50_points_are_doubled_and_those_by_hand_are_left_out_for_everybody():
    content = classroom50_result(set_check(stuck(), "fcn8s.miou", 0), facts())
    tests = {test["test-name"]: test for test in content["tests"]}
    assert tests["fcn8s.layers"] == {"test-name": "fcn8s.layers", "passed": False, "score": 11, "max-score": 12}
    assert not {"question_1", "question_2"} & tests.keys()
    assert (content["score"], content["max-score"]) == (119, 140)


def test_classroom50_makes_no_total_of_a_result_with_open_checks():
    with pytest.raises(ExportError, match=r"ada: 6 points are open: fcn8s\.miou \(6\); grade it again, or give them by hand"):
        classroom50_result(stuck(), facts())
    with pytest.raises(ExportError, match=r"36 points are open: fcn8s\.miou \(6\), question_1 \(15\), question_2 \(15\)"):
        classroom50_result(stuck(), facts(), by_hand=True)


def test_classroom50_takes_its_facts_from_the_runner_and_time_in_utc():
    content = classroom50_result(fake_result("whoever", started="2026-03-14T23:10:05+01:00"), facts())
    assert (content["owner"], content["classroom"], content["assignment_type"]) == ("ada", "seg26", "individual")
    assert content["review"] == content["commit"] == RUNNER["COMMIT_URL"]
    assert content["datetime"] == "2026-03-14T22:10:05Z"


def test_classroom50_without_its_facts_names_the_way_to_give_them():
    with pytest.raises(ExportError, match=r"needs classroom, submission, .*CLASSROOM or --fact classroom=\.\.\."):
        classroom50_result(fake_result("ada"), {})


def test_classroom50_facts_of_a_class_are_filled_in_with_the_owner():
    given = facts(commit="https://github.test/fcn-{owner}") | {"owner": ""}
    assert classroom50_result(fake_result("ben"), given)["commit"] == "https://github.test/fcn-ben"


# --- JUnit


@pytest.fixture(scope="module")
def pytest_report(tmp_path_factory):
    """What pytest itself writes for a passed, failed, skipped and broken test."""
    folder = tmp_path_factory.mktemp("junit")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_all.py").write_text(
        "import pytest\n"
        "def test_passed(record_property):\n    record_property('points', 4)\n"
        "def test_failed():\n    assert 1 == 2\n"
        "def test_skipped():\n    pytest.skip('later')\n"
        "@pytest.fixture\ndef broken():\n    raise OSError\n"
        "def test_error(broken):\n    pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml=report.xml", "-p", "no:cacheprovider", "test_all.py"]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    return ElementTree.parse(folder / "report.xml").getroot()


def shape(root):
    """Element -> its attributes and the elements in it."""
    found = {}
    for element in root.iter():
        attributes, children = found.setdefault(element.tag, (set(), set()))
        attributes |= set(element.keys())
        children |= {child.tag for child in element}
    return found


def test_junit_has_the_elements_and_attributes_that_pytest_writes(pytest_report):
    ours, theirs = shape(ElementTree.fromstring(junit_xml(Entry("ada", stuck())))), shape(pytest_report)
    assert ours.keys() == theirs.keys()
    for tag, (attributes, children) in ours.items():
        assert attributes == theirs[tag][0], tag
        assert children == theirs[tag][1], tag


def test_junit_counts_and_kinds():
    suite = ElementTree.fromstring(junit_xml(Entry("ada", stuck()))).find("testsuite")
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "16", "failures": "2", "errors": "1", "skipped": "2"
    }  # fmt: skip
    kinds = {case.get("name"): {child.tag for child in case} - {"properties"} for case in suite}
    assert kinds["scores"] == kinds["fcn8s.layers"] == {"failure"}
    assert (kinds["fcn8s.miou"], kinds["question_1"], kinds["read_label"]) == ({"error"}, {"skipped"}, set())


def test_junit_has_points_only_where_there_are_any():
    suite = ElementTree.fromstring(junit_xml(Entry("ada", stuck()))).find("testsuite")
    points = {case.get("name"): [p.get("value") for p in case.iter("property") if p.get("name") == "points"] for case in suite}
    assert (points["fcn8s.layers"], points["scores"]) == (["5.5"], ["0"])
    assert points["question_1"] == points["fcn8s.miou"] == []


def test_junit_stays_xml_whatever_a_student_wrote():
    message = f"]]>{HOSTILE}\x00\x1b[31m\x0b\ud800\ufffe&amp;"
    text = junit_xml(Entry("ada", set_check(fake_result(HOSTILE), "scores", 0, None, None, message)))
    failure = ElementTree.fromstring(text.encode()).find(".//failure")
    assert HOSTILE in failure.text and "\x00" not in failure.text


# --- CSV


def test_csv_has_nbgraders_columns_all_quoted():
    text = nbgrader_csv(entries(), Options())
    assert next(csv.reader(io.StringIO(text))) == NBGRADER
    assert all(line.startswith('"') and line.endswith('"') for line in text.split("\r\n")[:-1])
    assert len(table(text)) == 40


@pytest.mark.parametrize("result", [stuck(), nothing()], ids=["one check is open", "all checks are open"])
def test_csv_has_no_score_while_points_are_open_and_the_same_maximum(result):
    (row,) = table(nbgrader_csv([Entry("ada", result)], Options()))
    assert [row[key] for key in ("raw_score", "late_submission_penalty", "score", "max_score")] == ["", "", "", "70"]


def test_csv_with_points_by_hand_counts_them_for_everybody():
    done = set_check(set_check(fake_result("ben"), "question_1", 10), "question_2", 0)
    rows = table(nbgrader_csv([Entry("ada", fake_result("ada")), Entry("ben", done)], Options(by_hand=True)))
    assert [(row["score"], row["max_score"]) for row in rows] == [("", "100"), ("80", "100")]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\uff1d1", "\n=1", "=cmd|' /C calc'!A0"])
def test_csv_cells_are_never_formulas(name):
    text = nbgrader_csv([Entry("x", fake_result(name))], Options())
    assert len(table(text)) == 1
    cell = table(text)[0]["student_id"]
    assert cell.lstrip()[0] not in "=+-@\uff1d" and "\n" not in cell and "\r" not in cell


def test_csv_takes_names_from_the_roster_and_lists_who_is_missing():
    roster = Roster((Student("ada", frozenset(), "Ada", "Lovelace", "a@x"), Student("zoe", frozenset(), "Zoë", "=Z", "z@x")))
    options = Options(roster=roster, due="2026-03-14", handed_in={"ada": "2026-03-13T10:00:00+00:00"})
    ada, zoe = table(nbgrader_csv([Entry("ada", fake_result("ada"))], options))
    assert (ada["last_name"], ada["first_name"], ada["email"], ada["duedate"]) == ("Lovelace", "Ada", "a@x", "2026-03-14")
    assert ada["timestamp"] == "2026-03-13T10:00:00+00:00"
    assert (zoe["student_id"], zoe["last_name"], zoe["score"], zoe["timestamp"]) == ("zoe", "'=Z", "", "")


# --- all of them


@pytest.mark.parametrize("target", WRITERS)
def test_files_lie_in_the_folders_of_the_submissions_whatever_their_names(target):
    for path, text in WRITERS[target](entries(), Options(facts=facts())):
        assert str(path) in ("grades.csv", "addresses.csv") or path.parent.name.startswith("s")
        assert ".." not in path.parts and not path.is_absolute()
        text.encode("utf-8")


@pytest.mark.parametrize(("target", "words"), [
    ("gradescope", "no check of it has points; grade it again or by hand"), ("classroom50", "70 points are open: read_label (4), "),
])  # fmt: skip
def test_where_nothing_could_be_graded_no_file_says_zero(target, words):
    said = []
    written = list(WRITERS[target]([Entry("lost", nothing()), Entry("ada", fake_result("ada"))], Options(facts=facts(), say=said.append)))
    assert [path.parent.name for path, _ in written] == ["ada"]
    assert len(said) == 1 and said[0].startswith(f"lost: not exported: {words}")


def all_but(kept):
    """A result whose automatic checks could not be graded, but for some that are right: as 8 of 8 points it would be a full mark."""
    result = fake_result("ada")
    for check in result["checks"]:
        if check["status"] != "needs_manual" and check["id"] not in kept:
            set_check(result, check["id"], None, status="could_not_grade", message="broken")
    return result


def maxima(target, result, by_hand):
    """All that an export of a result says about how much could be had, without what its name or text says."""
    written = dict(WRITERS[target]([Entry("ada", result)], Options(facts=facts(), by_hand=by_hand)))
    for path, text in written.items():
        if path.suffix == ".csv":
            return {float(row["max_score"]) for row in table(text)}, any(row["score"] for row in table(text))
        content = json.loads(text)
        return {content["max-score"] / 2}, True
    return set(), False


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("target", ["classroom50", "csv"])
@pytest.mark.parametrize("kept", [(), ("read_label", "confusion_matrix"), tuple(f"fcn8s.{name}" for name in ("layers", "miou"))])
def test_no_maximum_shrinks_and_no_total_is_made_of_a_part(target, kept, by_hand):
    found, has_score = maxima(target, all_but(kept), by_hand)
    assert found <= {100 if by_hand else 70} and not has_score
    found, has_score = maxima(target, fake_result("ada"), by_hand)
    assert found <= {100 if by_hand else 70} and has_score is not by_hand


def test_gradescope_never_calls_a_part_the_whole():
    head = gradescope_results(all_but(("read_label", "confusion_matrix")))["output"].splitlines()
    assert head[0] == "8 of 100 points so far; 92 are still open, not lost." and len(head) == 15
    done = set_check(set_check(fake_result("ada"), "question_1", 10), "question_2", 0)
    assert gradescope_results(done)["output"] == "80 of 100 points."
