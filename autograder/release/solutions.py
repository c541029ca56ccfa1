"""Do the source notebooks hold what the rubric says that students write, and is it nowhere but in its solution cells?"""

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nbformat.notebooknode import NotebookNode

from autograder.course.numbers import place_of
from autograder.course.rubric import Rubric, SolutionCell
from autograder.release.leaks.lines import MIN_LINE, split_solution, squeeze
from autograder.release.verify import parsed_cell

__all__ = ["source_faults"]

FEW = 3  # lines of a solution that are no hint any more, if they are half of it


class _Cell(NamedTuple):
    where: str
    notebook: str
    cell: NotebookNode

    @property
    def grade_id(self) -> str:
        return str(self.cell.metadata.get("nbgrader", {}).get("grade_id", ""))

    @property
    def solution(self) -> bool:
        return bool(self.cell.metadata.get("nbgrader", {}).get("solution"))


def source_faults(notebooks: Mapping[str, NotebookNode], rubric: Rubric) -> list[str]:
    """Compare source notebooks with the rubric.

    Args:
        notebooks: File name -> source notebook, all that lie in the assignment's folder.
        rubric: Of the assignment.

    Returns:
        One line per fault: a notebook that only one of them knows; a grade id that counts in two notebooks; a solution cell that is
        missing, has no marker, or defines another name; a solution that stands in another cell too.
    """
    cells = [
        _Cell(place_of(cell, number, name), name, cell)
        for name, book in notebooks.items() if name in rubric.notebooks for number, cell in enumerate(book.cells, start=1)
    ]  # fmt: skip
    faults = [*_notebook_faults(notebooks, rubric), *_doubled(cells)]
    for wanted in rubric.cells:
        faults += _solution_faults(wanted, cells)
    return faults + [fault for cell in cells if not cell.solution for fault in _given_away(cell, cells, rubric)]


def _notebook_faults(notebooks: Mapping[str, NotebookNode], rubric: Rubric) -> Iterator[str]:
    for name in notebooks:
        if name not in rubric.notebooks:
            yield f"{name}: `notebooks` of the rubric does not list it. Take it out of the folder if it is a copy, or add it there."
    for name in rubric.notebooks:
        if name not in notebooks:
            yield f"{name}: `notebooks` of the rubric lists it, but the folder does not hold it; there is: {', '.join(notebooks)}."


def _doubled(cells: list[_Cell]) -> Iterator[str]:
    """Cells that are graded or completed; those that only show something may have one id in all notebooks."""
    first: dict[str, _Cell] = {}
    for cell in cells:
        counts = cell.solution or cell.cell.metadata.get("nbgrader", {}).get("grade")
        other = first.setdefault(cell.grade_id, cell) if counts else cell
        if other.notebook != cell.notebook:
            yield f"{cell.where}: the grade id is that of {other.where} too. Give one of them another one, or take the copy out."


def _solution_faults(wanted: SolutionCell, cells: list[_Cell]) -> Iterator[str]:
    line = f"[solution_cells] {wanted.grade_id}"
    found = [cell for cell in cells if cell.grade_id == wanted.grade_id]
    if not found:
        others = ", ".join(cell.grade_id for cell in cells if cell.solution and cell.grade_id) or "none"
        yield f"{wanted.notebook}: no cell has the grade id {wanted.grade_id} ({line} of the rubric); solution cells are: {others}."
        return
    cell = found[0]
    if not cell.solution or cell.cell.cell_type != "code":
        yield f"{cell.where}: {line} of the rubric, but here it is no code cell of the kind solution (`autograded answer` in nbgrader)."
        return
    if cell.notebook != wanted.notebook:
        yield f"{cell.where}: {line} of the rubric says that it stands in {wanted.notebook}."
    if "BEGIN SOLUTION" not in cell.cell.source:
        yield f"{cell.where}: no ### BEGIN SOLUTION, so students would get an empty cell. Put markers around what they are to write."
    defined = _defined(cell.cell)
    if "END SOLUTION" in cell.cell.source and defined is not None and wanted.defines not in defined:
        yield (
            f"{cell.where}: it defines {', '.join(sorted(defined)) or 'nothing'}, but {line} of the rubric says {wanted.defines}. "
            "Give both the same name, and the checks and entries of the exam that use it."
        )


def _given_away(cell: _Cell, cells: list[_Cell], rubric: Rubric) -> Iterator[str]:
    """Say which solutions a cell holds that students get as it is."""
    advice = "Students would get it: take it out."
    names = {wanted.defines for wanted in rubric.cells}
    if cell.cell.cell_type == "code":
        for name in sorted(names & (_defined(cell.cell, assigned=False) or set())):
            yield f"{cell.where}: it defines {name}, which students are to write. {advice}"
    text = squeeze(cell.cell.source)
    for other in cells:
        lines = {squeeze(line) for line in split_solution(other.cell)[1] if len(line.strip()) >= MIN_LINE} if other.solution else set()
        there = sum(line in text for line in lines)
        if there >= FEW and 2 * there >= len(lines):
            yield f"{cell.where}: it holds {there} of the {len(lines)} longer lines of the solution in {other.where}. {advice}"


def _defined(cell: NotebookNode, assigned: bool = True) -> set[str] | None:
    """Names that a cell defines at its top level; None if it cannot be parsed."""
    try:
        body = parsed_cell(cell)
    except SyntaxError:
        return None
    found = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    if assigned:
        found |= {target.id for node in body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    return found
