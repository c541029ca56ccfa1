"""Are the committed notebooks well formed: ids, points, metadata, lengths, no outputs, nothing given away?"""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from segkit.notebooks.reading import ends_an_answer

REPO = Path(__file__).resolve().parents[2]
NAMES = ("1_data.ipynb", "2_fcn32s.ipynb", "3_pretraining.ipynb", "4_fcn8s.ipynb", "5_questions.ipynb")
SOLUTIONS = {
    "1_data.ipynb": {"read_label": "read_label", "confusion_matrix": "confusion_matrix", "scores": "scores"},
    "2_fcn32s.ipynb": {"offset": "offset", "fcn32s": "FCN32s", "train_step": "train_step"},
    "3_pretraining.ipynb": {"copy_vgg16": "copy_params_from_vgg16"},
    "4_fcn8s.ipynb": {"fcn8s": "FCN8s"},
    "5_questions.ipynb": {},
}
KINDS = {  # (grade, solution, locked, task)
    (False, True, False, False): "answer",
    (True, False, True, False): "test",
    (True, True, False, False): "manual",
    (False, False, True, False): "read-only",
}
REGION = re.compile(r"([ \t]*)### BEGIN SOLUTION\n.*?### END SOLUTION", re.DOTALL)


def graded(notebook: nbformat.NotebookNode) -> list[tuple[nbformat.NotebookNode, dict, str]]:
    found = []
    for cell in notebook.cells:
        meta = cell.metadata.get("nbgrader")
        if meta is not None:
            kind = KINDS[tuple(meta[key] for key in ("grade", "solution", "locked", "task"))]
            found.append((cell, meta, kind))
    return found


def stub(source: str) -> str:
    """What nbgrader makes of a solution cell."""
    return REGION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", source)


@pytest.mark.parametrize("name", NAMES)
def test_is_valid_and_has_no_outputs(name, notebooks):
    notebook = notebooks[name]
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
        assert re.fullmatch(r"[a-z][a-zA-Z0-9_-]{2,40}", cell.id), "an id that a person can read"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@pytest.mark.parametrize("path", sorted(REPO.glob("notebooks/*/*.ipynb")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_beneath_an_answer_the_course_begins_anew(path):
    """What students write in cells beneath the one for their answer is read as a part of it, up to the course's next words."""
    cells = nbformat.read(path, as_version=4).cells
    for cell, following in pairwise(cells):
        if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("solution"):
            assert "nbgrader" in following.metadata or ends_an_answer(following.source), following.id


@pytest.mark.parametrize("name", NAMES)
def test_nbgrader_metadata_is_exact(name, notebooks):
    ids = []
    for _, meta, kind in graded(notebooks[name]):
        allowed = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}
        assert set(meta) == allowed | ({"points"} if kind in ("test", "manual") else set())
        assert meta["schema_version"] == 3
        ids.append(meta["grade_id"])
        if kind == "read-only":
            assert meta["grade_id"].startswith(("show-", "check-"))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_solution_cells_define_their_name_and_keep_it_in_the_stub(name, notebooks):
    answers = {meta["grade_id"]: cell for cell, meta, kind in graded(notebooks[name]) if kind == "answer"}
    assert set(answers) == set(SOLUTIONS[name])
    for grade_id, defined in SOLUTIONS[name].items():
        text = stub(answers[grade_id].source)
        assert re.search(rf"^(def|class) {defined}\b", text, re.MULTILINE)
        assert "SOLUTION" not in text and "raise NotImplementedError()" in text
        compile(text, grade_id, "exec")
        if defined.startswith("FCN"):
            assert "def __init__(self, n_class=12):" in text and "def forward(self, x):" in text


@pytest.mark.parametrize("name", NAMES)
def test_hidden_check_cells_hold_nothing_but_a_comment(name, notebooks):
    for cell, meta, kind in graded(notebooks[name]):
        if kind == "test":
            assert all(line.startswith("#") for line in cell.source.splitlines())
            assert f"{meta['points']} points" in cell.source


@pytest.mark.parametrize("name", NAMES)
def test_every_todo_is_followed_by_a_visible_check(name, notebooks):
    cells = graded(notebooks[name])
    kinds = [(kind, meta["grade_id"]) for _, meta, kind in cells]
    for index, (kind, grade_id) in enumerate(kinds):
        if kind == "answer":
            assert kinds[index + 1][1].startswith("check-"), grade_id


@pytest.mark.parametrize("name", NAMES)
def test_code_cells_are_short_and_prose_stands_between_them(name, notebooks):
    for cell in notebooks[name].cells:
        if cell.cell_type == "code":
            lines = stub(cell.source).splitlines()
            assert len(lines) <= 20, cell.id
            assert max(map(len, lines)) <= 88, cell.id
        elif "nbgrader" not in cell.metadata:
            assert len(cell.source.split()) <= 125, cell.id


@pytest.mark.parametrize("name", NAMES)
def test_each_notebook_says_how_long_it_takes(name, notebooks):
    head = notebooks[name].cells[0].source
    assert "**Time:**" in head and "**You write:**" in head
    assert "CPU" in head or "GPU" in head


def test_first_cell_is_the_same_everywhere(notebooks):
    first = {next(cell.source for cell in book.cells if cell.cell_type == "code") for book in notebooks.values()}
    assert len(first) == 1 and len(first.pop().splitlines()) <= 3


def test_answers_hide_their_mark_schemes(notebooks):
    answers = {meta["grade_id"]: cell for book in notebooks.values() for cell, meta, kind in graded(book) if kind == "manual"}
    assert list(answers) == ["short_facade", "short_first_loss", "short_pool3", "question_1", "question_2"]
    for cell in answers.values():
        assert cell.source.startswith("=== BEGIN MARK SCHEME ===")
        assert cell.source.endswith("=== END MARK SCHEME ===")
        assert "Exemplary answer" in cell.source


def test_prose_leaves_the_courses_numbers_to_assignment_json(notebooks):
    for name, notebook in notebooks.items():
        text = "\n".join(stub(cell.source) for cell in notebook.cells)
        for number in (r"padding\D{0,12}\b100\b", r"crop\D{0,20}\b(19|27|31)\b", r"\b(19|31)\s*:\s*(19|31)"):
            assert not re.search(number, text), (name, number)


def test_no_solution_line_is_given_away(notebooks):
    """A line of 25 characters or more of a solution stands nowhere else in what students get."""
    secret, public = {}, []
    for name, notebook in notebooks.items():
        for cell in notebook.cells:
            for region in REGION.finditer(cell.source):
                secret |= {line.strip(): name for line in region[0].splitlines()[1:-1] if len(line.strip()) >= 25}
            public.append(REGION.sub("", cell.source))
    package = [path for path in (REPO / "segkit").rglob("*.py") if "reference" not in path.parts]
    public += [path.read_text(encoding="utf-8") for path in package]
    everything = "\n".join(public)
    assert len(secret) > 80
    assert [line for line in secret if line in everything] == []
