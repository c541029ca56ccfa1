"""One grading per submission within a process, for callers that ask once per notebook (nbgrader does)."""

import atexit
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autograder.handins.submission import SubmissionError, read_submission
from autograder.judge.grade import grade_path, unreadable_result
from autograder.judge.run import Run, Settings

__all__ = ["judge", "lend_run"]

KEPT = Path("build", "nbgrader")  # predictions of gates, for a run that was cut off; below what git ignores
_RUNS: dict[tuple[Any, ...], Run] = {}
_RESULTS: dict[tuple[Any, ...], dict[str, Any]] = {}
_LENT: dict[str, tuple[Run, dict[str, Any]]] = {}


def judge(assignment: str, folder: Path, name: str, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Grade a submission, or return what was found for the same files before.

    Args:
        assignment: Name of an assignment of the kit, or its folder.
        folder: The submission.
        name: Its name in the result.
        say: Receives one line when something is really graded.

    Returns:
        The result, of schema ``segkit-result/1``.
    """
    run, how = _LENT.get(assignment) or (_run(assignment), {})
    key = (assignment, str(folder), run.seeds.name, _signature(folder))
    if key not in _RESULTS:
        say(f"grading {name} ({run.isolation})")
        _RESULTS[key] = _earlier(run, folder, name) or grade_path(run, folder, name, **how)
    return _RESULTS[key]


def lend_run(assignment: str, run: Run | None, **how: Any) -> None:
    """Let ``judge`` use a run that is open already, in the place of one of its own.

    Args:
        assignment: As ``judge`` will be asked for it.
        run: The run; None takes it back.
        **how: Further arguments of ``grade_path``.
    """
    _LENT.pop(assignment, None)
    if run is not None:
        _LENT[assignment] = (run, how)


def _settings() -> dict[str, Any]:
    """What the environment says of a run."""
    found: dict[str, Any] = {name: os.environ.get(f"SEGKIT_{name.upper()}") for name in ("data", "checkpoints", "isolation")}
    found = {name: value for name, value in found.items() if value}
    if "checkpoints" in found:
        found["checkpoints"] = Path(found["checkpoints"])
    return found


def _run(assignment: str) -> Run:
    """The run of an assignment, made once per process and settings, so that reference outputs and predictions are shared."""
    settings = _settings()
    key = (assignment, os.environ.get("SEGKIT_COURSE_SECRET"), *sorted(settings.items()))
    if key not in _RUNS:
        _RUNS[key] = Run.create(Settings(assignment=assignment, out=KEPT, **settings))
        atexit.register(_RUNS[key].close)
    return _RUNS[key]


def _signature(folder: Path) -> tuple[Any, ...]:
    """A value that changes with any file of the submission; it does not read the weights, which have half a gigabyte."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            found.append((path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _earlier(run: Run, folder: Path, name: str) -> dict[str, Any] | None:
    """A result of ``python -m autograder grade`` for exactly these files, this seed, this kit and this data."""
    results = os.environ.get("SEGKIT_RESULTS")
    path = Path(results) / name / "result.json" if results else None
    if path is None or not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        submission = read_submission(folder, name, run.rubric, run.settings.checkpoints)
    except (ValueError, OSError, SubmissionError):
        return None
    submission.close()
    ours = unreadable_result(run, name, "", "")
    same = all(found.get(key) == ours[key] for key in ("schema", "assignment", "kit_version", "seed", "data", "max_score"))
    return found if same and found.get("submission_sha256") == submission.sha256 else None
