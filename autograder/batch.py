"""Grade many submissions: judges side by side, each result on disk as soon as it is known, then the class pages."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from autograder.grade import grade_path, unreadable_result
from autograder.report import read_pictures, write_class_page, write_student_page, write_summary
from autograder.result_schema import validate
from autograder.run import Run, Settings
from autograder.submission import submission_names

__all__ = ["estimate_gate_seconds", "grade_many", "write_result"]

_RUN: Run | None = None


def _attach(settings: Settings, folder: Path) -> None:
    global _RUN
    _RUN = Run.attach(settings, folder)


def write_result(result: dict[str, Any], folder: Path, rubric) -> None:
    """Write ``result.json`` (whole or not at all) and ``report.html``."""
    folder.mkdir(parents=True, exist_ok=True)
    validate(result)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1, ensure_ascii=False)
        os.chmod(name, 0o644)
        os.replace(name, folder / "result.json")
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    write_student_page(
        result, folder, titles=rubric.causes, checks=_titles(rubric), pictures=read_pictures(folder)
    )


def _titles(rubric) -> dict[str, dict[str, Any]]:
    return {name: {"title": check.title, "points": check.points} for name, check in rubric.checks.items()}


def _judge(path: Path, name: str, marks: Path) -> dict[str, Any]:
    """Grade one submission in a judge process. What it is doing goes to a small file, for the progress bar."""
    mark = marks / f"{os.getpid()}"
    out = _RUN.settings.out / name

    def show(text: str) -> None:
        mark.write_text(f"{name}: {text}", encoding="utf-8")

    def gate(check: str, done: int, of: int, seconds: float) -> None:
        show(f"{check} {done}/{of} pictures, {seconds / done * (of - done):.0f} s left")

    out.mkdir(parents=True, exist_ok=True)
    result = grade_path(_RUN, path, name, out, progress=show, gate_progress=gate)
    write_result(result, out, _RUN.rubric)
    mark.unlink(missing_ok=True)
    return result


def estimate_gate_seconds(run: Run) -> float:
    """Seconds that one gate takes on this machine's CPU, from the sizes of its pictures (measured: 2 cores)."""
    if run.data is None:
        return 0.0
    pixels = sum((shape[0] + 198) * (shape[1] + 198) for shape in (run.data.load(n)[2].shape for n in run.data.names))
    return pixels * SECONDS_PER_PIXEL


# padded pixels of a picture to seconds of one forward call with two threads; measured with FCN-8s on 48 real facades
SECONDS_PER_PIXEL = 5.5e-6


def grade_many(
    paths: Sequence[Path], settings: Settings, jobs: int = 1, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Grade submissions and write everything a class needs.

    Writes ``out/<name>/result.json`` and ``report.html`` for each, then ``summary.csv`` and ``index.html``.

    Args:
        paths: Folders and zips.
        settings: What the run is told.
        jobs: How many judges work side by side.
        say: Where messages go.

    Returns:
        The results in the order of ``paths``.
    """
    paths = list(dict.fromkeys(paths))
    settings.out.mkdir(parents=True, exist_ok=True)
    with Run.create(settings) as run:
        names = submission_names(paths, run.assignment.name)
        if run.data is not None and settings.device != "cuda":
            seconds = estimate_gate_seconds(run)
            if seconds > 30:
                say(f"Gates on the CPU: about {seconds / 60:.1f} minutes per model for {len(run.data.names)} pictures.")
        results = _all(run, paths, names, jobs, say)
        ordered = [results[path] for path in paths]
        write_summary(ordered, settings.out, check_ids=list(run.wanted_checks))
        write_class_page(ordered, settings.out, titles=run.rubric.causes, checks=_titles(run.rubric))
    return ordered


def _all(run: Run, paths: Sequence[Path], names: dict[Path, str], jobs: int, say) -> dict[Path, dict[str, Any]]:
    results: dict[Path, dict[str, Any]] = {}
    marks = run.folder / "marks"
    marks.mkdir()
    bar = tqdm(total=len(paths), desc="grading", unit="submission", file=sys.stdout, disable=None)
    try:
        left = _side_by_side(run, paths, names, jobs, results, bar, say)
        while left:  # a judge died and took along those beside it: one after the other, the first left over is who it dies of
            left = _side_by_side(run, left, names, 1, results, bar, say)
            if left:
                results[left[0]] = _not_graded(run, names[left[0]], "the judge process died, twice (out of memory?)", say)
                bar.update()
            left = left[1:]
    except KeyboardInterrupt:
        say(f"Interrupted: {len(results)} of {len(paths)} submissions are graded and written; run again for the rest.")
        raise
    finally:
        bar.close()
    return results


def _side_by_side(
    run: Run, paths: Sequence[Path], names: dict[Path, str], jobs: int, results: dict[Path, dict[str, Any]], bar: tqdm, say
) -> list[Path]:
    """Grade submissions in a pool of judges; returns those that have no result because a judge died, in their order."""
    marks = run.folder / "marks"
    pool = ProcessPoolExecutor(max(1, min(jobs, len(paths))), get_context("spawn"), _attach, (run.settings, run.folder))
    try:
        waiting = {pool.submit(_judge, path, names[path], marks): path for path in paths}
        while waiting:
            done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                path = waiting.pop(future)
                try:
                    results[path] = future.result()
                except BrokenProcessPool:
                    continue
                except Exception as error:  # whatever it was: the rest of the class is graded
                    results[path] = _not_graded(run, names[path], f"{type(error).__name__}: {error}", say)
                bar.update()
                if bar.disable:  # no terminal: a line each, so that a log shows progress too
                    seconds = results[path]["seconds"]
                    say(f"  {len(results)}: {names[path]}: {results[path]['score']:g} points, {seconds:.0f} s")
            bar.set_postfix_str(_doing(marks), refresh=True)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [path for path in paths if path not in results]


def _not_graded(run: Run, name: str, reason: str, say) -> dict[str, Any]:
    """The result of a submission at which the grader failed."""
    say(f"{name}: could not be graded: {reason}")
    result = unreadable_result(run, name, f"The grader failed, not the student: {reason}", "grader.fault")
    try:
        write_result(result, run.settings.out / name, run.rubric)
    except OSError:
        pass  # the disk is full: it was said above
    return result


def _doing(marks: Path) -> str:
    """What the judges are doing just now."""
    texts = []
    for mark in sorted(marks.glob("*"))[:2]:
        try:
            texts.append(mark.read_text(encoding="utf-8")[:48])
        except OSError:
            continue
    return " | ".join(texts)


def elapsed(started: float) -> str:
    """Minutes and seconds since ``started`` (``time.monotonic()``)."""
    seconds = time.monotonic() - started
    return f"{int(seconds // 60)} min {int(seconds % 60)} s" if seconds >= 60 else f"{seconds:.0f} s"
