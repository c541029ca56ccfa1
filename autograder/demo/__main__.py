"""``python -m autograder.demo`` (``make demo``): from the notebooks of an assignment to a graded class, in four steps."""

import importlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from autograder.batch import elapsed, grade_many
from autograder.course.assignment import open_assignment
from autograder.course.rubric import RubricError
from autograder.course.sources import ReleaseError, Sources, find_sources, rubric_facts
from autograder.demo.classroom import make_class
from autograder.demo.expectations import losses_table, surprises
from autograder.demo.students import DemoError, Student, read_students
from autograder.exam.entries import CorpusError
from autograder.exam.guard import Guard
from autograder.judge.run import Settings
from autograder.release.build import build_release
from autograder.report import format_table

__all__ = ["main", "run_demo"]

ROOT = Path(__file__).resolve().parents[2]
SECRET = "the demo's secret is no secret"  # fixed, so that every demo asks the same questions


def run_demo(
    assignment: str, out: Path, *, jobs: int = 2, fitted: Path | None = None, students: Sequence[Student] = ()
) -> tuple[int, list[str]]:
    """Run the demo and print its tables.

    Args:
        assignment: Which one; it has a ``demo.toml`` and a ``fitting.py``.
        out: Receives the graded class. What the demo made on its way lies beside it, under names that begin alike.
        jobs: How many submissions are graded side by side.
        fitted: Folder with checkpoints of an earlier run, which are then not fitted again.
        students: Who hands in; all of the class if nobody is named.

    Returns:
        How many submissions were graded, and what came out otherwise than expected, one line each.

    Raises:
        DemoError: The assignment has no demo, or its demo does not fit it.
    """
    sources = find_sources(assignment, ROOT)
    rubric, class_ = open_assignment(assignment).rubric, students or read_students(sources.material)
    print(f"{losses_table(class_, rubric)}\n")
    with _Step(1, "Student release, leak-checked"):
        facts, checks = rubric_facts(sources.material)
        built = build_release(sources, _beside(out, "release"), facts=facts, checks=checks, say=_say, guard=_DemoGuard(sources))
    with _Step(2, "Checkpoints, fitted on the sample's pictures"):
        checkpoints = fitted or _beside(out, "checkpoints")
        if not fitted:
            importlib.import_module(f"autograder.assignments.{assignment}.fitting").fit_checkpoints(checkpoints)
    with _Step(3, f"{len(class_)} students fill in the release, with one mistake each"):
        paths = make_class(built.folder, sources.notebooks, checkpoints, _beside(out, "class"), class_)
    with _Step(4, "The class is graded"):
        shutil.rmtree(out, ignore_errors=True)
        results = grade_many(paths, Settings(assignment, out, data="sample", secret=SECRET, device="cpu"), jobs)
    print(f"\n{format_table(results)}\n")
    return len(class_), surprises(class_, results, rubric)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name}-{what}")


def _say(text: str) -> None:
    print(f"  {text}")


class _DemoGuard(Guard):
    """Never refuses, since the demo must also work in the middle of a change. The release is stamped, and the demo says so.

    The two tries of a release are made by step 4: the class holds a perfect and an untouched submission.
    """

    def __init__(self, sources: Sources) -> None:
        super().__init__(sources, unexamined=True, say=_say)

    def approve(self, folder: Path) -> None:
        self.say_standing()


class _Step:
    """Prints the headline of a step, and how long it took."""

    def __init__(self, number: int, title: str) -> None:
        self.title = f"[{number}/4] {title}"

    def __enter__(self) -> None:
        self.started = time.monotonic()
        print(self.title, flush=True)

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            print(f"      {elapsed(self.started)}", flush=True)


@click.command()
@click.argument("assignment", default="fcn")
@click.option("--out", default=ROOT / "build" / "demo", type=click.Path(path_type=Path), help="Where the graded class goes.")
@click.option("--jobs", default=min(2, os.cpu_count() or 1), show_default=True, help="Submissions graded side by side.")
@click.option(
    "--fitted",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Checkpoints of an earlier demo (build/demo-checkpoints), in place of fitting them again.",
)
def main(assignment: str, out: Path, jobs: int, fitted: Path | None) -> None:  # fmt: skip
    """Build a release of ASSIGNMENT, make a class of students with one mistake each, fit checkpoints, and grade the class.

    Exit 0: every grade is as expected; 1: one is not.
    """
    started = time.monotonic()
    try:
        graded, unexpected = run_demo(assignment, out.resolve(), jobs=jobs, fitted=fitted)
    except (CorpusError, DemoError, ReleaseError, RubricError, OSError) as error:
        raise click.ClickException(str(error)) from error
    shown = out if not out.is_relative_to(Path.cwd()) else out.relative_to(Path.cwd())
    print(f"Open {shown / 'index.html'}; every student has a folder with report.html and result.json, summary.csv has all.")
    if unexpected:
        print(f"\n{len(unexpected)} thing(s) came out otherwise than expected:")
        print("\n".join(f"  {line}" for line in unexpected))
        sys.exit(1)
    print(f"All {graded} submissions lost exactly what was expected. {elapsed(started)} in all.")


if __name__ == "__main__":
    main(prog_name="python -m autograder.demo")
