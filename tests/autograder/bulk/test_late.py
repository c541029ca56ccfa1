"""Extensions, free days and penalties: said in handins.csv, summary, report and class page; points themselves never change."""

import csv
import json

import pytest
from click.testing import CliRunner
from downloads import by_name
from fake_class import fake_result
from tiny import TINY

from autograder.cli import main
from autograder.handins.bulk import BulkError, read_bulk, write_handins
from autograder.handins.bulk.known import know
from autograder.handins.bulk.late import read_rule
from autograder.handins.bulk.times import zone_named
from autograder.handins.bulk.unpacking import Problem
from autograder.report import late_of, same_page, write_class_page, write_student_page, write_summary

ROSTER = "student_id,name\nada,Ada Lovelace\nben,Ben Byron\ncleo,Cleo Nile\ndora,Dora Voss\neve,Eve Moon\n"
DUE = "2026-03-14T23:59"  # in Berlin: 22:59 UTC


@pytest.fixture
def known(tmp_path):
    def make(late="", **terms):
        (tmp_path / "roster.csv").write_text(ROSTER)
        if late:
            (tmp_path / "late.csv").write_text(late)
            terms["late"] = tmp_path / "late.csv"
        return know(tmp_path / "roster.csv", **{"due": DUE, "zone": zone_named("Europe/Berlin"), **terms})

    return make


def exchange(**times):
    return {f"{name}+fcn+{time}/1_data.ipynb": name for name, time in times.items()}


CLASS = exchange(
    ada="2026-03-14 22:59:00 UTC", ben="2026-03-14 23:05:00 UTC", cleo="2026-03-16 10:00:00 CET", dora="2026-03-16 10:00:00 CET",
    eve="2026-03-20 10:00:00 CET",
)  # fmt: skip
LATE = "id;extension;days\n*;10 min;\ncleo;2026-03-16 12:00;\ndora;;1\n"


def test_grace_extension_and_free_days_each_do_what_they_say(tmp_path, export, known):
    handins, notes = read_bulk(export(CLASS), tmp_path / "out", known(LATE, penalty="10% per day, at most 50%"))
    assert {one.name: (one.lateness, one.penalty, one.due) for one in handins} == {
        "ada": ("", "", "2026-03-15T00:09:00+01:00"),
        "ben": ("", "", "2026-03-15T00:09:00+01:00"),  # within the ten minutes
        "cleo": ("", "", "2026-03-16T12:10:00+01:00"),
        "dora": ("1 d 9 h", "10%", "2026-03-15T00:09:00+01:00"),  # two days have begun, one is free
        "eve": ("5 d 9 h", "50%", "2026-03-15T00:09:00+01:00"),  # six have begun
    }
    assert "due 2026-03-14 23:59:00 CET (Europe/Berlin)" in notes
    found = by_name(handins)
    assert found["cleo"].notes == ("due 2026-03-16 12:10:00 CET (Europe/Berlin) for this student",)
    assert "1 late days are free" in found["dora"].notes and found["ben"].submitted == "2026-03-15T00:05:00+01:00"


def test_a_due_date_without_an_offset_means_the_stated_zone(tmp_path, export, known):
    files = exchange(ada="2026-03-14 23:30:00 UTC")
    for zone, lateness in (("Europe/Berlin", "31 min"), ("America/Los_Angeles", ""), ("Asia/Kolkata", "5 h 1 min")):
        (handin,), _ = read_bulk(export(files), tmp_path / "out", known(zone=zone_named(zone)))
        assert handin.lateness == lateness
    (handin,), _ = read_bulk(export(files), tmp_path / "out", known(due="2026-03-14T23:59+02:00"))
    assert handin.lateness == "1 h 31 min"


@pytest.mark.parametrize(("submitted", "late", "found"), [
    ("2026-11-01 19:30:00 EST", "", ("23 h 30 min", "10%")),  # 24 hours and a half went by, and by the clock no day
    ("2026-11-01 20:30:00 EST", "", ("1 d 30 min", "20%")), ("2026-10-31 22:00:00 EDT", "", ("2 h", "10%")),
    ("2026-11-01 19:30:00 EST", "id,days\nada,1\n", ("23 h 30 min", "")),
    ("2026-11-01 20:30:00 EST", "id,days\nada,1\n", ("1 d 30 min", "10%")),
    ("2026-11-01 20:00:00 EST", "id,extension\nada,1 d\n", ("", "")),
    ("2026-11-01 20:30:00 EST", "id,extension\nada,1 d\n", ("30 min", "10%")),
    ("2026-11-01 01:30:00 EDT", "id,extension\nada,15 min\n", ("5 h 15 min", "10%")),
])  # fmt: skip
def test_a_day_later_is_the_same_time_by_the_clock_where_clocks_are_put_back(tmp_path, export, known, submitted, late, found):
    """In New York they are at two o'clock on 1 November 2026."""
    terms = known(late, due="2026-10-31T20:00", zone=zone_named("America/New_York"), penalty="10% per day")
    (handin,), _ = read_bulk(export(exchange(ada=submitted)), tmp_path / "out", terms)
    assert (handin.lateness, handin.penalty) == found


@pytest.mark.parametrize(
    ("submitted", "found"), [("2026-03-08 20:30:00 EDT", ("23 h 30 min", "10%")), ("2026-03-08 21:30:00 EDT", ("1 d 30 min", "20%"))]
)
def test_a_day_that_is_too_short_is_24_hours(tmp_path, export, known, submitted, found):
    terms = known(due="2026-03-07T20:00", zone=zone_named("America/New_York"), penalty="10% per day")
    (handin,), _ = read_bulk(export(exchange(ada=submitted)), tmp_path / "out", terms)
    assert (handin.lateness, handin.penalty) == found


def test_a_time_that_cannot_be_read_is_named_and_nobody_is_late_by_it(tmp_path, export, known):
    handins, _ = read_bulk(export(exchange(ada="2026-03-14 99:99 CET", ben="2026-03-14 22:00 QQQ")), tmp_path / "out", known())
    assert [one.lateness for one in handins] == ["", ""]
    texts = [note for one in handins for note in one.notes if isinstance(note, Problem)]
    assert len(texts) == 2 and all("when it was handed in cannot be read: expected" in text for text in texts)


def test_a_system_that_says_late_and_not_how_much_is_asked_about_where_it_costs_points(tmp_path, export, known):
    archive = export({"lovelaceada_LATE_1_2_1_data.ipynb": "x"})
    (handin,), _ = read_bulk(archive, tmp_path / "out", known(penalty="10% per day"))
    assert (handin.lateness, handin.penalty) == ("late", "") and "write `submitted` into the file of --late" in handin.notes[-1]
    late = "id,submitted\nada,2026-03-15 08:00\n"
    (handin,), _ = read_bulk(archive, tmp_path / "out", known(late, penalty="10% per day"))
    assert (handin.lateness, handin.penalty) == ("8 h 1 min", "10%") and not any(isinstance(note, Problem) for note in handin.notes)


@pytest.mark.parametrize(("late", "reason"), [
    ("id,when\nada,x\n", "expected a header with id and extension, days or submitted; found 'id,when'"),
    ("id,extension\nzoe,2 d\n", "line 2: expected the id or full name of a student .*, or [*] for everybody; found 'zoe': nobody of the"),
    ("id,extension\nada,soon\n", "line 2: expected a time such as .*, found 'soon'"),
    ("id,days\nada,many\n", "line 2: expected a number of days such as 2, found 'many'"),
    ("id,days\nada,-1\n", "line 2: expected a number of days"),
    ("id,days\nada,nan\n", "line 2: expected a number of days"),
    ("id,days\nada,1\nada,2\n", "line 3: expected each student once, found ada again"),
])  # fmt: skip
def test_a_line_of_extensions_that_cannot_be_read_is_named(known, late, reason):
    with pytest.raises(BulkError, match=reason):
        known(late)


@pytest.mark.parametrize("rule", ["ten", "10%", "10% per week", "-5 points per day", "10% per day at least 5%", "1e9% per day"])
def test_a_rule_that_is_none_is_named_and_one_without_a_due_date_too(known, rule):
    with pytest.raises(BulkError, match="--penalty: expected a rule such as '10% per day'"):
        known(penalty=rule)
    with pytest.raises(BulkError, match="--penalty: expected a due date too"):
        known(due="", penalty="10% per day")


def test_rules_are_read_as_people_write_them():
    rules = ("10% per day", "5 points a day, at most 20 points", "2 % of the score per hour at most 50%", "1 point per hour")
    assert [(rule.amount, rule.unit, rule.most) for text in rules if (rule := read_rule(text))] == [
        (10, "%", 100), (5, "points", 20), (2, "% of score", 50), (1, "points", float("inf")),
    ]  # fmt: skip


# --- where people see it


@pytest.fixture
def graded(tmp_path, export, known):
    handins, _ = read_bulk(export(CLASS), tmp_path / "in", known(LATE, penalty="10% per day"))
    write_handins(handins, tmp_path / "out" / "handins.csv")
    results = [fake_result(name) for name in ("ada", "dora", "eve")]
    for result in results:
        write_student_page(result, tmp_path / "out" / result["submission"], late=late_of(tmp_path / "out" / result["submission"]))
    write_summary(results, tmp_path / "out")
    write_class_page(results, tmp_path / "out")
    return results, tmp_path / "out"


def test_the_summary_says_what_is_taken_off_and_leaves_the_points_as_they_are(graded):
    """fake_result has 70 of 100 points so far, 30 wait for a person."""
    results, out = graded
    rows = list(csv.DictReader((out / "summary.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [(row["score"], row["late penalty"], row["points after penalty"]) for row in rows] == [
        ("70", "0", "70"), ("70", "10", "60"), ("70", "60", "10"),
    ]  # fmt: skip
    assert list(rows[0])[-2:] == ["late penalty", "points after penalty"] and all(result["score"] == 70 for result in results)


def test_a_summary_without_penalties_has_no_such_columns(tmp_path, export, known):
    write_handins(read_bulk(export(CLASS), tmp_path / "in", known())[0], tmp_path / "handins.csv")
    assert "penalty" not in write_summary([fake_result("eve")], tmp_path).read_text()


@pytest.mark.parametrize(("penalty", "cells"), [
    ("20% of score", ("14", "56")), ("5 points", ("5", "65")), ("500 points", ("70", "0")), ("lots", ("lots", "")),
])  # fmt: skip
def test_a_penalty_takes_no_more_than_there_is_and_one_that_was_rewritten_is_never_ignored(tmp_path, penalty, cells):
    (tmp_path / "handins.csv").write_text(f"name,lateness,penalty\neve,1 d,{penalty}\n")
    (row,) = csv.DictReader(write_summary([fake_result("eve")], tmp_path).read_text(encoding="utf-8-sig").splitlines())
    assert (row["late penalty"], row["points after penalty"]) == cells


def test_report_and_class_page_say_it_and_a_report_is_written_again_when_it_changes(graded):
    (_, _, eve), out = graded
    text = " ".join((out / "eve" / "report.html").read_text().split())
    assert "Handed in late by 5 d 9 h (due 15 March 2026, 00:09 UTC+01:00, came 20 March 2026, 10:00 UTC+01:00)" in text
    assert "60% of the maximum off, 60 points; <b>10</b> remain" in text
    assert "Handed in late" not in (out / "ada" / "report.html").read_text()
    page = (out / "index.html").read_text()
    assert "<h2>Late</h2>" in page and "<td>1 d 9 h</td>" in page and "<td>60%</td><td>10</td>" in page
    assert same_page(eve, out / "eve")
    (out / "handins.csv").write_text((out / "handins.csv").read_text().replace("60%", "40%"))
    assert not same_page(eve, out / "eve")


@pytest.mark.parametrize("option", [("--due", "2026-03-14"), ("--penalty", "10% per day"), ("--zone", "UTC")])
@pytest.mark.parametrize("command", ["grade", "collect"])
def test_an_option_of_lateness_is_never_passed_over(tmp_path, option, command):
    (tmp_path / "ada").mkdir()
    outcome = CliRunner().invoke(main, [command, str(tmp_path / "ada"), "--out", str(tmp_path / "out"), "--assignment", str(TINY), *option])
    assert outcome.exit_code == 2 and f"{option[0]}: expected --bulk too" in " ".join(outcome.output.split())


def test_json_of_results_holds_nothing_of_it(graded):
    assert "late" not in json.dumps(graded[0])
