"""A course of two small notebooks in a folder of its own, for the tests of release, collect and nbgrader."""

import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import segkit
from autograder.course.sources import Sources

SECRET_LINE = "mean_of_the_present = float(np.nanmean(overlap_by_class))"
SCHEME_LINE = "Full marks name the two reasons given in the third lecture."
SOLUTION = f"""def double(values):
    \"\"\"Twice every value.\"\"\"
    ### BEGIN SOLUTION
    {SECRET_LINE}
    return values * 2
    ### END SOLUTION
"""
LAST = "### BEGIN SOLUTION\ndef last_of_all(values):\n    return sorted(values)[len(values) - 1]\n### END SOLUTION"
QUESTION = f"=== BEGIN MARK SCHEME ===\n{SCHEME_LINE}\n=== END MARK SCHEME ==="
RUBRIC = """
assignment = "tiny"
title = "A tiny assignment"
notebooks = ["1_first.ipynb", "2_second.ipynb"]
[solution_cells]
double = { defines = "double", notebook = "1_first.ipynb" }
last = { defines = "last_of_all", notebook = "2_second.ipynb" }
[checks.double]
title = "Doubling"
points = 4
[checks."last.value"]
title = "The last value"
points = 6
[checks.question_1]
title = "Question"
points = 5
manual = true
"""
CHECKS = """
import numpy as np
from autograder.judge.checking import CannotGrade, check


@check("double")
def test_double(student, grading):
    if not np.array_equal(student.call("double", np.array([21, 4])), [42, 8]):
        grading.lose(cause="double.wrong", message="expected twice the values <b>and</b> got others", share=0.5)


@check("last.value")
def test_last_value(student, grading):
    answer = student.call("last_of_all", np.array([3, 9, 1]))
    if answer == 1:
        raise CannotGrade("the answer sheet is lost")
    assert answer == 9, "expected the largest value"
"""
POINTS = {"double": 4.0, "last.value": 6.0, "question_1": 5.0}


def graded(grade_id: str, *, grade: bool, solution: bool, locked: bool, points: float | None = None) -> dict:
    """nbgrader's metadata of one cell."""
    own = {"grade_id": grade_id, "grade": grade, "solution": solution, "locked": locked, "task": False, "schema_version": 3}
    return {"nbgrader": own | ({"points": points} if points is not None else {})}


def answer(source: str, grade_id: str) -> nbformat.NotebookNode:
    return new_code_cell(source, id=grade_id, metadata=graded(grade_id, grade=False, solution=True, locked=False))


def check_cell(grade_id: str, points: float) -> nbformat.NotebookNode:
    metadata = graded(grade_id, grade=True, solution=False, locked=True, points=points)
    return new_code_cell(f"# {points:g} points: judged elsewhere", id=grade_id, metadata=metadata)


def notebooks() -> dict[str, nbformat.NotebookNode]:
    """Fresh source notebooks with solutions."""
    first = new_notebook(cells=[
        new_markdown_cell("# Doubling", id="title"),
        new_code_cell("import numpy as np", id="imports"),
        answer(SOLUTION, "double"),
        new_code_cell("print(double(np.ones(2)))", id="try",
                      metadata=graded("show-double", grade=False, solution=False, locked=True)),
        check_cell("double-check", 4.0),
    ])  # fmt: skip
    second = new_notebook(cells=[
        answer(LAST, "last"),
        check_cell("last-value", 6.0),
        new_markdown_cell("**Question 1.** Why?", id="ask"),
        new_markdown_cell(QUESTION, id="question-1",
                          metadata=graded("question_1", grade=True, solution=True, locked=False, points=5.0)),
    ])  # fmt: skip
    return {"1_first.ipynb": first, "2_second.ipynb": second}


def write_course(root: Path, books: dict[str, nbformat.NotebookNode] | None = None) -> Sources:
    """Write the course below ``root``; the package is the real one, so that its edition is the real one too."""
    folder = root / "notebooks" / "tiny"
    folder.mkdir(parents=True)
    for name, notebook in (books or notebooks()).items():
        nbformat.write(notebook, folder / name)
    material = root / "autograder" / "assignments" / "tiny"
    (material / "checks").mkdir(parents=True)
    (material / "checks" / "test_small.py").write_text(CHECKS)
    (material / "release").mkdir()
    (material / "release" / "START_HERE.md").write_text("# {{assignment}}\n\n{{notebooks}}\n")
    (material / "rubric.toml").write_text(RUBRIC)
    for name in ("tiles", "others"):
        (root / "data" / name / "splits").mkdir(parents=True)
        (root / "data" / name / "README.md").write_text("Data.\n")
        (root / "data" / name / "splits" / "train.txt").write_text("one\n")
    (root / "data" / "cmp_facade" / "base").mkdir(parents=True)
    (root / "data" / "cmp_facade" / "base" / "cmp_b0001.jpg").write_bytes(b"a real photograph")
    (root / "pyproject.toml").write_text('[project]\nname = "tiny"\nrequires-python = ">=3.11"\ndependencies = ["numpy>=1.26"]\n')
    package = Path(segkit.__file__).parent
    return Sources("tiny", root, folder, material, package, root / "data", "tiles")


def edit_notebook(path: Path, change) -> None:
    """Load a notebook as plain JSON, let ``change`` alter it, write it back."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
