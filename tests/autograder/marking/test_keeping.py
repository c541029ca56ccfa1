"""Files of marks are whole at any moment, and two programs that write one lose nothing."""

import datetime
import subprocess
import sys
import tomllib
from dataclasses import replace

import pytest

from autograder.course.assignment import open_assignment
from autograder.marking import MarksError, keeping, read_marks
from autograder.marking.keeping import Keeper, write_rubric_criteria


def test_a_write_that_fails_leaves_the_marks_of_before(tmp_path, monkeypatch):
    keeper = Keeper(tmp_path, "ada")
    keeper.put_mark("ben", "question_1", {"points": 3}, {})
    before = keeper.path.read_bytes()

    def full(path, content, changed):
        with keeping.replacing(path) as partial:
            partial.write_text("by = ")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "_write", full)
    with pytest.raises(OSError):
        keeper.put_mark("ben", "question_1", {"points": 4}, {})
    assert keeper.path.read_bytes() == before and [path.name for path in keeper.path.parent.iterdir()] == ["ada.toml"]


def test_two_programs_of_one_person_lose_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; from autograder.marking.keeping import Keeper\n"
        "keeper = Keeper(Path(sys.argv[1]), 'ada')\n"
        "for n in range(12): keeper.put_mark(f'{sys.argv[2]}{n}', 'question_1', {'points': n}, {})"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("x", "y")]
    assert [one.wait(120) for one in running] == [0, 0]
    assert len(read_marks(tmp_path).students()) == 24


def test_a_later_mark_is_later_whatever_the_clock_says(tmp_path):
    keeper = Keeper(tmp_path, "ada")
    keeper.put_mark("ben", "q", {"points": 3}, {})
    text = keeper.path.read_text()
    future = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
    keeper.path.write_text(text[: text.index("when")] + f"when = {future.isoformat()}\n")
    keeper.put_mark("ben", "q", {"points": 4}, {})
    assert read_marks(tmp_path).books[0].answers["ben"]["q"].when > future


def test_what_was_seen_before_stays_seen(tmp_path):
    keeper, when = Keeper(tmp_path, "ada"), datetime.datetime(2026, 3, 14, tzinfo=datetime.UTC)
    keeper.put_mark("ben", "q", {"points": 3}, {"bob": when})
    keeper.put_mark("ben", "q", {"points": 4}, {"cyd": when})
    assert read_marks(tmp_path).books[0].answers["ben"]["q"].saw == {"bob": when, "cyd": when}


def test_letters_that_no_file_can_hold_are_replaced(tmp_path):
    Keeper(tmp_path, "ada").put_mark("ben", "q", {"points": 3, "comment": "a\ud800b\x1b[31mc\r\nd"}, {})
    assert read_marks(tmp_path).books[0].answers["ben"]["q"].comment == "a\N{REPLACEMENT CHARACTER}bc\nd"


@pytest.mark.parametrize("name", ["", "  ", "rubric", "x" * 81])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(MarksError, match="expected a name"):
        Keeper(tmp_path, name)


def test_names_of_two_persons_that_give_one_file_are_told_apart(tmp_path):
    Keeper(tmp_path, "Ada L").put_mark("ben", "q", {"points": 3}, {})
    with pytest.raises(MarksError, match="Ada_L.toml is of 'Ada L'"):
        Keeper(tmp_path, "Ada_L")


def test_who_wrote_a_marks_toml_by_hand_is_told_to_move_it(tmp_path):
    (tmp_path / "marks.toml").write_text('by = "ada"\n')
    with pytest.raises(MarksError, match=r"marks.toml is yours already, but not the file that is written"):
        Keeper(tmp_path, "ada")


def test_the_parts_of_the_rubric_are_the_first_criteria_and_follow_it(tmp_path):
    rubric = open_assignment("fcn").rubric
    path = write_rubric_criteria(tmp_path, rubric)
    marks = read_marks(tmp_path).criteria("question_1")
    assert {name: said[0].what.points for name, said in marks.items()} == {"named": 4, "tied": 4, "evidence": 3, "clarity": 1}
    written = path.stat().st_mtime_ns
    write_rubric_criteria(tmp_path, rubric)
    assert path.stat().st_mtime_ns == written, "nothing changed, nothing is written"
    question = replace(rubric.checks["question_1"], parts={"named": 6.0, "tied": 6.0})
    write_rubric_criteria(tmp_path, replace(rubric, checks={**rubric.checks, "question_1": question}))
    criteria = tomllib.loads(path.read_text())["criteria"]["question_1"]
    assert {name: one["points"] for name, one in criteria.items()} == {"named": 6, "tied": 6, "evidence": 3, "clarity": 1}
