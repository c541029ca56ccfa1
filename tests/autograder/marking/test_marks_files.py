"""Marks at the door: what a slip in them is answered with, and who is believed where two said something."""

import json

import pytest
from marked_class import graded_class, put_marks

from autograder.marking import MarksError, marked, read_marks
from autograder.marking.books import line_of

T = "2026-03-14T10:00:0{}Z"


def refused(tmp_path, text):
    (tmp_path / "marks.toml").write_text(text)
    with pytest.raises(MarksError) as error:
        read_marks(tmp_path)
    return str(error.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(("text", "words"), [
    ("[answers]\n", 'marks.toml, line 1: the file: by = "your name" at its top is missing; add it'),
    ('by = "ada"\n[answers.ben.question_1]\npoints = 7.3\n',
     "marks.toml, line 3: answers.ben.question_1.points: expected points from 0 on in steps of 0.5; found 7.3"),
    ('by = "ada"\n\n[answers.ben.question_1]\npoint = 7\n',
     "marks.toml, line 3: answers.ben.question_1: expected points, criteria, half, adjust, reason, comment, of, when, saw and nothing "
     "else, found point; points was meant?"),
    ('by = "ada"\n[overrides.ben."fcn32s.crop"]\npoints = 4\nwhen = 2026-03-14\n',
     'marks.toml, line 2: overrides.ben.fcn32s.crop: reason = "why" is missing; add it'),
    ('by = "ada"\n[overrides.ben."fcn32s.crop"]\npoints = 4\nreason = " "\nwhen = 2026-03-14\n',
     "marks.toml, line 4: overrides.ben.fcn32s.crop.reason: expected the reason, a text in quotes; found ' '"),
    ('by = "ada"\n[overrides.ben.scores]\npoints = 4\nreason = "x"\nwhen = "14.3."\n',
     "marks.toml, line 5: overrides.ben.scores.when: expected a date, or a date and time with an offset, without quotes, such as "
     "2026-03-14T10:00:00+01:00; found '14.3.'"),
    ('by = "ada"\n[overrides.ben.fcn32s.crop]\npoints = 4\n',
     "marks.toml, line 2: overrides.ben.fcn32s: expected points, reason, was, when, saw and nothing else, found crop; a name with a dot in "
     'it needs quotes: "fcn32s.crop"'),
    ('by = "ada"\n[answers.ben.question_1]\npoints = 4\ncriteria = ["named"]\n',
     "marks.toml, line 2: answers.ben.question_1: expected points, or criteria with half and adjust, found both; take one of them away"),
    ('by = "ada"\n[answers.ben.question_1]\ncriteria = ["named"]\nadjust = -1\n',
     'marks.toml, line 2: answers.ben.question_1: reason = "why" is missing; add it'),
    ('by = "ada"\n[answers.ben.question_1]\ncriteria = ["named"]\nhalf = ["named"]\n', "named stands in criteria and in half"),
    ('by = "ada"\n[answers.ben.question_1]\npoints = seven\n', "marks.toml is no TOML: Invalid value (at line 3, column 10)"),
    ('by = "ada"\nanswers = 3\n', "marks.toml, line 2: answers: expected tables such as [answers.alice.question_1]; found 3"),
    ('by = "rubric"\n', "marks.toml, line 1: 'rubric' means the criteria in marks/rubric.toml; take another name"),
])  # fmt: skip
def test_a_slip_is_named_with_its_line(tmp_path, text, words):
    assert words in refused(tmp_path, text)


def test_all_slips_of_all_files_are_told_at_once(tmp_path):
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks" / "bob.toml").write_text('by = "bob"\n[answers.ben.question_1]\npoints = -1\n')
    text = refused(tmp_path, 'by = "ada"\n[answers.ben.question_1]\npoints = -1\ncomment = 3\n')
    assert text.count("\n") == 2 and "marks/bob.toml, line 3" in text and "marks.toml, line 4" in text


def test_one_person_has_one_file(tmp_path):
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks" / "ada.toml").write_text('\nby = "ada"\n')
    assert "marks/ada.toml, line 2: by = 'ada' stands in marks.toml too; put all of one person into one file" in refused(
        tmp_path, 'by = "ada"'
    )


def test_a_line_is_found_whatever_quotes_and_dots_a_name_has():
    text = 'by = "x"\n[answers."a.b c".q]\npoints = 1\n\n[overrides.\'ben\'."fcn32s.crop"]\nwas=1\n  points = 2\n'
    assert line_of(text, ("answers", "a.b c", "q", "points")) == 3
    assert line_of(text, ("overrides", "ben", "fcn32s.crop", "points")) == 7
    assert line_of(text, ("overrides", "ben", "fcn32s.crop", "reason")) == 5
    assert line_of(text, ("criteria", "q")) == 1


# ----------------------------------------------------------------------------------------------------------- two persons
def points_of(graded, check="question_1", name="ada"):
    found = marked(graded, {name: json.loads((graded / name / "result.json").read_text())})
    return next(c["points"] for c in found.results[name]["checks"] if c["id"] == check), found.notices


def test_two_persons_that_came_to_the_same_points_agree(tmp_path):
    graded = graded_class(tmp_path)
    put_marks(graded, f"[answers.ada.question_1]\npoints = 8\nwhen = {T.format(1)}\n")
    put_marks(graded, f'[answers.ada.question_1]\ncriteria = ["named"]\nwhen = {T.format(2)}\n', "bob")
    assert points_of(graded) == (8, [])


def test_two_persons_that_did_not_know_of_each_other_leave_an_answer_open(tmp_path):
    graded = graded_class(tmp_path)
    put_marks(graded, f"[answers.ada.question_1]\npoints = 8\nwhen = {T.format(1)}\n")
    put_marks(graded, f"[answers.ada.question_1]\npoints = 9\nwhen = {T.format(2)}\n", "bob")
    points, notices = points_of(graded)
    assert points is None
    assert notices == ["ada, question_1: open, since bob 9 and ada 8 were given without knowing of each other; decide in the marking room"]


def test_who_had_the_other_mark_on_the_screen_decided(tmp_path):
    graded = graded_class(tmp_path)
    put_marks(graded, f"[answers.ada.question_1]\npoints = 8\nwhen = {T.format(1)}\n")
    put_marks(graded, f"[answers.ada.question_1]\npoints = 9\nwhen = {T.format(3)}\nsaw.ada = {T.format(1)}\n", "bob")
    assert points_of(graded) == (9, [])
    put_marks(graded, f"[answers.ada.question_1]\npoints = 7\nwhen = {T.format(2)}\n")
    assert points_of(graded)[0] is None, "a mark that was given after the look was not seen"
    put_marks(graded, f"[answers.ada.question_1]\npoints = 7\nwhen = {T.format(5)}\nsaw.bob = {T.format(3)}\n")
    assert points_of(graded) == (7, [])


def test_a_comment_alone_gives_no_points(tmp_path):
    graded = graded_class(tmp_path)
    put_marks(graded, '[answers.ada.question_1]\ncomment = "half a page"\n')
    put_marks(graded, "[answers.ada.question_1]\npoints = 9\n", "bob")
    assert points_of(graded) == (9, [])
