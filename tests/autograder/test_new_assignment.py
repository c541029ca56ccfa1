"""``new`` writes a working assignment. That it goes round at once is seen where the commands of docs/assignments.md are run."""

import shutil
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from autograder.cli.new import new_command
from autograder.course.assignment import open_assignment
from autograder.course.numbers import check_id_of, fill, values_of
from autograder.course.rubric import read_rubric
from autograder.release.agreement import notebook_faults
from autograder.release.notebooks import read_notebook

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path) -> Path:
    """What of the repository a new assignment is made from."""
    root = tmp_path / "kit"
    for name in ("autograder/assignments", "notebooks"):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    return root


@pytest.mark.parametrize(("name", "like", "words"), [
    ("Dots", "fcn", "'Dots' cannot be the name of an assignment"),
    ("fcn", "fcn", "is there already"),
    ("dots", "nothing", "No assignment 'nothing'"),
])  # fmt: skip
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(root, name, like, words):
    done = CliRunner().invoke(new_command, [name, "--like", like, "--root", str(root)])
    assert done.exit_code == 1 and words in done.output
    assert not (root / "notebooks" / "dots").exists()


def test_what_it_writes_is_said_and_its_rubric_and_notebook_agree(root):
    done = CliRunner().invoke(new_command, ["dots", "--like", "fcn", "--title", "Dots", "--root", str(root)])
    assert done.exit_code == 0 and done.output.endswith("python -m autograder release dots --out build/release\n")
    rubric = read_rubric(root / "autograder" / "assignments" / "dots" / "rubric.toml")
    assert (rubric.assignment, rubric.title, rubric.dataset, rubric.max_score) == ("dots", "Dots", "facades", 10)
    book = nbformat.read(root / "notebooks" / "dots" / "1_first.ipynb", as_version=4)
    graded = [cell.metadata.nbgrader for cell in book.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert {check_id_of(own.grade_id, rubric.checks): own.points for own in graded} == {name: c.points for name, c in rubric.checks.items()}
    said = {root / line for line in done.output.partition("Next")[0].splitlines()}
    there = {path for folder in ("notebooks", "autograder/assignments") for path in (root / folder / "dots").rglob("*") if path.is_file()}
    assert said == there


def test_other_points_in_its_rubric_reach_its_notebook_without_another_change(root):
    CliRunner().invoke(new_command, ["dots", "--like", "fcn", "--root", str(root)])
    path = root / "autograder" / "assignments" / "dots" / "rubric.toml"
    text = path.read_text().replace("points = 6", "points = 9")
    path.write_text(text.replace("points = 4", "points = 7").replace("value = 3", "value = 6"))
    assignment, name = open_assignment(path.parent), "1_first.ipynb"
    source = read_notebook(root / "notebooks" / "dots" / name)
    assert notebook_faults({name: source}, assignment.rubric, values_of(assignment)) == []
    texts = "\n".join(cell.source for cell in fill(source, assignment.rubric, values_of(assignment), name).cells)
    assert "(7 points), and an answer (9 points)" in texts and "`pixel_accuracy`, 7 points" in texts and "Question 1 (9 points)" in texts
