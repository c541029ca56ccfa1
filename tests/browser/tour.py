"""All notebooks of an unpacked release in a browser, photographed cell by cell, to be looked at by a person.

    python tests/browser/tour.py --out build/tour                the release as students get it
    python tests/browser/tour.py --out build/tour --solved       with the solutions, in quick mode

Each folder of pictures has ``cells.txt`` beside it: what every cell wrote, and the tracebacks.
"""

import argparse
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from course_release import solve, unpacked_release
from jupyter_page import Cell, LabPage, chromium, missing, served


def photograph(lab: LabPage, name: str, out: Path, minutes: float) -> None:
    """Run a notebook, for so many minutes at the most, and take a picture of every cell that shows something."""
    folder = out / Path(name).stem
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    lab.open(name)
    lab.page.screenshot(path=folder / "opened.png")
    with suppress(TimeoutError):
        lab.run_all(60 * minutes)
        print(f"{name}: {lab.processor_seconds():.0f} s of a core")
    cells = lab.cells()
    print(f"{name}: {time.monotonic() - began:.0f} s, the first [ok] after {lab.first_ok:.1f} s", flush=True)
    (folder / "cells.txt").write_text("\n".join(map(described, cells)), encoding="utf-8")
    lab.page.evaluate("jupyterapp.shell.collapseLeft()")
    for cell in cells:
        if cell.outputs or cell.kind == "markdown":
            lab.show(cell.place)
            lab.page.screenshot(path=folder / f"{cell.place:02d}.png")
    lab.close()


def described(cell: Cell) -> str:
    """What a cell shows, in text."""
    red = "".join(f"\n  RED {line}" for line in cell.written("stderr").splitlines())
    head = f"--- {cell.place} {cell.kind} {cell.grade_id} {' '.join(sorted(cell.kinds))}{red}"
    return f"{head}\n{cell.written('stdout')}{cell.error and '  TRACEBACK ' + cell.error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--assignment", default="fcn")
    parser.add_argument("--solved", action="store_true", help="with the solutions, in quick mode")
    parser.add_argument("--dark", action="store_true", help="in JupyterLab's dark theme")
    parser.add_argument("--only", default="", help="part of a notebook's name")
    parser.add_argument("--minutes", type=float, default=30, help="for each notebook; what is not done by then is shown as it is")
    chosen = parser.parse_args()
    if absent := missing():
        parser.exit(2, f"not here: {absent}. The first two come with `pip install -e '.[course,dev]'`, chromium with the system.\n")
    with tempfile.TemporaryDirectory() as place:
        course = unpacked_release(Path(place), chosen.assignment)
        if chosen.solved:
            solve(course)
        with served(course, Path(place) / "jupyter", **({"SEGKIT_QUICK": "1"} if chosen.solved else {})) as address, chromium() as page:
            if chosen.dark:
                page.goto(address.format("lab"))
                page.wait_for_selector(".jp-Launcher")
                page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
                page.wait_for_timeout(3000)
            for path in sorted(path for path in course.glob("*.ipynb") if chosen.only in path.name):
                photograph(LabPage(page, address), path.name, chosen.out, chosen.minutes)


if __name__ == "__main__":
    main()
