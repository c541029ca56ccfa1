"""How fast a class is graded: ``python benchmarks/grading.py`` (Linux, a few minutes on two cores).

Grades the same correct submissions, gates left out, in three ways, taking turns within one run:

``segkit``    ``grade_many`` with judges side by side, from start to the last page;
``nbgrader``  ``nbgrader autograde`` as it comes: each notebook runs in a kernel, where the same checks are test cells. It holds
              nothing but solutions and checks, and finds hidden weights and reference outputs ready made, which favours it;
``floor``     nothing but the forward calls that the checks ask for, networks ready, as many processes as there are judges.

Prints medians and ratios, writes JSON. It also takes the largest memory that one judge and its worker held together.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
import torch
from limits import Sampling, machine, print_table, seconds_of, write_json

from autograder.assignments.fcn.networks import FCN32S
from autograder.batch import grade_many
from autograder.course.assignment import open_assignment
from autograder.course.seeds import Seeds
from autograder.exam.building import solved_notebooks
from autograder.judge.run import Run, Settings
from autograder.segmentation.probe import probe_images
from segkit.reference import FCN8s, FCN32s

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
SECRET = "how fast is it"
LIMIT_GIB = 3.0


def wanted_checks() -> tuple[str, ...]:
    """The checks that a machine grades without checkpoints."""
    rubric = open_assignment("fcn").rubric
    return tuple(name for name, check in rubric.checks.items() if not check.manual and "checkpoint" not in check.settings)


def write_class(folder: Path, count: int) -> list[Path]:
    """Write correct submissions; each differs in its text, so nothing is found in a cache that belongs to one student."""
    notebooks = solved_notebooks(ROOT / "notebooks" / "fcn")
    paths = [folder / f"student{number:03d}" for number in range(count)]
    for path in paths:
        path.mkdir(parents=True)
        for name, notebook in notebooks.items():
            cells = [dict(cell) for cell in notebook["cells"]]
            for cell in cells:
                if cell["metadata"].get("nbgrader", {}).get("solution") and cell["cell_type"] == "code":
                    cell["source"] = f"# {path.name}\n{cell['source']}"
            (path / name).write_text(json.dumps(notebook | {"cells": cells}), encoding="utf-8")
    return paths


# ----------------------------------------------------------------------------------------------------------------- segkit
def settings(out: Path, checks: tuple[str, ...]) -> Settings:
    return Settings("fcn", out, data="sample", secret=SECRET, device="cpu", only=checks)


def grade(paths: list[Path], out: Path, jobs: int, checks: tuple[str, ...]) -> None:
    results = grade_many(paths, settings(out, checks), jobs, lambda text: None)
    short = [result["submission"] for result in results if result["score"] < result["max_score"]]
    if short:
        raise SystemExit(f"correct submissions lost points: {', '.join(short)}")


class Memory(Sampling):
    """Notes the largest memory (proportional set size) of any one judge with all processes below it, in GiB."""

    def __init__(self) -> None:
        super().__init__(self._look, 0.2)
        self.largest = 0.0

    def _look(self) -> None:
        for judge in psutil.Process().children():
            self.largest = max(self.largest, sum(map(_share, [judge, *_below(judge)])) / 2**30)


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _share(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except (psutil.Error, OSError):
        return 0


# --------------------------------------------------------------------------------------------------------------- nbgrader
# what each test cell runs, in the kernel: the very check, on what the notebook defined
TEST_CELL = "from grading import check_here\ncheck_here({check!r}, globals(), {folder!r})\n"


def write_course(folder: Path, paths: list[Path], shared: Path, checks: tuple[str, ...]) -> None:
    """Write an nbgrader course whose notebook holds the solutions and, as ordinary test cells, the checks."""
    cells = [nbformat.v4.new_code_cell("import sys\nsys.path[:0] = " + repr([str(ROOT), str(ROOT / "benchmarks")]))]
    rubric = open_assignment("fcn").rubric
    for notebook in solved_notebooks(ROOT / "notebooks" / "fcn").values():
        for cell in notebook["cells"]:
            grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if grade_id in rubric.defines:
                cells.append(nbformat.v4.new_code_cell(cell["source"]))
    for check in checks:
        cell = nbformat.v4.new_code_cell(TEST_CELL.format(check=check, folder=str(shared)))
        cell.metadata["nbgrader"] = {
            "grade": True, "solution": False, "locked": True, "task": False, "schema_version": 3, "cell_type": "code",
            "grade_id": f"{check}-check".replace(".", "-"), "points": rubric.checks[check].points,
        }  # fmt: skip
        cells.append(cell)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    places = [folder / "source", *(folder / "submitted" / path.name for path in paths)]
    for place in places:
        target = place / "checks" / "work.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), target)
    config = "c = get_config()\nc.CourseDirectory.course_id = 'bench'\nc.ExecutePreprocessor.timeout = 600\n"
    (folder / "nbgrader_config.py").write_text(config, encoding="utf-8")
    _nbgrader(folder, "generate_assignment", "checks", "--force")


def _nbgrader(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"nbgrader {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")


def check_here(check: str, names: dict, folder: str) -> None:
    """In a kernel: run one check on the notebook's own classes and functions; raises where points are lost."""
    import autograder.judge.run
    from autograder.handins.submission import read_submission
    from autograder.judge.checking import run_checks
    from autograder.judge.grade import Context
    from autograder.judge.student import Student
    from segkit.subject import LocalSubject, WeightFile

    if "_segkit" not in names:
        torch.set_num_threads(1)
        autograder.judge.run.best_level = lambda demanded: "process"  # no wall is needed here, so none is looked for
        run = Run.attach(settings(Path(folder) / "kernel", wanted_checks()), Path(folder))
        scratch = Path(tempfile.mkdtemp())
        weights = WeightFile(run.folder / "weights.bin", run.weight_index)
        submission = read_submission(Path(folder) / "anyone", "anyone", run.rubric, None)
        student = Student(submission.workbook, LocalSubject(scratch, weights))
        for name in run.rubric.defines.values():
            student.subject.adopt(name, names[name])
            student._generation[name] = 1  # defined: the cell above was run
        names["_segkit"] = (run, student, Context(run, submission))
    run, student, context = names["_segkit"]
    (verdict,) = run_checks(student, context, run.assignment.checks, {check: run.rubric.checks[check]})
    assert verdict.points == verdict.max_points, verdict.message


def grade_with_nbgrader(course: Path) -> None:
    shutil.rmtree(course / "autograded", ignore_errors=True)
    _nbgrader(course, "autograde", "checks", "--force")
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        short = [s.student.id for s in gradebook.assignment_submissions("checks") if s.score < s.max_score]
    if short:
        raise SystemExit(f"correct submissions lost points with nbgrader: {', '.join(short)}")


# ------------------------------------------------------------------------------------------------------------------ floor
def forward_calls(count: int, ready: "multiprocessing.Barrier") -> None:
    """Nothing but what the checks ask of networks: one pair of images in eval mode, one image in train mode, for each of two."""
    torch.set_num_threads(1)
    images = torch.from_numpy(probe_images(Seeds(SECRET), FCN32S))
    networks = [network(n_class=5) for network in (FCN32s, FCN8s)]
    ready.wait()
    with torch.inference_mode():
        for _ in range(count):
            for network in networks:
                network.eval()(images)
                network.train()(images[:1])


def floor_seconds(count: int, jobs: int) -> float:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(jobs + 1)
    shares = [count // jobs + (number < count % jobs) for number in range(jobs)]
    processes = [context.Process(target=forward_calls, args=(share, ready)) for share in shares]
    for process in processes:
        process.start()
    ready.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
    return time.perf_counter() - started


# --------------------------------------------------------------------------------------------------------------- together
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--stock", type=int, default=8, help="how many of them nbgrader grades; it takes the longest, each alike")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "grading.json")
    options = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by its name
    checks, seconds = wanted_checks(), {"segkit": [], "nbgrader": [], "floor": []}
    with tempfile.TemporaryDirectory(prefix="segkit-bench-") as place, Memory() as memory:
        folder = Path(place)
        paths = write_class(folder / "class", options.submissions)
        with Run.create(settings(folder / "shared", checks)) as run:
            shutil.copytree(paths[0], run.folder / "anyone")
            write_course(folder / "course", paths[: options.stock], run.folder, checks)
            for number in range(options.rounds):
                out = folder / f"out{number}"
                seconds["segkit"].append(seconds_of(lambda out=out: grade(paths, out, options.jobs, checks), CPU))
                seconds["nbgrader"].append(seconds_of(lambda: grade_with_nbgrader(folder / "course"), CPU))
                seconds["floor"].append(floor_seconds(options.submissions, options.jobs))
                print(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.1f} s" for name, values in seconds.items()), flush=True)
    report(options, checks, seconds, memory.largest)


def report(options: argparse.Namespace, checks: tuple[str, ...], seconds: dict[str, list[float]], memory: float) -> None:
    counts = {"segkit": options.submissions, "nbgrader": options.stock, "floor": options.submissions}
    each = {name: [value / counts[name] for value in values] for name, values in seconds.items()}
    ratios = {
        "segkit / floor": statistics.median(a / b for a, b in zip(each["segkit"], each["floor"], strict=True)),
        "nbgrader / segkit": statistics.median(a / b for a, b in zip(each["nbgrader"], each["segkit"], strict=True)),
    }
    print_table(
        f"{options.submissions} submissions, {len(checks)} checks, {options.jobs} judges, {os.cpu_count()} cores",
        ("way", "submissions", "seconds", "per minute"),
        [(name, counts[name], (median := statistics.median(values)), 60 * counts[name] / median) for name, values in seconds.items()],
    )  # fmt: skip
    print_table("ratios within rounds, and memory", ("what", "value"), [
        *ratios.items(), (f"largest judge with its worker, GiB (aim: under {LIMIT_GIB:g})", memory),
    ])  # fmt: skip
    write_json(options.out, {
        "machine": machine(CPU), "submissions": counts, "jobs": options.jobs, "cores": os.cpu_count(), "checks": list(checks),
        "seconds": seconds, "ratios": ratios, "memory_gib": memory,
    })  # fmt: skip


if __name__ == "__main__":
    main()
