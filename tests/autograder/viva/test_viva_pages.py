"""Pages and command: what a student reads, what only the examiner reads, and how both come about."""

import itertools
import json
import re
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from tiny import InProcess
from viva_forms import hand_in

from autograder.batch import write_result
from autograder.cli.viva import viva_command
from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings
from autograder.viva import choosing
from autograder.viva.pages import write_pages
from autograder.viva.wording import SUPPOSED

HOSTILE = "</pre><script>alert(1)</script>{{ 7 * 7 }}\x1b[31m\u202e`"
QUESTION = {
    "name": "step-003", "defines": HOSTILE, "where": "2_network.ipynb, cell 2", "line": 4, "kind": "constant", "old": "255", "new": "254",
    "keyword": "ignore_index", "about": ["a", "b"],
    "before": f"loss = f({HOSTILE}, ignore_index=255)", "after": "loss = f(ignore_index=254)",
    "topic": "learning", "ask": "step", "given": HOSTILE, "was": HOSTILE, "now": "", "answers": ["Measured: " + HOSTILE],
    "pictures": [],
}  # fmt: skip


def sheet(student: str, **more):
    return {"key": "k", "student": student, "note": "", "seconds": 1.0, "questions": [QUESTION | more]}


@pytest.fixture
def pages(tmp_path):
    write_pages(tmp_path, {"ada": sheet("Ada <b>"), "bob": sheet("Bob")}, "Small <i>", ["python", "-m", "autograder", "viva", "my graded"])
    return {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}


def test_each_student_has_two_pages_and_the_class_both(pages):
    assert set(pages) == {"questions.html", "answers.html"} | {
        f"{what}/{name}.html" for what in ("questions", "answers") for name in ("ada", "bob")
    }
    assert pages["questions.html"].count('<article class="sheet">') == 2
    assert pages["questions/ada.html"].count('<article class="sheet">') == 1 and "Bob" not in pages["questions/ada.html"]


def test_no_answer_stands_on_a_page_for_students(pages):
    for name, page in pages.items():
        assert ("Measured: " in page) == name.startswith("answers"), name
        assert ("--change" in page) == name.startswith("answers")


def test_what_a_student_wrote_does_nothing_on_a_page(pages):
    for page in pages.values():
        assert "<script>" not in page and "<b>Ada" not in page and "<i>" not in page and "\x1b" not in page
        assert "script-src &#39;none&#39;" in page or "script-src 'none'" in page
        assert "{{ 7 * 7 }}" in page


def test_the_line_is_quoted_with_its_place_and_the_change_is_said(pages):
    text = re.sub(r"<[^>]+>", "", pages["questions/bob.html"])
    assert "2_network.ipynb, cell 2, line 4" in text
    assert "Suppose you had written ignore_index=254 instead of ignore_index=255:" in text
    assert "What would one training step do then" in text


def test_the_command_is_printed_with_quotes_where_the_shell_needs_them(tmp_path):
    write_pages(tmp_path, {"a b": sheet("A", name="step-003")}, "Small", ["python", "-m", "autograder", "viva", "my graded"])
    page = (tmp_path / "answers" / "a b.html").read_text()
    assert "viva &#39;my graded&#39; --student &#39;a b&#39; --change step-003" in page


@pytest.mark.parametrize("kind", SUPPOSED)
def test_every_kind_of_change_has_its_words(tmp_path, kind):
    write_pages(tmp_path, {"ada": sheet("Ada", kind=kind, keyword="")}, "Small", ["viva"])
    text = re.sub(r"<[^>]+>", "", (tmp_path / "questions" / "ada.html").read_text())
    assert "Suppose " in text
    assert ("ignore_index=254" in text) == (kind != "removed")


def test_a_sheet_without_questions_says_why(tmp_path):
    write_pages(tmp_path, {"ada": sheet("Ada") | {"questions": [], "note": "None of the definitions runs"}}, "Small", ["viva"])
    assert "none of the definitions could be run" in (tmp_path / "questions" / "ada.html").read_text()
    assert "None of the definitions runs" in (tmp_path / "answers" / "ada.html").read_text()


# ---------------------------------------------------------------------------------------------------------------- the command
@pytest.fixture
def graded(small, tmp_path, in_process, monkeypatch):
    """A graded class of two, whose submissions lie in ``submitted``."""
    monkeypatch.setattr("autograder.judge.grade.RemoteSubject", InProcess)
    out = tmp_path / "graded"
    with Run.create(Settings(str(small), out, secret="s", device="cpu")) as run:
        for name in ("ada", "bob"):
            write_result(grade_path(run, hand_in(tmp_path / "submitted" / name, {}), name), out / name, run.rubric)
    return out


def viva(graded, small, *options, submissions=True):
    where = ["--submissions", str(graded.parent / "submitted")] if submissions else []
    return CliRunner().invoke(viva_command, [str(graded), *where, "--assignment", str(small), *options])


def test_the_command_makes_sheets_and_measures_an_answer_again(graded, small):
    done = viva(graded, small, "--questions", "2")
    assert done.exit_code == 0, done.output
    assert "2 sheets" in done.output
    question = json.loads((graded / "viva" / "measured" / "bob.json").read_text())["questions"][0]
    assert f"--student bob --change {question['name']}" in (graded / "viva" / "answers" / "bob.html").read_text()
    again = viva(graded, small, "--student", "bob", "--change", question["name"])
    assert again.exit_code == 0 and question["answers"][0] in again.output and question["after"] in again.output


def test_the_roster_says_who_are_neighbours(graded, small, tmp_path, monkeypatch):
    roster = tmp_path / "roster.csv"
    roster.write_text("student_id,name,role\nbob,Bob,Student\nada,Ada,Student\ncleo,Cleo,Teacher\n")
    asked = []
    monkeypatch.setattr("autograder.viva.sitting.sheet_of", lambda run, plan, path, folder, *_: asked.append(folder) or sheet(folder))
    done = viva(graded, small, "--roster", str(roster), "--questions", "1")
    assert done.exit_code == 0 and "left out, staff by their role: line 4 (cleo" in done.output
    assert asked == ["bob", "ada"]


def test_one_student_is_asked_otherwise_than_the_kept_neighbours(graded, small):
    viva(graded, small, "--questions", "1")
    kept = {name: (graded / "viva" / "measured" / f"{name}.json").read_text() for name in ("ada", "bob")}
    assert viva(graded, small, "--questions", "1", "--student", "bob").exit_code == 0
    assert (graded / "viva" / "measured" / "bob.json").read_text() == kept["bob"]


@pytest.mark.parametrize(("options", "words"), [
    (("--student", "zoe"), "there is no result of 'zoe'"),
    (("--change", "step-001"), "give --student"),
    (("--student", "ada", "--change", "step-9999"), "has no change 'step-9999'"),
    (("--questions", "0"), "0 is not in the range"),
    (("--require-isolation", "lead"), "lead"),
])  # fmt: skip
def test_bad_usage_is_named(graded, small, options, words):
    done = viva(graded, small, *options)
    assert done.exit_code == 2 and words in done.output


def test_submissions_that_are_not_there_are_named_and_nothing_is_written(graded, small):
    done = viva(graded, small, submissions=False)
    assert done.exit_code == 2 and "there is none of ada, bob" in done.output and "--submissions FOLDER" in done.output
    assert not (graded / "viva").exists()


def test_the_journal_says_where_submissions_lay_and_one_that_is_gone_is_named_with_its_place(graded, small):
    away = graded.parent / "submitted"
    (graded / ".handins").mkdir()
    (away / "bob").rename(graded / ".handins" / "bob")
    (graded / "journal.jsonl").write_text(json.dumps({"do": "places", "places": {"ada": "../submitted/ada", "bob": ".handins/bob"}}) + "\n")
    moved = graded.rename(graded.with_name("copy"))  # what lies in the folder of results moves with it
    done = viva(moved, small, "--questions", "1", submissions=False)
    assert done.exit_code == 0 and "2 sheets" in done.output, done.output
    (away / "ada").rename(away / "elsewhere")
    done = viva(moved, small, submissions=False)
    assert done.exit_code == 2 and f"at {away / 'ada'} there is none of ada." in " ".join(done.output.split()), done.output


def test_the_folder_of_a_student_called_viva_is_not_written_into(graded, small):
    (graded / "viva").mkdir()
    (graded / "viva" / "result.json").write_text((graded / "ada" / "result.json").read_text().replace('"ada"', '"viva"'))
    hand_in(graded.parent / "submitted" / "viva", {})
    done = viva(graded, small)
    assert done.exit_code == 2 and "--out FOLDER" in done.output


def test_fewer_questions_than_wanted_are_said(graded, small, monkeypatch):
    clock = itertools.count()  # a second passes between any two looks
    monkeypatch.setattr(choosing, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    done = viva(graded, small, "--seconds", "1", "--questions", "12", "--student", "ada")
    assert done.exit_code == 1 and "1 with fewer than 12 questions" in done.output
