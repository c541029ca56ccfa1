"""Answers that a person grades: kept beside the result, shown in the report, and no danger to a grade."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from fake_class import fake_result
from quick_class import QuickJudges
from tiny import DOUBLE, InProcess, cell, notebook, settings, write_submission

from autograder.handins.answers import ANSWERS, MOST_TEXT, keep_answers
from autograder.handins.submission import read_submission
from autograder.judge.grade import grade_path
from autograder.judge.run import Run
from autograder.report import read_answers, write_student_page

SCHEME = "=== BEGIN MARK SCHEME ===\n5 points for dots.\n=== END MARK SCHEME ==="


@pytest.fixture
def opened(tmp_path):
    """A run without worker, weights and edition: answers need none of them."""
    with Run.open(settings(tmp_path / "out", data=None)) as run:
        yield run


@pytest.fixture
def kept(opened, tmp_path):
    """Hand in cells of a notebook, and return what the report gets of the answer."""

    def keep(*cells, **files):
        folder = tmp_path / "in"
        if cells:
            notebook(folder / "2_dots.ipynb", *cells)
        for name, content in files.items():
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.ipynb").write_text(content)
        submission = read_submission(folder, "ada", opened.rubric)
        keep_answers(tmp_path / "ada", submission, opened.rubric.checks)
        submission.close()
        return read_answers(tmp_path / "ada")["question"]

    return keep


def answer(text, kind="markdown", grade_id="question"):
    return cell(text, grade_id, kind)


def test_an_answer_is_kept_as_it_stands_with_its_place(kept):
    text = "Because of **two** reasons:\n\n1. <b>dots</b>\n2. $x^2$  \\o/"
    assert kept(cell("# Dots", kind="markdown"), answer(text)) == {"texts": [{"where": "2_dots.ipynb, cell 2", "text": text}], "note": ""}


def test_an_answer_in_a_code_cell_is_no_code(kept):
    assert kept(answer("Why?\n%%bash", "code"))["texts"][0]["text"] == "Why?\n%%bash"


@pytest.mark.parametrize("text", ["YOUR ANSWER HERE", "  \n", "YOUR ANSWER HERE\n", SCHEME, f"YOUR ANSWER HERE\n{SCHEME}"])
def test_a_placeholder_is_no_answer(kept, text):
    found = kept(answer(text))
    assert found["texts"] == [] and found["note"].startswith("No answer was written: 2_dots.ipynb, cell 1.")


def test_a_lost_cell_is_said(kept):
    found = kept(cell(DOUBLE, "double"))
    assert found == {"texts": [], "note": "No answer was found: no notebook that was read has a cell question."}


def test_a_damaged_notebook_may_have_held_the_answer(kept):
    assert kept(cell("x = 1", "double"), damaged='{"cells": [')["note"] == (
        "No answer was found: no notebook that was read has a cell question (the notes name the others)."
    )


def test_of_several_cells_every_text_is_shown_once(kept):
    """The metadata is copied with a cell, and either may have been filled in."""
    found = kept(answer("First."), answer("YOUR ANSWER HERE"), answer("Second."), answer("First."))
    assert {item["text"] for item in found["texts"]} == {"First.", "Second."} and len(found["texts"]) == 2


@pytest.mark.parametrize("first", ["YOUR ANSWER HERE", "Because"])
def test_what_is_written_in_cells_beneath_belongs_to_the_answer(kept, first):
    """A new cell in place of the prepared one, or behind it, with a figure between two paragraphs."""
    beneath = [cell("of dots.", kind="markdown"), cell("plt.show()"), cell("See above.", kind="raw"), cell(" ", kind="markdown")]
    found = kept(answer(first), *beneath, cell("## Question 2", kind="markdown"), cell("Explain lines.", kind="markdown"))
    written = [text for text in (first, "of dots.", "See above.") if text != "YOUR ANSWER HERE"]
    assert [item["text"] for item in found["texts"]] == written and found["note"] == ""
    assert found["texts"][-1]["where"] == "2_dots.ipynb, cell 4"


@pytest.mark.parametrize("own", ["# The next part", "---\n\n**Done?** Save it."])
def test_the_courses_own_text_beneath_an_answer_is_none(kept, own):
    found = kept(answer("YOUR ANSWER HERE"), cell(own, kind="markdown"), cell("More of the course.", kind="markdown"))
    assert found["texts"] == [] and found["note"].startswith("No answer was written")


def test_text_beneath_a_solution_cell_is_no_answer(kept):
    assert kept(cell(DOUBLE, "double"), cell("Mine.", kind="markdown"), answer("Yes."))["texts"][0]["text"] == "Yes."


def test_of_many_texts_the_last_are_shown_though_one_stood_first_too(kept):
    """nbgrader goes by the last cell of a grade id."""
    found = kept(*(answer(text) for text in ("Final.", "B.", "C.", "D.", "E.", "Final.")))
    assert [item["text"] for item in found["texts"]] == ["C.", "D.", "E.", "Final."]
    assert "6 cells have this grade id, with 5 texts; here are the last 4." in found["note"]


def test_endless_answers_are_cut_and_that_is_said(kept):
    found = kept(*(answer(f"{number} " + "x" * 3 * MOST_TEXT) for number in range(40)))
    assert [item["text"][:2] for item in found["texts"]] == ["36", "37", "38", "39"]
    assert all(len(item["text"]) < MOST_TEXT + 100 and f"[cut at {MOST_TEXT} characters" in item["text"] for item in found["texts"])
    assert "40 cells have this grade id" in found["note"]


def test_pictures_are_where_the_note_says(kept):
    assert kept(answer("See ![mine](attachment:a.png)"))["note"] == "It points to pictures: they are in the notebook."


@pytest.mark.parametrize(
    "text", [SCHEME, f"Mine.\n{SCHEME}\nMore.", SCHEME.replace("END", "ENDE"), SCHEME.replace("MARK SCHEME", "SOLUTION")]
)
def test_a_mark_scheme_is_left_out(kept, text, tmp_path):
    """As of an instructor who grades the source notebooks, to see what comes out."""
    found = kept(answer(text))
    assert "5 points" not in (tmp_path / "ada" / ANSWERS).read_text() and "instructor's notebook was left out" in found["note"]


def test_grade_ids_write_a_dash_for_a_dot(opened, tmp_path):
    notebook(tmp_path / "in" / "a.ipynb", answer("Because.", grade_id="part-why"))
    check = replace(opened.rubric.checks["question"], id="part.why")
    keep_answers(tmp_path / "ada", read_submission(tmp_path / "in", "ada", opened.rubric), {"part.why": check})
    assert read_answers(tmp_path / "ada")["part.why"]["texts"][0]["text"] == "Because."


def test_lone_surrogates_can_be_kept_and_shown(kept, tmp_path):
    found = kept(answer("broken \ud83d"))
    assert found["texts"][0]["text"] == "broken \N{REPLACEMENT CHARACTER}"
    page = write_student_page(fake_result("ada"), tmp_path, answers={"question_1": found})
    (shown,) = re.findall('class="written"[^>]*><p>(broken[^<]*)<', page.read_text(encoding="utf-8"))
    assert shown == "broken \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("content", ["", "[", "{}", "3", '["question"]', '[{"check": "a"}]', '[{"check": 1, "texts": 2, "note": 3}]'])
def test_damaged_files_of_answers_are_none(tmp_path, content):
    (tmp_path / ANSWERS).write_text(content)
    assert read_answers(tmp_path) == {}


@pytest.fixture
def graded(monkeypatch, tmp_path):
    """Grade a submission in this process; returns its result."""
    monkeypatch.setattr("autograder.judge.grade.RemoteSubject", InProcess)
    with Run.create(settings(tmp_path / "out", data=None, only=("double", "question"))) as run:
        yield lambda path: grade_path(run, path, "ada", tmp_path / "ada")


def test_answers_of_an_earlier_hand_in_are_forgotten(graded, tmp_path):
    folder = write_submission(tmp_path / "in", net=None)
    notebook(folder / "2_dots.ipynb", answer("Because."))
    assert graded(folder)["score"] == 4 and read_answers(tmp_path / "ada")["question"]["texts"]
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    assert graded(tmp_path / "broken.zip")["score"] == 0 and read_answers(tmp_path / "ada") == {}


def test_a_file_of_answers_that_cannot_be_written_costs_no_points(graded, tmp_path):
    folder = write_submission(tmp_path / "in", net=None)
    (tmp_path / "ada" / ANSWERS / "a folder in its place").mkdir(parents=True)
    assert graded(folder)["score"] == 4 and read_answers(tmp_path / "ada") == {}


def test_files_that_are_written_again_have_the_answers(monkeypatch, tmp_path):
    """The journal holds results only."""
    judges = QuickJudges(monkeypatch, tmp_path)
    paths = judges.write("ann")
    notebook(paths[0] / "2_dots.ipynb", answer("Because of <dots>."))
    first = judges.run(paths, only=("double", "question"))
    shutil.rmtree(judges.out / "ann")
    assert judges.run(paths, only=("double", "question")) == first and judges.graded == []
    assert "Because of &lt;dots&gt;." in (judges.out / "ann" / "report.html").read_text()
    assert json.loads((judges.out / "ann" / "result.json").read_text()) == first[0]
