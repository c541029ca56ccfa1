"""``export --into`` where somebody has a bonus: more points than the maximum, and a column that is for the bonus alone."""

import gradebook_files as files
import pytest
from gradebook_files import graded_folder, marked, slots
from test_into import FORMS, export

BONUS = {"id": "bonus_1", "points": 10.0, "max_points": 10.0, "bonus": True, "status": "earned", "cause": None, "measured": None,
         "message": "Marked by hand.", "seconds": 0.0}  # fmt: skip


def with_bonus(name, total, points):
    """A result that has the bonus on top of ``total`` points of 100."""
    result = marked(name, total)
    status = "earned" if points == 10 else "partial" if points else "not_earned"
    result["checks"].append(BONUS | {"points": points, "status": status})
    return result | {"score": total + points}


@pytest.fixture
def graded(tmp_path):
    return graded_folder(tmp_path / "graded", with_bonus("ada", 97, 10.0), with_bonus("bjoern", 90, 5.0))


def fill(graded, tmp_path, text, *options):
    path = tmp_path / "book.csv"
    path.write_text(text, encoding="utf-8", newline="")
    outcome = export(graded, "--into", path, *options)
    filled = tmp_path / "book.filled.csv"
    return outcome.exit_code, " ".join(outcome.output.split()), filled.read_bytes().decode() if filled.exists() else ""


# jupyter/nbgrader#488: courses give extra credit, and systems differ in what they make of it
@pytest.mark.parametrize(("form", "words"), [
    ("canvas", "1 have more than the maximum of 100: ada 107"),
    ("brightspace", "1 have more than the maximum of 100, which Brightspace counts where the item says Can Exceed: ada 107"),
])  # fmt: skip
def test_points_above_the_maximum_are_written_and_named(graded, tmp_path, form, words):
    text = FORMS[form][0]
    code, said, filled = fill(graded, tmp_path, slots(text))
    assert code == 0 and words in said and "bjoern" not in said.partition("more than")[2].partition("lines")[0]
    assert filled.encode() == slots(text, ada="107", bjoern="95").encode()


def test_moodle_takes_no_more_than_its_maximum_so_who_has_more_is_named_and_not_lost_in_silence(graded, tmp_path):
    code, said, filled = fill(graded, tmp_path, slots(files.MOODLE_GERMAN))
    assert code == 1 and "ada: not exported: 107 points, and Moodle takes no more than 100: leave the bonus out (--without)" in said
    assert filled == slots(files.MOODLE_GERMAN, bjoern="95")
    code, said, filled = fill(graded, tmp_path, slots(files.MOODLE_GERMAN), "--without", "bonus_*")
    assert code == 0 and filled == slots(files.MOODLE_GERMAN, ada="97", bjoern="90")


@pytest.mark.parametrize("maximum", ["0", "0.00", "10.00"])
def test_a_bonus_goes_into_a_column_of_its_own(graded, tmp_path, maximum):
    """Canvas knows an item of extra credit by its 0 points."""
    text = files.CANVAS.replace("100.00", maximum)
    code, said, filled = fill(graded, tmp_path, slots(text), "--only", "bonus_1")
    assert code == 0 and filled == slots(text, ada="10", bjoern="5") and "more than" not in said


def test_another_maximum_than_the_bonus_has_is_refused(graded, tmp_path):
    code, said, filled = fill(graded, tmp_path, slots(files.CANVAS), "--only", "bonus_1")
    assert code == 2 and "its maximum is 100, that of the results is 10" in said and not filled
    code, _, filled = fill(graded, tmp_path, slots(files.CANVAS), "--only", "bonus_1", "--scale")
    assert code == 0 and filled == slots(files.CANVAS, ada="100", bjoern="50")
