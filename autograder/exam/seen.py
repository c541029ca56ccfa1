"""What a student sees before handing in: the visible checks of the notebooks, run on the submission of an entry.

The check cells themselves are executed, on the definitions as ``segkit.notebooks.take`` would give them. This runs the code
of the corpus in the judge's own process: it is for the mistakes of the corpus, never for its attacks.
"""

import ast
import contextlib
import io
import json
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from autograder.course.assignment import Assignment
from autograder.exam.building import solved_notebooks, write_submission
from autograder.exam.outcome import Outcome
from segkit.notebooks import Unrunnable, at_home, execute, open_folder

__all__ = ["CheckCellError", "check_cells", "see"]

FAULT = "[!!]"


class CheckCellError(Exception):
    """A check cell of the course fails by itself: a fault of the notebook, not a complaint about a student's work."""


def check_cells(notebooks: dict[str, dict[str, Any]], defined: str, first: Collection[str] = ()) -> list[str]:
    """Sources of the check cells that need nothing but solutions: they import a check and call it on ``defined``.

    Args:
        notebooks: The course's notebooks.
        defined: Name that a check must be called on.
        first: Names of visible checks; the cells that call them come first.
    """
    found = []
    for cell in (cell for notebook in notebooks.values() for cell in notebook["cells"] if cell["cell_type"] == "code"):
        if cell["metadata"].get("nbgrader", {}).get("grade_id", "").startswith("check-"):
            names = {node.id for node in ast.walk(ast.parse(cell["source"])) if isinstance(node, ast.Name)}
            found += [cell["source"]] if defined in names and "kit" not in names else []
    return sorted(dict.fromkeys(found), key=lambda source: not any(name in source for name in first))


def see(outcome: Outcome, place: Path, source: Path, assignment: Assignment) -> None:
    """Run the visible checks of what an entry changes until one complains; write it into the outcome.

    Args:
        outcome: Of an entry of the kind ``visible``.
        place: An empty folder.
        source: Folder of the source notebooks.
        assignment: The assignment.
    """
    entry, notebooks, defines = outcome.entry, solved_notebooks(source), dict(assignment.rubric.defines)
    calls = [assignment.rubric.checks[check].visible for check in entry.lost]  # their visible twins are the likeliest to complain
    first = [call.partition("(")[0].rpartition(".")[2] for call in calls if call]
    folder = write_submission(entry, notebooks, place / "work")
    (folder / "assignment.json").write_text(json.dumps(assignment.facts), encoding="utf-8")
    with contextlib.chdir(folder):  # the checks look for assignment.json in the working folder
        workbook = open_folder(folder, defines)
        lines = (
            _complaint(check, workbook, set(defines.values()))
            for grade_id in entry.cells for check in check_cells(notebooks, defines[grade_id], first)
        )  # fmt: skip
        outcome.complaint = next(filter(None, lines), "")
    outcome.caught = bool(outcome.complaint)
    outcome.exact = outcome.caught or bool(entry.unseen)
    if not outcome.exact:
        outcome.problem = "no visible check complains, and the entry gives no reason why"


def _by_itself(error: BaseException) -> bool:
    """Whether a check cell fails by itself: a name or a module that it lacks, and no code of the submission on the way there."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, (NameError, ImportError)) and not any(", cell " in file for file in files)


def _complaint(source: str, workbook, known: set[str]) -> str:
    """Run one check cell; its first fault, or an empty string."""
    space: dict[str, Any] = {"__name__": "__main__"}
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        for name in sorted(names & known):
            definition = workbook.find(name)
            if definition is None:
                return f"NameError: {name} is not defined"
            try:
                program = workbook.program(definition)
                with at_home(str(Path.cwd()), program, fresh=True):
                    space[name] = execute(program)[name]
            except Unrunnable as error:
                return str(error)
        try:
            exec(compile(source, "check cell", "exec"), space)
        except Exception as error:  # the student's code broke it: a complaint too, if a poor one
            if _by_itself(error):
                raise CheckCellError(f"a check cell breaks by itself: {type(error).__name__}: {error}") from error
            return f"{type(error).__name__}: {error}"
    return next((line for line in printed.getvalue().splitlines() if line.startswith(FAULT)), "")
