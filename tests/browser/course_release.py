"""A release as students get it, and a student who has written everything."""

from pathlib import Path

import nbformat

from autograder.course.sources import find_sources, rubric_facts
from autograder.demo.classroom import solutions
from autograder.release.build import build_release
from autograder.release.notebooks import write_notebook

REPO = Path(__file__).resolve().parents[2]


def release_zip(out: Path, assignment: str = "fcn") -> Path:
    """Build the release of an assignment; the grader's exam and the try with the reference are left out."""
    sources = find_sources(assignment, REPO)
    facts, checks = rubric_facts(sources.material)
    return build_release(sources, out, facts=facts, checks=checks).archive


def solve(course: Path) -> None:
    """Write the solutions into the notebooks of an unpacked release, whose folder has the assignment's name."""
    answers = solutions(REPO / "notebooks" / course.name)
    for path in course.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.source = answers.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""), cell.source)
        write_notebook(path, notebook)
