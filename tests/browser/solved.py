"""A student who has written everything, and runs all notebooks of a release one after the other, in quick mode."""

import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from course_release import release_zip, solve
from jupyter_page import Cell, LabPage, chromium, missing, served

__all__ = ["MARKS", "Shown", "working_through"]

MARKS = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=f"looks at notebooks in a browser, and has no {missing()}")]


class Shown:
    """What a notebook shows whose cells have all been run.

    Attributes:
        cells: All of its cells.
        stdout: What they wrote.
    """

    def __init__(self, cells: list[Cell]) -> None:
        self.cells = cells
        self.stdout = "".join(cell.written("stdout") for cell in cells)

    @property
    def pictures(self) -> set[str]:
        """Grade ids of the cells that show a picture."""
        return {cell.grade_id for cell in self.cells if "image/png" in cell.kinds}

    def demand_ok(self, lines: int) -> None:
        """Nothing red, no fault, and at least so many lines of checks that passed, beside the six that prove the environment."""
        red = [(cell.place, cell.written("stderr") or cell.error) for cell in self.cells if cell.written("stderr") or cell.error]
        assert not red, red
        assert "[!!]" not in self.stdout and self.stdout.count("[ok]") >= lines + 6, self.stdout


@contextmanager
def working_through(assignment: str, place: Path) -> Iterator[tuple[Path, Callable[[str], Shown]]]:
    """Unpack a release in a folder whose name has spaces and umlauts, write the solutions, and open JupyterLab there.

    Args:
        assignment: Name of the assignment.
        place: Empty folder.

    Yields:
        The course's folder, and what runs a notebook by its name: once, whoever asks again.
    """
    shutil.unpack_archive(release_zip(place / "release", assignment), place / "Übungen für Ada, part 2")
    course = place / "Übungen für Ada, part 2" / assignment
    solve(course)
    with served(course, place / "jupyter", SEGKIT_QUICK="1") as address, chromium() as page:

        @functools.cache
        def run(name: str) -> Shown:
            lab = LabPage(page, address).open(name)
            print(f"{name}: the first [ok] after {lab.run_all(600):.1f} s")
            shown = Shown(lab.cells())
            lab.close()
            return shown

        yield course, run
