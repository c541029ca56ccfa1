"""What everybody was given or may find: the cells of the release and the course's own solution, which make nobody alike."""

from pathlib import Path

from autograder.course.assignment import Assignment
from autograder.course.sources import repository
from autograder.release.notebooks import NotebookFault, read_source, student_version

__all__ = ["starter_code"]


def starter_code(assignment: Assignment, folder: Path | None = None) -> tuple[list[str], list[str]]:
    """Code of the release and of the solution.

    Args:
        assignment: Whose.
        folder: Where its source notebooks lie; left out, in the repository.

    Returns:
        The texts of code cells, and a line for each notebook that could not be read.
    """
    folder = folder or repository() / "notebooks" / assignment.name
    texts: list[str] = []
    faults: list[str] = []
    for name in assignment.rubric.notebooks:
        try:
            source = read_source(folder / name, assignment)
            notebooks = [source, student_version(source, name)]
        except NotebookFault as error:
            faults.append(f"Code that was handed out is not known, and may be called alike: {error}")
            continue
        texts += [cell.source for notebook in notebooks for cell in notebook.cells if cell.cell_type == "code"]
    return list(dict.fromkeys(texts)), faults
