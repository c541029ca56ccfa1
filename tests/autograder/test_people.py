"""Names, sections, addresses, late and missing people on the class page."""

import csv
import json

import pytest
from click.testing import CliRunner
from fake_class import CHECKS, HOSTILE, TITLES, fake_result
from read_page import Page

from autograder.alike.notes import Note
from autograder.alike.page import write_notes
from autograder.batch.changes import Change, write_changes
from autograder.cli import main
from autograder.cli.people import keep_people
from autograder.handins.bulk.handins import BulkSubmission, write_handins
from autograder.report import write_class_page
from autograder.report.people import Person, mail_link, read_people, write_people

ROSTER = """Student;Login ID;Section;Email
Müller, Änne;amue;Mon 10;amue@uni.example
Müller, Änne;amue;Tue 14;amue@uni.example
Li, Bo;0042;Tue 14;
"""


def class_page(folder, *names):
    return Page(write_class_page([fake_result(name) for name in names], folder, titles=TITLES, checks=CHECKS).read_text(encoding="utf-8"))


def test_a_class_list_becomes_names_addresses_and_sections(tmp_path):
    (tmp_path / "roster.csv").write_text(ROSTER, encoding="cp1252")
    assert [one.name for one in keep_people(tmp_path, tmp_path / "roster.csv").students] == ["amue", "0042"]
    assert read_people(tmp_path) == {
        "amue": Person("amue", "Änne Müller", "amue@uni.example", "Mon 10, Tue 14"),
        "0042": Person("0042", "Bo Li", "", "Tue 14"),
    }


def test_whom_a_class_list_leaves_out_is_said_before_anything_is_graded(tmp_path, monkeypatch):
    """By a watch too, which may wait for days."""
    (tmp_path / "roster.csv").write_text("id,name,role\nada,Ada,Student\neve,Eve,Teacher\n")
    (tmp_path / "in").mkdir()
    monkeypatch.setattr("autograder.batch.watching.Watch.run", lambda watch, once: None)
    words = ["watch", tmp_path / "in", "--out", tmp_path / "out", "--roster", tmp_path / "roster.csv", "--due", "2026-03-14T23:59",
             "--zone", "Europe/Berlin"]  # fmt: skip
    said = CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False).output
    assert "left out, staff by their role: line 3 (eve" in said and "due 2026-03-14 23:59:00 CET (Europe/Berlin)" in said


@pytest.mark.parametrize(("head", "section"), [("Sections", "Mon 10"), ("Gruppe", "Mon 10"), ("Group", "Mon 10"), ("Points", "")])
def test_sections_are_found_by_the_names_that_systems_give_the_column(tmp_path, head, section):
    (tmp_path / "roster.csv").write_text(f"name,email,{head}\nBo Li,bo@uni.example,Mon 10\n")
    keep_people(tmp_path, tmp_path / "roster.csv")
    assert read_people(tmp_path)["bo"].section == section


def test_lateness_comes_from_the_hand_ins_and_names_survive_a_spreadsheet(tmp_path):
    write_people([Person("=ada", "-Ada", "+a@uni.example", "@home")], tmp_path)
    (tmp_path / "handins.csv").write_text(
        "\ufeffname,submitted,due,lateness,penalty,file,notes\n'=ada,2026-03-15,,1 d 2 h,,x.zip,\nbo,,,late,,,\n"
    )
    rows = csv.reader((tmp_path / "people.csv").open(encoding="utf-8-sig"))
    assert all(not cell.startswith(("=", "-", "+", "@")) for row in rows for cell in row)
    people = read_people(tmp_path)
    assert people["=ada"] == Person("=ada", "-Ada", "+a@uni.example", "@home", "1 d 2 h")
    assert people["bo"].lateness == "late"


def test_every_table_that_is_written_begins_with_the_mark_that_a_spreadsheet_needs(tmp_path):
    """Excel takes a table without it for one of the machine's own encoding, and shows other letters."""
    (tmp_path / "Änne").mkdir()
    (tmp_path / "Änne" / "result.json").write_text(json.dumps(fake_result("Änne")))
    write_people([Person("Änne")], tmp_path)
    write_changes([Change("Änne", "scores", "4", "2", "rubric changed")], tmp_path)
    write_notes([Note("gate", "fcn8s.miou", ("Änne",), "says")], tmp_path, "fcn")
    write_handins([BulkSubmission("Änne", tmp_path / "Änne")], tmp_path / "handins.csv")
    for words in (["mark", tmp_path, "--pages"], ["export", tmp_path, "--to", "csv"], ["export", tmp_path, "--to", "mail"]):
        CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)
    found = {path.name: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    assert len(found) == 7 and {content.count(b"\xef\xbb\xbf") for content in found.values()} == {1}
    assert all(content.startswith(b"\xef\xbb\xbf") and ("Änne".encode() in content) == (name != "addresses.csv")
               for name, content in found.items())  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b"name\n", b"name,email\nx,1,2,3\n"])
def test_a_damaged_list_stops_no_page(tmp_path, content):
    (tmp_path / "people.csv").write_bytes(content)
    (tmp_path / "handins.csv").write_bytes(content)
    assert "The class" in class_page(tmp_path, "ada").text


def test_who_is_missing_and_who_was_late_is_said(tmp_path):
    write_people([Person("ada", "Ada L", "ada@uni.example", "Mon 10"), Person("zoe", "Zoe M", "zoe@uni.example", "Tue 14")], tmp_path)
    (tmp_path / "handins.csv").write_text("name,submitted,lateness\nada,,2 h\n")
    page = class_page(tmp_path, "ada", "bo")
    text = " ".join(page.text.split())
    assert "1 missing 1 late" in text and "1 handed in nothing Zoe M Tue 14" in text and "1 handed in late Ada L, 2 h late Mon 10" in text
    assert {"mailto:?bcc=zoe@uni.example", "mailto:?bcc=ada@uni.example"} < {attrs.get("href") for attrs in page.all("a")}
    rows = [attrs for attrs in page.all("tr") if attrs.get("data-missing")]
    assert rows == [{"data-missing": "1", "data-mail": "zoe@uni.example", "data-section": "Tue 14"}]


def test_without_a_list_nothing_is_said_of_it(tmp_path):
    text = class_page(tmp_path, "ada").text
    assert not any(word in text for word in ("missing", "Whom to write to", "Section", "Write to"))


def test_what_people_call_themselves_becomes_no_tag(tmp_path):
    write_people([Person("ada", HOSTILE, HOSTILE, HOSTILE), Person("zoe", HOSTILE, f"{HOSTILE}@x", HOSTILE)], tmp_path)
    (tmp_path / "handins.csv").write_text(f'name,submitted,lateness\nada,,"{HOSTILE.replace(chr(34), chr(39))}"\n')
    page = class_page(tmp_path, "ada")
    assert page.text.count("<script>alert(1)</script>") > 5 and len(page.all("script")) == 1 and page.all("img") == []
    assert not page.faults


@pytest.mark.parametrize(("addresses", "link"), [
    (["a@x.de", "b.c+d@x-y.org"], "mailto:?bcc=a@x.de,b.c%2Bd@x-y.org"), ([], ""), (["nobody"], ""), (["a@x.de?cc=b@y.de"], ""),
    (["a@x.de&body=x", "b@x.de"], "mailto:?bcc=b@x.de"), (["a@x.de,b@y.de"], ""), ([f"student{n}@uni.example" for n in range(200)], ""),
])  # fmt: skip
def test_a_link_writes_to_addresses_and_to_nothing_else(addresses, link):
    assert mail_link(addresses) == link


def test_causes_come_first_and_work_that_nobody_touched_last(tmp_path):
    idle = [fake_result(name, submission_sha256="0" * 64) for name in ("ada", "bo")]
    for result in idle:
        result["score"] = 0
        for check in result["checks"]:
            earned = check["status"] == "earned"
            check.update({"points": 0, "status": "not_earned", "cause": "stub", "message": "not completed"} if earned else {})
    busy = [fake_result(name, submission_sha256="1" * 64, notes=["odd"]) for name in ("cleo", "dmitri")]
    text = write_class_page([*idle, *busy], tmp_path, titles=TITLES, checks=CHECKS).read_text()
    order = ["What went wrong", "2 submissions are identical, byte for byte", "1 other note", "work that nobody touched", "<h2>Everybody"]
    assert [text.count(words) for words in order] == [1] * 5
    assert sorted(order, key=text.index) == order


def test_marking_takes_a_class_list_for_the_page(tmp_path):
    (tmp_path / "graded" / "amue").mkdir(parents=True)
    (tmp_path / "graded" / "amue" / "result.json").write_text(json.dumps(fake_result("amue")))
    (tmp_path / "roster.csv").write_text(f"{ROSTER}Total: 2 students\n")
    done = CliRunner().invoke(main, ["mark", str(tmp_path / "graded"), "--pages", "--roster", str(tmp_path / "roster.csv")])
    assert "2 people of" in done.output and "line 5 (Total: 2 students)" in done.output
    assert "Änne Müller" in (tmp_path / "graded" / "index.html").read_text()
    (tmp_path / "roster.csv").write_text("a,b\n1,2\n")
    done = CliRunner().invoke(main, ["mark", str(tmp_path / "graded"), "--pages", "--roster", str(tmp_path / "roster.csv")])
    assert done.exit_code == 2 and "expected a header with student_id" in done.output
