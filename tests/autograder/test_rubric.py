"""Rubrics: one file says all; what it must not say is refused with words."""

import json
from pathlib import Path

import pytest
from tiny import TINY

from autograder import report
from autograder.course.assignment import open_assignment
from autograder.course.rubric import ID, RubricError, read_rubric, round_down
from autograder.handins.bulk.known import know
from autograder.handins.bulk.times import zone_named

GOOD = (TINY / "rubric.toml").read_text()


def rubric(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rubric.toml"
    path.write_text(text)
    return path


def test_the_rubric_of_fcn_adds_up():
    found = open_assignment("fcn").rubric
    assert found.max_score == sum(check.points for check in found.checks.values()) > 0
    for check in found.checks.values():
        assert sum(check.parts.values()) == check.points, check.id
    for defined in found.cells:
        assert defined.notebook in found.notebooks
    gates = [check for check in found.checks.values() if "checkpoint" in check.settings]
    assert {check.settings["checkpoint"] for check in gates} == set(found.checkpoints)
    for gate in gates:
        for split in ("course", "base", "own", "sample"):
            assert 0 <= gate.settings[split]["zero"] < gate.settings[split]["full"] <= 1


def test_every_cause_that_the_checks_of_fcn_can_give_has_words():
    import re

    words = open_assignment("fcn").rubric.causes
    folder = Path(open_assignment("fcn").folder)
    families = "label|hist|iou|accuracy|mean|scores|weights|shape|crop|forward|dropout|copy|gate|checkpoint|grader"
    used = set()
    for path in [*folder.rglob("*.py"), *(folder.parents[1]).glob("*.py")]:
        used |= set(re.findall(rf"""["']((?:{families})\.[a-z_0-9]+)["']""", path.read_text()))
    used -= {"weights.bin", "weights.json"}
    assert not used - set(words), "causes without words on the class page"


@pytest.mark.parametrize(("old", "new", "words"), [
    ("parts = { values = 3, dtype = 1 }", "parts = { values = 3 }", "give 3 points, expected 4"),
    ("points = 4\n", "", "'double' needs a title and points"),
    ("points = 4\n", 'points = "four"\n', "'double' needs a title and points"),
    ("points = 4\n", "points = 0\n", "expected 0"),
    ('title = "Every value is doubled"\n', "", "needs a title"),
    ('assignment = "tiny"\n', "", "'assignment'"),
    ("[solution_cells]", "[other_cells]", "solution_cells"),
    ("points = 4", "points = = 4", "is no TOML"),
    ('defines = "double", ', "", "'defines'"),
    ('needs = ["double"]', 'need = ["double"]', "has a key 'need': if 'needs' was meant, correct it"),
    ("[checks.double]", "[checks.größe]", "needs quotes"),
    ("[checks.double]", '[checks."größe"]', "check 'größe' needs an id of A-Z"),
    ("[checks.double]", '[checks."a b"]', "check 'a b' needs an id of A-Z"),
    ("# The smallest", "\ufeff# The smallest", "byte order mark"),
])  # fmt: skip
def test_a_faulty_rubric_is_refused_with_the_place(tmp_path, old, new, words):
    assert GOOD.count(old) >= 1
    with pytest.raises(RubricError, match="rubric.toml") as caught:
        read_rubric(rubric(tmp_path, GOOD.replace(old, new, 1)))
    assert words in str(caught.value)


def test_a_missing_rubric_and_an_unknown_assignment_say_what_there_is(tmp_path):
    with pytest.raises(RubricError, match="needs a rubric.toml"):
        read_rubric(tmp_path / "rubric.toml")
    with pytest.raises(RubricError, match="no assignment 'fnc'. Known: .*fcn"):
        open_assignment("fnc")


def test_settings_of_a_check_and_of_the_rubric_are_kept(tmp_path):
    found = read_rubric(rubric(tmp_path, "threshold = 3\n" + GOOD))
    assert found.settings == {"threshold": 3}
    assert found.checks["net.accuracy"].settings == {"full": 0.9, "zero": 0.5}
    assert found.checks["net.forward"].parts == {"all": 3.0}


def test_overrides_replace_settings_of_one_run_only():
    changed = open_assignment("fcn", padding=103)
    assert changed.rubric.settings["padding"] == 103
    assert open_assignment("fcn").rubric.settings["padding"] == read_rubric(changed.folder / "rubric.toml").settings["padding"]


@pytest.mark.parametrize(("points", "expected"), [
    (0, 0), (0.49, 0), (0.5, 0.5), (3.74, 3.5), (3.75, 3.5), (3.99, 3.5), (4, 4), (3.9999999, 4), (4 - 1e-9, 4), (0.1 + 0.2 + 0.2, 0.5),
])  # fmt: skip
def test_points_are_rounded_down_to_halves(points, expected):
    assert round_down(points) == expected


@pytest.mark.parametrize("need", ["network", "net or network"])
def test_a_need_that_nothing_can_meet_is_refused_by_name(tmp_path, need):
    text = GOOD.replace('needs = ["net", "checkpoint dots"]', f'needs = ["{need}", "checkpoint dots"]')
    words = r"check 'net.accuracy' needs 'network'. Expected grade ids .* there is: checkpoint dots, double, net"
    with pytest.raises(RubricError, match=words):
        read_rubric(rubric(tmp_path, text))


def test_of_two_needs_one_may_do(tmp_path):
    text = GOOD.replace('needs = ["net", "checkpoint dots"]', 'needs = ["net or double", "checkpoint dots"]')
    assert read_rubric(rubric(tmp_path, text)).checks["net.accuracy"].needs == ("net or double", "checkpoint dots")


def test_a_check_by_hand_needs_its_answer():
    checks = read_rubric(TINY / "rubric.toml").checks
    assert checks["question"].needs == ("answer question",) and checks["net.accuracy"].needs == ("net", "checkpoint dots")


def test_students_get_needs_visible_checks_and_limits_from_the_rubric():
    facts = open_assignment("fcn").rubric.facts
    assert facts["needs"]["pretraining.miou"] == ["fcn32s", "checkpoint fcn32s"] and facts["needs"]["question_2"] == ["answer question_2"]
    assert facts["visible"]["fcn8s.crop"] == 'check_alignment(FCN8s, "fcn8s")' and "question_1" not in facts["visible"]
    assert list(facts["limits"]) == ["pretraining.miou", "fcn8s.miou"]
    assert facts["limits"]["fcn8s.miou"]["base"] == open_assignment("fcn").rubric.checks["fcn8s.miou"].settings["base"]
    assert facts["checks"] == {name: check.points for name, check in open_assignment("fcn").rubric.checks.items()}


@pytest.mark.parametrize(("line", "table"), [("due = 2026-03-14T23:59:00+01:00", "causes"), ("padding = 97", "causes")])
def test_a_line_added_at_the_end_says_in_which_table_it_stands(tmp_path, line, table):
    with pytest.raises(RubricError, match=rf"{line.split()[0]!r} stands below \[{table}\].* Move the line to the top") as caught:
        read_rubric(rubric(tmp_path, f"{GOOD}\n{line}\n"))
    assert "rubric.toml" in str(caught.value)


def test_a_due_date_among_the_keys_of_a_check_is_refused(tmp_path):
    text = GOOD.replace("manual = true\n", "manual = true\ndue = 2026-03-14T23:59:00+01:00\n")
    with pytest.raises(RubricError, match=r"'due' stands below \[checks.\"question\"\]"):
        read_rubric(rubric(tmp_path, text))


@pytest.mark.parametrize(("text", "moment"), [
    ("2026-03-14T23:59:00+01:00", "2026-03-14T22:59:00+00:00"), ("2026-03-14T23:59:00Z", "2026-03-14T23:59:00+00:00"),
    ("2026-03-14T23:59:00", "2026-03-14T22:59:00+00:00"), ("2026-07-14 23:59:00", "2026-07-14T21:59:00+00:00"),
    ("2026-10-25T02:30:00", "2026-10-25T01:30:00+00:00"), ("2026-03-29T02:30:00", "2026-03-29T01:30:00+00:00"),  # twice, and never
])  # fmt: skip
def test_a_due_date_without_an_offset_means_the_stated_zone(tmp_path, text, moment):
    due = read_rubric(rubric(tmp_path, f"due = {text}\n{GOOD}")).due
    known = know(None, due.isoformat(), zone_named("Europe/Berlin"))
    assert known.terms.due.isoformat() == moment and any("(Europe/Berlin)" in note for note in known.notes)


@pytest.mark.parametrize("text", ["2026-03-14T23:59", "2026-03-14 23:59", "2026-03-14T23:59:00 CET", "14.3.2026", "2026-02-30T12:00:00"])
def test_a_due_date_that_is_no_toml_says_how_one_is_written(tmp_path, text):
    with pytest.raises(RubricError, match=r"is no TOML: .* line 1, .* has seconds: due = 2026-03-14T23:59:00$"):
        read_rubric(rubric(tmp_path, f"due = {text}\n{GOOD}"))
    with pytest.raises(RubricError, match=r"is no TOML: [^:]*$"):
        read_rubric(rubric(tmp_path, f"padding = {text} x\n{GOOD}"))


def test_every_id_that_a_rubric_may_have_is_one_that_a_result_may_have():
    schema = json.loads((Path(report.__file__).with_name("result.schema.json")).read_text())
    assert f'"pattern": "^{ID.pattern}$"' in json.dumps(schema)
