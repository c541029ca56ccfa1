"""Sit the exam: grade every entry in parallel judges and hold each result against what it must be."""

import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from autograder.exam.building import solved_notebooks, write_submission
from autograder.exam.control import compare_controls, compare_kept, grade_control, write_and_read
from autograder.exam.course import Course
from autograder.exam.entries import Entry
from autograder.exam.outcome import Outcome
from autograder.exam.parity import Points, differences, nbgrader_points, pytest_points
from autograder.exam.replay import Tape
from autograder.exam.seen import see
from autograder.exam.traces import NAMES, Traces
from autograder.judge.checking import CheckResult
from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings
from autograder.sandbox import kernel
from autograder.sandbox.leftovers import owned_prefix

__all__ = ["SECRET", "sit"]

SECRET = "the grader's own exam"  # fixed: the exam must give the same verdict everywhere
PARITY_KINDS = ("mutants", "variants", "damaged", "real", "attacks", "year")


# ------------------------------------------------------------------------------------------------- in a judge process
_RUNS: dict[str, Run] = {}
_BASES: dict[str, tuple[Settings, Path]] = {}
_COURSES: dict[str, Course] = {}


def _attach(bases: dict[str, tuple[Settings, Path]]) -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed exam leaves no judges behind
    _BASES.update(bases)


def _run_for(entry: Entry, seconds: float) -> Run:
    """This judge's run for an entry's rubric, told to grade just the entry's checks."""
    key = _key(entry.overrides)
    if key not in _RUNS:
        _RUNS[key] = Run.attach(*_BASES[key])
    run = _RUNS[key]
    limit = entry.seconds or seconds
    run.settings = dataclasses.replace(_BASES[key][0], only=tuple(entry.checks), seconds=limit)
    return run


def _key(overrides: Mapping[str, Any]) -> str:
    return json.dumps(dict(overrides), sort_keys=True)


def sit_control(entry: Entry, source: Path) -> dict[str, Any]:
    """Grade the honest submission as it will be graded after an entry."""
    return grade_control(_run_for(entry, _BASES[_key(entry.overrides)][0].seconds), entry.control, source)


def sit_entry(entry: Entry, source: Path, with_parity: bool = False, control: Mapping[str, Any] | None = None) -> Outcome:
    """Grade one entry and judge the result; where there is a control, see that it is graded as before."""
    started = time.monotonic()
    outcome = Outcome(entry)
    try:
        run = _run_for(entry, _BASES[_key(entry.overrides)][0].seconds)
        with tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-exam-")) as place:
            result = _sit(outcome, run, Path(place), source, with_parity)
            if control is not None and result is not None:
                _compare_with_control(outcome, run, result, Path(place), source, control)
    except Exception as error:  # a fault of corpus or grader: it is a surprise like any other
        outcome.problem = f"{type(error).__name__}: {error}"
        if os.environ.get("SEGKIT_DEBUG"):
            outcome.problem += "\n" + traceback.format_exc()
    outcome.seconds = time.monotonic() - started
    return outcome


def _sit(outcome: Outcome, run: Run, place: Path, source: Path, with_parity: bool) -> dict[str, Any] | None:
    entry = outcome.entry
    if entry.kind == "visible":
        see(outcome, place, source, run.assignment)
        return None
    path = write_submission(entry, solved_notebooks(source), place / "work" / "exam")
    zygote = run.worker_settings().zygote
    assert zygote is not None  # the exam's workers are forked
    zygote.works()  # before one looks: it stays
    tape = Tape() if with_parity and entry.kind in PARITY_KINDS else None
    shared = [run.folder / name for name in ("edition", "weights.bin", "weights.json", "pytest.ini", *NAMES)]
    with Traces(place, zygote.nest, shared, (run.cache.folder, run.gate_cache.folder)) as traces:
        if entry.kind == "generated":
            _hunt(outcome, run, path)
            return None
        told: list[CheckResult] = []
        result = grade_path(run, path, entry.name, handover=tape, told=told)
    outcome.results, outcome.notes = _with_losses(result["checks"], told, run), result["notes"]
    _judge(outcome, run, traces.found)
    if tape is not None:
        _compare_ways(outcome, run, path, place, source, tape)
    return result


def _with_losses(results: Sequence[dict[str, Any]], told: Sequence[CheckResult], run: Run) -> list[dict[str, Any]]:
    """Results of checks, with what each check has lost; a submission that could not be read has lost nothing, or all."""
    losses = {result.id: result.lost for result in told}
    for result in results:
        everything = dict.fromkeys(run.rubric.checks[result["id"]].parts, 1.0)
        losses.setdefault(result["id"], None if result["points"] is None else everything)
    return [result | {"lost": losses[result["id"]]} for result in results]


def _compare_with_control(
    outcome: Outcome, run: Run, result: Mapping[str, Any], place: Path, source: Path, control: Mapping[str, Any]
) -> None:
    """See that the entry has changed nothing but its own points: not for itself, and not for who comes next."""
    entry = outcome.entry
    lines = [] if entry.unreadable else compare_kept(result, control, entry.lost)
    lines += write_and_read(result, place / "written", run)
    lines += compare_controls(control, grade_control(run, entry.control, source))
    for line in lines:
        _add(outcome, line)


def _compare_ways(outcome: Outcome, run: Run, path: Path, place: Path, source: Path, tape: Tape) -> None:
    """Grade the entry by nbgrader and by plain pytest too; points that differ are a surprise."""
    entry = outcome.entry
    if run.assignment.name not in _COURSES:  # in the folder of the whole exam, which is removed at its end
        place_of_course = run.folder / f"course-{os.getpid()}"
        _COURSES[run.assignment.name] = Course(place_of_course, run.assignment.name, source)
    ours: Points | None = {result["id"]: result["points"] for result in outcome.results}
    # what cannot be read at all has no points anywhere: there must be no way on which it is read
    ours = None if all((result["cause"] or "").startswith("submission.") for result in outcome.results) else ours
    course = _COURSES[run.assignment.name]
    lines = differences(ours, nbgrader_points(course, run, path, f"{entry.kind}_{entry.name}", tape), "nbgrader")
    lines += differences(ours, pytest_points(run, path, place / "pytest.xml", tape), "pytest")
    outcome.parity = not lines
    for line in lines:
        _add(outcome, line)


def _hunt(outcome: Outcome, run: Run, path: Path) -> None:
    """Grade a generated mutant check by check until one takes points away; one that keeps all has survived."""
    entry = outcome.entry
    stages = [entry.checks[:1], entry.checks[1:]] if len(entry.checks) > 1 else [entry.checks]
    for checks in stages:
        run.settings = dataclasses.replace(run.settings, only=tuple(checks))
        results = grade_path(run, path, entry.name)["checks"]
        outcome.results += results
        ungraded = [v["id"] for v in results if v["points"] is None]
        if ungraded:
            _add(outcome, f"could not be graded: {', '.join(ungraded)}: {results[0]['message'][:300]}")
            return
        outcome.by = next((v["id"] for v in results if v["points"] < v["max_points"]), "")
        if outcome.by:
            break
    outcome.caught = bool(outcome.by)
    outcome.exact = outcome.caught or bool(entry.equivalent)
    if not outcome.exact:
        _add(outcome, f"survived: {entry.about}")
    elif outcome.caught and entry.equivalent:
        _add(outcome, f"is listed as equivalent, but lost points: {entry.about}")


def _add(outcome: Outcome, problem: str) -> None:
    outcome.problem = f"{outcome.problem}; {problem}" if outcome.problem else problem


def _judge(outcome: Outcome, run: Run, traces: Sequence[str]) -> None:
    """Hold the results of the checks against the entry."""
    entry = outcome.entry
    found = {result["id"]: result for result in outcome.results}
    wrong, losing = [], []
    for name in entry.checks:
        check, result = run.rubric.checks[name], found[name]
        expected, lost = entry.lost_in(check), result["lost"]
        if not _equal(lost, expected) or result["points"] != (None if lost is None else check.earned(lost)):
            wrong.append(f"{name}: expected to lose {_loss(expected)}, but lost {_loss(lost)} and got {_points(result['points'])} points"
                         f" ({result['cause']}: {result['message'][:300]})")  # fmt: skip
        deserved = None if expected is None else check.earned(expected)
        outcome.points_lost += max(0.0, (deserved or 0.0) - (result["points"] or 0.0))
        outcome.undeserved += max(0.0, (result["points"] or 0.0) - (deserved or 0.0))
        outcome.false_alarm |= deserved is not None and (result["points"] is None or result["points"] < deserved)
        if lost is None or lost:
            losing.append(result)
    outcome.exact = not wrong
    outcome.caught = bool(losing) and (bool(entry.lost) or entry.unreadable)
    for text in wrong:
        _add(outcome, text)
    _judge_words(outcome, losing)
    for text in traces:
        _add(outcome, text)


def _equal(found: Mapping[str, float] | None, expected: Mapping[str, float] | None) -> bool:
    """Whether the same parts are lost, and the same shares of them to three digits."""
    if found is None or expected is None:
        return found is expected
    return set(found) == set(expected) and all(abs(found[part] - share) < 0.001 for part, share in expected.items())


def _loss(lost: Mapping[str, float] | None) -> str:
    if lost is None:
        return "nothing and earn nothing (open)"
    return ", ".join(part if share == 1 else f"{share:.3f} of {part}" for part, share in lost.items()) or "nothing"


def _judge_words(outcome: Outcome, lost: Sequence[dict[str, Any]]) -> None:
    entry = outcome.entry
    messages = "\n".join(result["message"] for result in lost or outcome.results)
    causes = {result["cause"] for result in lost}
    missing = [word for word in entry.says if word not in messages]
    wrong_cause = entry.cause and entry.cause not in causes
    if entry.lost or entry.unreadable:
        outcome.named = not missing and not wrong_cause
    if wrong_cause:
        _add(outcome, f"expected the cause {entry.cause}, got {', '.join(sorted(map(str, causes)))}: {messages[:300]}")
    if missing:
        _add(outcome, f"the message lacks {missing}: {messages[:400]}")
    notes = "\n".join(outcome.notes)
    absent = [word for word in entry.note if word not in notes]
    if absent:
        _add(outcome, f"the notes lack {absent}: {notes[:300]}")


def _points(value: float | None) -> str:
    return "no" if value is None else f"{value:g}"


# ----------------------------------------------------------------------------------------------- in the first process
def sit(
    entries: Iterable[Entry],
    settings: Settings,
    source: Path,
    jobs: int = 1,
    tell: Callable[[Outcome], None] | None = None,
    with_parity: Callable[[Entry], bool] = lambda entry: False,
) -> list[Outcome]:
    """Sit the exam.

    Args:
        entries: What to grade.
        settings: Of the runs; ``only``, ``overrides`` and ``seconds`` are set by the entries.
        source: Folder of the source notebooks.
        jobs: How many judges side by side.
        tell: Called with each outcome as it comes.
        with_parity: Whether nbgrader and plain pytest grade an entry too.

    Returns:
        The outcomes, in the order of the entries.
    """
    entries = list(entries)
    outcomes: dict[int, Outcome] = {}
    if not entries:
        return []
    with ExitStack() as stack:
        bases = {}
        for key, overrides in {_key(entry.overrides): dict(entry.overrides) for entry in entries}.items():
            run = stack.enter_context(Run.create(dataclasses.replace(settings, overrides=overrides)))
            bases[key] = (run.settings, run.folder)
        workers = max(1, min(jobs, len(entries)))
        pool = stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn"), _attach, (bases,)))
        # the longest first, so that the last judge does not work alone
        order = sorted(range(len(entries)), key=lambda number: -len(entries[number].checks))
        first = {_key(entry.overrides): entry for entry in entries if entry.control}  # before any attack is let loose
        controls = {key: pool.submit(sit_control, entry, source).result() for key, entry in first.items()}
        waiting = {
            pool.submit(sit_entry, e, source, with_parity(e), controls.get(_key(e.overrides)) if e.control else None): number
            for number in order for e in [entries[number]]
        }  # fmt: skip
        bar = tqdm(as_completed(waiting), total=len(waiting), desc="exam", unit="entry", file=sys.stdout, disable=None)
        for future in bar:
            number = waiting[future]
            try:
                outcomes[number] = future.result()
            except Exception as error:  # the judge process itself died: the worst of surprises
                outcomes[number] = Outcome(entries[number], problem=f"the judge died: {type(error).__name__}: {error}")
            if tell:
                tell(outcomes[number])
    return [outcomes[number] for number in range(len(entries))]
