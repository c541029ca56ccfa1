"""A release as students get it, and a student who has written everything."""

import shutil
from pathlib import Path

import nbformat

from autograder.course.sources import find_sources, rubric_facts
from autograder.demo.classroom import solutions
from autograder.release.build import build_release
from autograder.release.notebooks import write_notebook

REPO = Path(__file__).resolve().parents[2]


def unpacked_release(place: Path, assignment: str = "fcn") -> Path:
    """Build the release of an assignment and unpack its zip, in a folder whose name has spaces and umlauts.

    The grader's exam and the try with the reference are left out.

    Args:
        place: Empty folder.
        assignment: Its name.

    Returns:
        The folder with the notebooks.
    """
    sources = find_sources(assignment, REPO)
    facts, checks = rubric_facts(sources.material)
    archive = build_release(sources, place / "release", facts=facts, checks=checks).archive
    shutil.unpack_archive(archive, place / "Übungen für Ada, part 2")
    return place / "Übungen für Ada, part 2" / assignment


def solve(course: Path) -> None:
    """Write the solutions into the notebooks of an unpacked release, whose folder has the assignment's name."""
    answers = solutions(REPO / "notebooks" / course.name)
    for path in course.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.source = answers.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""), cell.source)
        write_notebook(path, notebook)
