"""A student who has written everything, and runs all notebooks of a release one after the other, in quick mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from course_release import solve, unpacked_release
from jupyter_page import Cell, LabPage, chromium, missing, served

__all__ = ["MARKS", "Desk", "Shown", "working_through"]

MARKS = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=f"looks at notebooks in a browser, and has no {missing()}")]


@dataclass(frozen=True)
class Shown:
    """What a notebook shows whose cells have all been run.

    Attributes:
        cells: All of its cells.
        boxes: How many red boxes the page draws; 0 where nobody counted.
    """

    cells: list[Cell]
    boxes: int

    @property
    def text(self) -> str:
        """What the cells wrote on stdout."""
        return "".join(cell.written("stdout") for cell in self.cells)


class Desk:
    """A solved release that is open in JupyterLab.

    Attributes:
        folder: With the notebooks.
    """

    def __init__(self, folder: Path, page: Any, address: str) -> None:
        self.folder, self.page, self.address = folder, page, address
        self._shown: dict[str, Shown] = {}

    def run(self, name: str, drawn: bool = False) -> Shown:
        """Run all cells of a notebook: once, whoever asks again.

        Args:
            name: Of the notebook.
            drawn: Whether red boxes are counted on the page too, which takes half a second a cell.
        """
        if name not in self._shown:
            lab = LabPage(self.page, self.address).open(name)
            print(f"{name}: the first [ok] after {lab.run_all(600):.1f} s")
            self._shown[name] = Shown(lab.cells(), lab.red_boxes() if drawn else 0)
            lab.close()
        return self._shown[name]

    def demand_nothing_but_ok(self, name: str, lines: int, pictures: set[str], drawn: bool = False) -> None:
        """Nothing red, no fault, no model to hand in; so many lines of checks passed at the least, and these cells show a picture."""
        shown = self.run(name, drawn)
        red = [(cell.place, cell.written("stderr") or cell.error) for cell in shown.cells if cell.written("stderr") or cell.error]
        assert not red and shown.boxes == 0, red
        assert "[!!]" not in shown.text and shown.text.count("[ok]") >= lines + 6, shown.text  # six lines prove the environment
        assert {cell.grade_id for cell in shown.cells if "image/png" in cell.kinds} >= pictures
        assert str(self.folder / "segkit") in shown.text, "the kit is the release's own"
        assert not list(self.folder.glob("checkpoints/*")), "a quick run must not leave a model to hand in"


@contextmanager
def working_through(assignment: str, place: Path) -> Iterator[Desk]:
    """Unpack a release, write the solutions, and open JupyterLab there.

    Args:
        assignment: Its name.
        place: Empty folder.
    """
    course = unpacked_release(place, assignment)
    solve(course)
    with served(course, place / "jupyter", SEGKIT_QUICK="1") as address, chromium() as page:
        yield Desk(course, page, address)
