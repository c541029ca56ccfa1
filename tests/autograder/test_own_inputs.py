"""Hidden inputs of a submission: every letter that reaches its worker draws others, and nothing else does."""

from types import SimpleNamespace

from autograder.course.rubric import CheckRubric
from autograder.course.seeds import Seeds
from autograder.judge.checking import Grading
from autograder.judge.student import Student
from segkit.notebooks import Workbook
from segkit.notebooks.reading import Cell, Document

CELLS = {"scores": "def scores(hist):\n    return hist\n", "read_label": "def read_label(path):\n    return path\n"}
DEFINES = {name: name for name in CELLS}


def drawn(prose: str = "", notebook: str = "1_data.ipynb", **cells: str) -> list[int]:
    """Hidden numbers of the check ``scores``."""
    found = [Cell(notebook, place, source, name) for place, (name, source) in enumerate({**CELLS, **cells}.items(), 3)]
    student = Student(Workbook([Document(notebook, [Cell(notebook, 1, prose), *found])], DEFINES), None)
    context = SimpleNamespace(rubric=None)
    return Grading(CheckRubric("scores", "", 4, {"all": 4}), Seeds("s"), context, student).own_rng("scores").integers(0, 2**40, 4).tolist()


def test_the_same_code_has_the_same_hidden_inputs():
    assert drawn() == drawn()


def test_a_comment_that_the_worker_can_read_draws_others():
    changed = CELLS["scores"].replace("hist\n", "hist  # 3.1 0.25\n")
    assert drawn(scores=changed) != drawn() != drawn(scores="\n" + CELLS["scores"])


def test_a_name_of_a_file_draws_others():
    assert drawn(notebook="1_data 3.1 0.25.ipynb") != drawn()


def test_numbers_in_another_definition_of_the_same_worker_draw_others():
    assert drawn(read_label=CELLS["read_label"] + "    # 3.1 0.25\n") != drawn()


def test_a_cell_that_no_worker_gets_changes_nothing():
    assert drawn(prose="# I think that 3.1 is right\nprint(3.1)") == drawn()
