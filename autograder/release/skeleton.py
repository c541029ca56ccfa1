"""A new assignment, small and whole: it goes round at once (release, submit, grade, exam), and is then made one's own."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder.course.sources import ReleaseError, Sources, find_sources
from autograder.release.notebooks import write_notebook

__all__ = ["write_assignment"]

SKELETON = Path(__file__).with_name("skeleton")
FILES = {  # file of the skeleton -> its place in the assignment's folder
    "rubric.toml": "rubric.toml", "test_first.py.txt": "checks/test_first.py", "corpus.toml": "corpus/corpus.toml",
    "first.toml": "corpus/first.toml", "START_HERE.md": "release/START_HERE.md",
}  # fmt: skip
# kind of a cell -> nbgrader's grade, solution, locked
KINDS = {
    "shown": (False, False, True), "solution": (False, True, False), "check": (False, False, True), "graded": (True, False, True),
    "answer": (True, True, False),
}  # fmt: skip
ENVIRONMENT = "show-environment"


def write_assignment(name: str, like: str, root: Path, title: str = "") -> list[Path]:
    """Write a working assignment of one notebook, one function, one check, one question.

    Args:
        name: Its name: lower case letters, digits and underscores.
        like: The assignment from which it takes its data set, the cell that finds the kit, and the packaging of the release.
        root: The repository.
        title: For people; the name where it is left out.

    Returns:
        The files.

    Raises:
        ReleaseError: The name cannot be used or is taken, or there is no such assignment to take things from.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ReleaseError(f"{name!r} cannot be the name of an assignment: expected lower case letters, digits and underscores.")
    model = find_sources(like, root)
    notebooks, material = root / "notebooks" / name, root / "autograder" / "assignments" / name
    taken = [path for path in (notebooks, material) if path.exists()]
    if taken:
        raise ReleaseError(f"{taken[0]} is there already: choose another name, or remove it.")
    values = {"name": name, "title": title or name.replace("_", " ").capitalize()}
    written = [_write(material / place, _filled((SKELETON / file).read_text(encoding="utf-8"), values)) for file, place in FILES.items()]
    written[0].write_text(_with_dataset(written[0].read_text(encoding="utf-8"), model), encoding="utf-8")
    written += [_write(material / place / "__init__.py", f'"""Assignment {name}."""\n') for place in (".", "checks", "corpus")]
    shutil.copyfile(model.material / "release" / "pyproject.toml", material / "release" / "pyproject.toml")
    notebooks.mkdir(parents=True)
    write_notebook(notebooks / "1_first.ipynb", _notebook(values, _environment(model, name)))
    return [*written, material / "release" / "pyproject.toml", notebooks / "1_first.ipynb"]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _filled(text: str, values: dict[str, str]) -> str:
    """Fill in what is known now; other names in braces are filled in by each release."""
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", value)
    return text


def _with_dataset(text: str, model: Sources) -> str:
    """The rubric with the data set of the model's, if that names one."""
    dataset = tomllib.loads((model.material / "rubric.toml").read_text(encoding="utf-8")).get("dataset")
    return text if dataset is None else text.replace("\nnotebooks =", f'\ndataset = "{dataset}"\nnotebooks =', 1)


def _environment(model: Sources, name: str) -> str:
    """The cell that finds the kit, as the model's first notebook has it."""
    notebook = nbformat.read(model.notebook_paths()[0], as_version=4)
    cell = next((cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == ENVIRONMENT), None)
    if cell is None:
        raise ReleaseError(f"{model.notebook_paths()[0]}: expected a cell with the grade id {ENVIRONMENT!r}, found none.")
    return re.sub(rf"\b{model.assignment}\b", name, cell.source)


def _notebook(values: dict[str, str], environment: str) -> nbformat.NotebookNode:
    cells = tomllib.loads(_filled((SKELETON / "cells.toml").read_text(encoding="utf-8"), values))["cells"]
    notebook: nbformat.NotebookNode = new_notebook(cells=[_cell(cell, number, environment) for number, cell in enumerate(cells)])
    return notebook


def _cell(cell: dict[str, Any], number: int, environment: str) -> nbformat.NotebookNode:
    source = cell["source"].strip("\n").replace("{{environment}}", environment)
    identifier = cell.get("id", f"text-{number}")
    marks = {"segkit": {"from_rubric": cell["from_rubric"]}} if "from_rubric" in cell else {}
    made: nbformat.NotebookNode
    if cell["kind"] == "text":
        made = new_markdown_cell(source, id=identifier, metadata=marks)
        return made
    grade, solution, locked = KINDS[cell["kind"]]
    own = {"grade_id": identifier, "grade": grade, "solution": solution, "locked": locked, "task": False, "schema_version": 3}
    metadata = marks | {"nbgrader": own | ({"points": cell["points"]} if grade else {})}
    make = new_markdown_cell if cell["kind"] == "answer" else new_code_cell
    made = make(source, id=identifier, metadata=metadata)
    return made
