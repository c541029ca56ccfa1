"""Do the times that texts promise hold? ``python benchmarks/told_times.py`` (Linux; half an hour of two cores).

``TOLD`` names each promise by its sentence, the most seconds that it allows, and what is run: the notebooks of a release with their
solutions written in, cell by cell, or a command. Prints told beside measured, as wall time and as seconds of one core, which a busy
machine hardly changes, and writes JSON. ``ELSEWHERE`` are times of a GPU, of a person, or no promises. No other time may stand in what
students read (``tests/benchmarks/test_told_times.py``): a new one gets a line here first.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
import torch
from gate import write_checkpoints
from limits import Sampling, machine, print_table, write_json
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "browser"))

from course_release import solve, unpacked_release  # noqa: E402

FCN, SATELLITE, PASSAGES = "notebooks/fcn", "notebooks/satellite", "autograder/release/passages"


@dataclass(frozen=True)
class Told:
    """A promise.

    Attributes:
        file: In which it stands.
        sentence: Its words there.
        seconds: The most that it allows.
        run: What is run, see ``Place.run``.
        cells: Of a notebook, the ids of the cells whose time counts, as a pattern.
        gib: The most memory that it allows.
    """

    file: str
    sentence: str
    seconds: float
    run: str
    cells: str = ""
    gib: float = 0.0


@dataclass
class Took:
    """What something took: seconds on the clock, seconds of one core, GiB at most."""

    wall: float = 0.0
    core: float = 0.0
    gib: float = 0.0


MINUTE, SECONDS = 60.0, 30.0  # "seconds": a reader waits for it
TOLD = (
    Told(f"{FCN}/1_data.ipynb", "the cells together run under a minute on a CPU", MINUTE, f"{FCN}/1_data.ipynb"),
    Told(f"{FCN}/2_fcn32s.ipynb", "checks under a minute", MINUTE, f"{FCN}/2_fcn32s.ipynb", "check-"),
    Told(f"{FCN}/2_fcn32s.ipynb", "overfitting two pictures about 5 minutes", 300, "overfit", "overfit-train"),
    Told(f"{FCN}/2_fcn32s.ipynb", "spend five minutes", 300, "overfit", "overfit-train"),
    Told(f"{FCN}/2_fcn32s.ipynb", "(quick mode: seconds)", SECONDS, f"{FCN}/2_fcn32s.ipynb", "overfit-train"),
    Told(f"{FCN}/2_fcn32s.ipynb", "Quick mode takes the same steps in seconds", SECONDS, f"{FCN}/2_fcn32s.ipynb", "overfit-train"),
    Told(f"{FCN}/2_fcn32s.ipynb", "Quick mode trains all layers too, for a minute", MINUTE, f"{FCN}/2_fcn32s.ipynb", "scratch-train"),
    Told(f"{FCN}/3_pretraining.ipynb", "Checks on a CPU: under a minute", MINUTE, f"{FCN}/3_pretraining.ipynb", "check-"),
    Told(f"{FCN}/3_pretraining.ipynb", "quick mode: two minutes", 120, f"{FCN}/3_pretraining.ipynb", "train$"),
    Told(f"{FCN}/4_fcn8s.ipynb", "Cells on a CPU: about a minute", MINUTE, f"{FCN}/4_fcn8s.ipynb", "check-|show-(?!comparison|pictures)"),
    Told(f"{FCN}/4_fcn8s.ipynb", "quick mode: minutes", 300, f"{FCN}/4_fcn8s.ipynb", "train$"),
    Told(f"{FCN}/5_questions.ipynb", "the cells take seconds", SECONDS, f"{FCN}/5_questions.ipynb"),
    Told(f"{FCN}/5_questions.ipynb", "runs the checks of these notebooks on it (a minute)", MINUTE, "submit"),
    Told(f"{PASSAGES}/submit.md", "runs the checks of the notebooks on what is in it, which takes about a minute", MINUTE, "submit"),
    Told("segkit/cli/submit.py", "The checks take about a minute.", MINUTE, "submit"),
    Told("docs/students.md", "runs the checks of the notebooks on it (a minute;", MINUTE, "submit"),
    Told("docs/students.md", "It needs about a minute and 3 GiB on two cores.", MINUTE, "submit", gib=3),
    Told(f"{SATELLITE}/1_classify.ipynb", "Cells on a CPU: two minutes in quick mode", 120, f"{SATELLITE}/1_classify.ipynb"),
    Told(f"{SATELLITE}/2_masks.ipynb", "every cell runs in seconds on a CPU", SECONDS, f"{SATELLITE}/2_masks.ipynb"),
    Told(f"{SATELLITE}/3_fcn32s.ipynb", "Cells on a CPU: three minutes in quick mode", 180, f"{SATELLITE}/3_fcn32s.ipynb"),
    Told(f"{SATELLITE}/4_fcn8s.ipynb", "Cells on a CPU: three minutes in quick mode", 180, f"{SATELLITE}/4_fcn8s.ipynb"),
    Told(f"{SATELLITE}/5_report.ipynb", "the cells take seconds on a CPU", SECONDS, f"{SATELLITE}/5_report.ipynb"),
    Told("docs/assignments.md", "it sits nothing, and takes half a minute at most", 30, "selftest fcn --due"),
    Told("CONTRIBUTING.md", "| run it on the solution, or on any submission |", 30, "grade notebooks/fcn --only scores --out OUT"),
    Told("CONTRIBUTING.md", "| one mistake that it must find |", 30, "selftest fcn --only iou-recall"),
    Told("docs/assignments.md", "`make demo` fits some on the sample in under two minutes", 120, "fit fcn"),
    Told("docs/satellite.md", "networks trained in a minute", 60, "fit satellite"),
)  # fmt: skip
ELSEWHERE = {
    "a person's time": (
        "about 90 minutes for you", "about two hours for you", "45 minutes for you", "about an hour for you", "about an hour.",
        "an hour and a half for you", "Take a minute and find",
    ),
    "a GPU's, which no script has measured yet": (
        "both take seconds on a GPU", "wants a GPU and up to an hour", "Before an hour of training", "one to three hours on a small one",
        "takes minutes on a GPU", "is a matter of an hour on a small GPU", "are a matter of an hour each on a small GPU",
    ),
    "no more than said above it, or no promise": (
        "trains the last layers of the networks in minutes", "the last layers are trained in minutes", "in minutes. What it trained",
        "it is loaded in seconds", "takes some seconds per picture", "a table with points, seconds, and what is wrong",
    ),
}  # fmt: skip


def notebook(path: Path, quick: bool = True, last: str = "") -> dict[str, Took]:
    """Run a notebook in its folder; what each cell took, the kernel and all that it started.

    Args:
        path: Where it lies.
        quick: In quick mode.
        last: Id of the last cell that is run; empty for all.
    """
    book = nbformat.read(path, as_version=4)
    ids = [cell.id for cell in book.cells]
    book.cells = book.cells[: ids.index(last) + 1 if last else None]
    found: dict[str, Took] = {}
    client = NotebookClient(book, timeout=None, resources={"metadata": {"path": str(path.parent)}})

    def core() -> float:
        return sum(psutil.Process(client.km.provisioner.pid).cpu_times()[:4])

    def begin(cell: nbformat.NotebookNode, cell_index: int) -> None:
        if cell.cell_type == "code":
            found[cell.id] = Took(-time.perf_counter(), -core())

    def end(cell: nbformat.NotebookNode, cell_index: int, **_: object) -> None:
        found[cell.id].wall += time.perf_counter()
        found[cell.id].core += core()

    client.on_cell_start, client.on_cell_executed = begin, end
    client.execute(env=os.environ | {"SEGKIT_QUICK": "1" if quick else "", "SEGKIT_DATA": "sample"})
    return found


def command(*words: str, folder: Path = ROOT, **environment: str) -> dict[str, Took]:
    """Run a command of Python's, with these variables; what it took, all processes together."""

    def own() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def look() -> None:
        try:
            for child in psutil.Process().children():
                if child.pid == process.pid:
                    family = [child, *child.children(recursive=True)]
                    most.append(sum(one.memory_full_info().pss for one in family) / 2**30)
        except psutil.Error:  # something ended meanwhile
            pass

    begun, before, most = time.perf_counter(), own(), [0.0]
    process = subprocess.Popen([sys.executable, *words], cwd=folder, env=os.environ | environment)
    with Sampling(look, 0.5):
        status = process.wait()
    if status not in (0, 1):  # 1: something is wrong or not finished, and said
        raise SystemExit(f"{' '.join(words)}: exit status {status}")
    return {"": Took(time.perf_counter() - begun, own() - before, max(most))}


class Place:
    """A folder with the releases of both assignments, solutions written in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.courses: dict[str, Path] = {}

    def course(self, name: str) -> Path:
        """The unpacked release of an assignment, in which somebody has written everything."""
        if name not in self.courses:
            self.courses[name] = unpacked_release(self.folder / name, name)
            solve(self.courses[name])
        return self.courses[name]

    def submit(self) -> dict[str, Took]:
        home = self.course("fcn")
        write_checkpoints(home, None)
        try:
            return command("-m", "segkit", "submit", "--out", str(self.folder / "submission.zip"), folder=home)
        finally:
            shutil.rmtree(home / "checkpoints")

    def fit(self, name: str) -> dict[str, Took]:
        code = f"from autograder.assignments.{name}.fitting import fit_checkpoints as fit; from pathlib import Path; fit(Path('.'), False)"
        fitted = self.folder / f"fitted-{name}"
        fitted.mkdir()
        return command("-c", code, folder=fitted, PYTHONPATH=str(ROOT))

    def run(self, what: str) -> dict[str, Took]:
        """Run what a promise names."""
        if what == "submit":
            return self.submit()
        if what == "overfit":
            return notebook(self.course("fcn") / "2_fcn32s.ipynb", quick=False, last="overfit-train")
        if what.endswith(".ipynb"):
            _, name, file = what.split("/")
            return notebook(self.course(name) / file)
        if what.startswith("fit "):
            return self.fit(what.removeprefix("fit "))
        return command("-m", "autograder", *what.replace("OUT", str(self.folder / "out")).split())


def measured(told: Told, found: dict[str, Took]) -> Took:
    """What counts for a promise, of what its run took."""
    parts = [took for name, took in found.items() if re.match(told.cells, name)]
    if not parts:
        raise SystemExit(f"{told.run}: expected a cell {told.cells!r}, found {', '.join(found)}")
    return Took(sum(part.wall for part in parts), sum(part.core for part in parts), max(part.gib for part in parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="part of what is run; may be repeated")
    parser.add_argument("--but", action="append", default=[], metavar="WORDS", help="part of what is not run; may be repeated")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "told_times.json")
    options = parser.parse_args()
    wanted = [told for told in TOLD if not options.only or any(words in told.run for words in options.only)]
    wanted = [told for told in wanted if not any(words in told.run for words in options.but)]
    rows, runs = [], {}
    with tempfile.TemporaryDirectory(prefix="segkit-told-") as folder:
        place = Place(Path(folder))
        try:
            for told in wanted:
                if told.run not in runs:
                    runs[told.run] = place.run(told.run)
                took = measured(told, runs[told.run])
                rows.append({"file": told.file, "sentence": told.sentence, "told": told.seconds, "gib told": told.gib, **vars(took)})
                print(f"{took.wall:6.0f} s of {told.seconds:.0f}  {told.run} {told.cells}", flush=True)
        finally:  # what was measured before somebody lost patience
            cells = {name: {cell: vars(took) for cell, took in found.items()} for name, found in runs.items()}
            write_json(options.out, {"machine": machine(torch.device("cpu")), "cores": os.cpu_count(), "promises": rows, "runs": cells})
    head = ("promise", "told, s", "wall, s", "one core, s", "wall / told", "GiB")
    table = [(f"{row['file'].rpartition('/')[2]}: {row['sentence'][:60]}", row["told"], row["wall"], row["core"],
              row["wall"] / row["told"], row["gib"] or "") for row in rows]  # fmt: skip
    print_table(f"told and measured, {os.cpu_count()} cores", head, table)


if __name__ == "__main__":
    main()
